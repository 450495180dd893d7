"""Executors: who starts the runs of a grid, one file each; the file's name is the executor's name. Provisional.

An executor's module defines `make(workers, address) -> Executor`: `workers` runs at once if that was asked for, else None,
and what follows the colon of `--on NAME:ADDRESS`, or "". It raises `UserError` where it cannot be had.

What travels to a process is a `Cell`: the store's folder and the name of a job in it. Whatever process is given one calls
`lcrbench.bench.worker.work(cell.store, cell.job, tell)` in its main thread. That takes the leases of the run, does what the
store lacks of it, records what fails, and returns an `Outcome`; it may be called twice, or by two processes at once.
`bench/dispatch.py` decides what is submitted, and reads from the store what each run came to.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, Protocol

from lcrbench import registry
from lcrbench.bench.progress import Event
from lcrbench.errors import UserError

Outcome = Literal["done", "busy", "stopped", "unwritable", "refused"]
"""What a process did with a cell: its record is there, of a failure too; another process works on it; it was asked to stop,
and saved; the store took no lease or no record; it may not work on it (a `reason` says why, and the grid ends)."""


class Resources(NamedTuple):
    """What a run needs, or a machine has: processor cores, GPUs and bytes of memory (0: not stated)."""

    cores: float = 1.0
    gpus: float = 0.0
    memory: float = 0.0

    @classmethod
    def read(cls, text: str) -> Resources:
        """Return what `cores=2,gpus=0.25,memory=4e9` means; raises `UserError` for another form.

        >>> Resources.read("gpus=0.25")
        Resources(cores=1.0, gpus=0.25, memory=0.0)
        """
        found: dict[str, float] = {}
        for part in filter(None, text.split(",")):
            name, _, value = part.partition("=")
            try:
                found[name.strip()] = float(value)
            except ValueError:
                found[name.strip()] = math.nan
        if not set(found) <= set(cls._fields) or not all(0 <= v < math.inf for v in found.values()):
            raise UserError(f"--need takes cores=N,gpus=N,memory=BYTES, not '{text}'")
        return cls(**found)

    @property
    def text(self) -> str:
        """Return it as `--need` reads it."""
        return ",".join(f"{k}={v:g}" for k, v in self._asdict().items() if v)

    def times(self, need: Resources) -> int:
        """Return how many runs of a need there is room for."""
        pairs = [(h, n) for h, n in zip(self, need, strict=True) if n]
        return min((math.floor(has / n + 1e-9) for has, n in pairs), default=1)


class Cell(NamedTuple):
    """One run of a grid as it travels: the absolute path of a store, and the name of a job in it."""

    store: str
    job: str


class Told(NamedTuple):
    """What an executor tells of a cell: it was started, how far it is, what its process did with it, or that it is lost.

    Lost is a cell whose process ended before it said what it did; the reason is a sentence for the run's record.
    """

    cell: Cell
    kind: Literal["started", "progress", "ended", "lost"]
    event: Event | None = None
    outcome: Outcome = "done"
    reason: str = ""


def parted(on: str) -> tuple[str, str]:
    """Return the name and the address in `NAME:ADDRESS`; raises `UserError` for a name or an address that is none."""
    name, colon, address = on.partition(":")
    registry.load("executor", name)
    if name == "local" and colon:
        raise UserError(f"--on {on}: local is this machine and takes no address; write --on local")
    return name, address


class Executor(Protocol):
    """Starts processes that work on cells, here or elsewhere."""

    def capacity(self) -> Sequence[Resources]:
        """Return what each machine has in all; what fits on none of them is refused before anything starts."""
        ...

    def submit(self, cell: Cell, need: Resources) -> None:
        """See that a process with so many resources works on a cell, now or as soon as there is room."""
        ...

    def events(self, timeout: float) -> Iterable[Told]:
        """Return what there is to tell, after so many seconds at most; each cell ends, or is lost, once."""
        ...

    def cancel(self, cell: Cell, now: bool = False) -> None:
        """Ask a cell's process to save and stop, or end it `now`; one that has not begun need not begin.

        It is called more than once, for cells that have ended too, and by a signal's handler.
        """
        ...
