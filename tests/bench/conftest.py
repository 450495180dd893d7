"""Fixtures of the tests of the harness."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.bench.helpers import Here


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """Give the signals back that `worker.run_one` and `worker.work` take."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def reports(undrawn: None) -> None:
    """Leave out the figures of the reports that runs end with: tests/reports holds them."""


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Here:
    """Have runs of a grid done in this process."""
    return Here(monkeypatch)
