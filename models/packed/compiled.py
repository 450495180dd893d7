"""Compiled loops of the packed engine (`lcrbench.kernels`)."""

from __future__ import annotations

from pathlib import Path

from lcrbench import kernels

kernel = kernels.of(Path(__file__).parent)
inline = kernels.forced
