"""Fixtures of the tests of networks from outside: those of the harness."""

from __future__ import annotations

from tests.bench.conftest import here, signals

__all__ = ["here", "signals"]
