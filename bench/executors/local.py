"""Runs on this machine: one-thread processes, forked from a server that has imported torch once.

Ctrl-C, or SIGTERM, asks them all to save and end, a second one ends them at once; what is stored stays.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait
from typing import NamedTuple

import torch

from lcrbench.bench import worker
from lcrbench.bench.executors import Cell, Resources, Told
from lcrbench.bench.processes import LOOK, LOST, Child, process_context
from lcrbench.corruptions.engine import available_threads


class _Running(NamedTuple):
    child: Child
    events: Connection


class Local:
    """Processes of this machine."""

    def __init__(self) -> None:
        self._context = process_context()
        self._running: dict[Cell, _Running] = {}
        self._begun: list[Cell] = []

    def capacity(self) -> list[Resources]:
        """Return what this machine has."""
        try:
            memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        except (AttributeError, ValueError, OSError):
            memory = 0
        return [Resources(available_threads(), torch.cuda.device_count(), memory)]

    def submit(self, cell: Cell, need: Resources) -> None:
        """Start a process that works on a cell."""
        # A pipe each: a process that is killed while it writes can block no other.
        reader, writer = self._context.Pipe(duplex=False)
        child = Child(worker.process, cell, writer)
        writer.close()
        self._running[cell] = _Running(child, reader)
        self._begun.append(cell)

    def events(self, timeout: float) -> Iterator[Told]:
        """Yield what the processes tell."""
        while self._begun:
            yield Told(self._begun.pop(0), "started")
        running = list(self._running.items())
        ready = wait([r.events for _, r in running] + [r.child.sentinel for _, r in running], timeout)
        for cell, one in running:
            if one.events in ready:
                try:
                    yield Told(cell, "progress", one.events.recv())
                    continue
                except (EOFError, OSError):
                    # It tells nothing more, and so ends.
                    wait([one.child.sentinel], LOOK)
            if one.child.alive():
                continue
            one.events.close()
            del self._running[cell]
            told = ending(cell, one.child.code())
            one.child.close()
            yield told

    def cancel(self, cell: Cell, now: bool = False) -> None:
        """Ask a cell's process to save and end, or end it."""
        if one := self._running.get(cell):
            one.child.send(signal.SIGKILL if now else signal.SIGTERM)


def ending(cell: Cell, code: int) -> Told:
    """Return what the exit code of a cell's process tells."""
    for outcome, known in worker.CODES.items():
        if code == known:
            return Told(cell, "ended", outcome=outcome)
    if code == LOST:
        message = "the process ended, and nobody knows how (out of memory?): run again to go on"
    elif code < 0:
        message = f"the process was killed by {signal.Signals(-code).name} (out of memory?): run again to go on"
    else:
        message = f"the process ended with exit code {code}: its error stands above"
    return Told(cell, "lost", reason=message)


def make(workers: int | None, address: str) -> Local:
    """Return the executor of this machine."""
    return Local()
