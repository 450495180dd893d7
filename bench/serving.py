"""Processes that work on runs: of one run, or of one after the other."""

from __future__ import annotations

import contextlib
import gc
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

from lcrbench import registry, surroundings
from lcrbench.bench import processes, worker
from lcrbench.bench.data import loading
from lcrbench.bench.executors import Cell, Outcome
from lcrbench.bench.job import Job
from lcrbench.bench.progress import Event
from lcrbench.bench.records import source
from lcrbench.bench.records.spec import RunSpec
from lcrbench.bench.training.run import scope
from lcrbench.corruptions.registered import is_ours
from lcrbench.errors import UserError

BUSY, STOPPED, UNWRITABLE = 75, 76, 74
CODES: dict[Outcome, int] = {"done": 0, "busy": BUSY, "stopped": STOPPED, "unwritable": UNWRITABLE}
"""The exit code of a process, by what it did with its last run."""
NEXT = "next"
"""What a process sends that has done a run, and takes another."""
LONG, MOST = 60.0, 100
"""Seconds of a run against which a new process costs nothing, and runs of one process."""


def process(cell: Cell, events: Any) -> None:
    """Work on a cell in a process of its own, and end with one of the exit `CODES`.

    The parent handles Ctrl-C, and asks by SIGTERM for a save and an end.
    """
    _begin()
    outcome = worker.work(*cell, _teller(events))
    if code := CODES[outcome]:
        sys.exit(code)


def serve(link: Any) -> None:
    """Work on the cells that come through a link, one after the other, in a process of its own; end where it is closed.

    It sends the events of each. After a finished run it sends `NEXT` and waits for another cell, because a new process would
    read and count again what this one remembers. It ends, as `process` does, after anything else, after a run of `LONG`
    seconds, after `MOST` runs, and after one with code from outside, which may have left something behind.
    """
    _begin()
    for left in reversed(range(MOST)):
        try:
            cell = Cell(*link.recv())
        except (EOFError, OSError):  # closed, or reset by the end of who started it
            return
        began = time.monotonic()
        with surroundings.shielded(torch=True):
            outcome, record = worker.worked(cell, _teller(link))
        finished = record is not None and record.status == "finished"
        good = finished and _ours_alone(cell)
        _give_back()
        if not (good and left and time.monotonic() - began < LONG):
            sys.exit(CODES[outcome])
        with contextlib.suppress(OSError):
            link.send(NEXT)


def _begin() -> None:
    """Set a process up that works on cells."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Until the training listens there is nothing to save. (The server that forked this process ignores it.)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    processes.watch_parent()


def _teller(events: Any) -> Callable[[Event], None]:
    def tell(event: Event) -> None:
        # Where the receiver is gone, the run still goes on to its record.
        with contextlib.suppress(OSError):
            events.send(event)

    return tell


def _give_back() -> None:
    """Give back the memory that this process keeps of a CUDA device, which the processes beside it may need."""
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call,unused-ignore]
        gc.collect()
        torch.cuda.empty_cache()


def _ours_alone(cell: Cell) -> bool:
    """Tell whether a run and the reading of its data use no code from outside; not where its command took the job away."""
    try:
        job = Job.kept(cell)
        entry, _ = loading.find(job.source.source)
    except UserError:
        return False
    return not registry.is_outside("source", entry) and _ours(job.spec)


def _ours(spec: RunSpec) -> bool:
    """Tell whether no code from outside takes part in a run."""
    roots = {*scope(spec.training).roots, *(registry.module_name("metric", name) for name in spec.metrics)}
    return all(map(source.is_ours, roots)) and all(map(is_ours, spec.protocol.corruptions))
