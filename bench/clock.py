"""Separate clocks for the phases of a run, so that the ledger can tell training from evaluation."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lcrbench.bench.records.measurement import Phase
from lcrbench.bench.records.record import Seconds


class Clocks:
    """Adds up CPU and wall seconds by phase; `wait` is called at its edges, for work that a device still does."""

    def __init__(self, wait: Callable[[], None] = lambda: None) -> None:
        self._wait = wait
        self._spent: dict[Phase, tuple[float, float]] = {}

    @contextmanager
    def phase(self, name: Phase) -> Iterator[None]:
        """Charge what happens inside to a phase."""
        self._wait()
        cpu, wall = time.process_time(), time.perf_counter()
        try:
            yield
        finally:
            self._wait()
            before = self._spent.get(name, (0.0, 0.0))
            self._spent[name] = (before[0] + time.process_time() - cpu, before[1] + time.perf_counter() - wall)

    def seconds(self) -> dict[Phase, Seconds]:
        """Return what was spent, rounded to milliseconds."""
        return {k: Seconds(cpu=round(c, 3), wall=round(w, 3)) for k, (c, w) in self._spent.items()}
