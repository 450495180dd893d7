"""Works on runs one after another in the process of the command; `workers` and the address are not used."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

from lcrbench.bench import worker
from lcrbench.bench.executors import Cell, Resources, Told
from lcrbench.bench.progress import Event


class InTurn:
    """Keeps cells until somebody asks how far they are."""

    def __init__(self) -> None:
        self.cells: list[Cell] = []
        self.cancelled: list[Cell] = []
        self.working = False

    def capacity(self) -> list[Resources]:
        """Return one core."""
        return [Resources()]

    def submit(self, cell: Cell, need: Resources) -> None:
        """Take a cell."""
        self.cells.append(cell)

    def events(self, timeout: float) -> Iterator[Told]:
        """Work on what was taken, and tell of it when it is done."""
        while self.cells:
            cell, told = self.cells.pop(0), list[Event]()
            if cell in self.cancelled:
                yield Told(cell, "ended", outcome="stopped")
                continue
            self.working = True
            outcome = worker.work(cell.store, cell.job, told.append)
            self.working = False
            yield from [Told(cell, "progress", event) for event in told[-1:]]
            yield Told(cell, "ended", outcome=outcome)

    def cancel(self, cell: Cell, now: bool = False) -> None:
        """Let the run that is worked on save and stop."""
        self.cancelled.append(cell)
        if self.working:
            os.kill(os.getpid(), signal.SIGTERM)


def make(workers: int | None, address: str) -> InTurn:
    """Return the executor."""
    return InTurn()
