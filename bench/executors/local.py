"""Runs on this machine: one-thread processes, forked from a server that has imported torch once.

A process that has done a short run takes the next one (`serving.serve`), if there is one at once.
Ctrl-C, or SIGTERM, asks them all to save and end, a second one ends them at once; what is stored stays.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from multiprocessing import util
from multiprocessing.connection import Connection, wait
from typing import NamedTuple

import torch

from lcrbench.bench import serving
from lcrbench.bench.executors import Cell, Resources, Told
from lcrbench.bench.processes import LOOK, LOST, Child, process_context
from lcrbench.corruptions.engine import available_threads


class _Process(NamedTuple):
    child: Child
    link: Connection

    def end(self) -> None:
        """Let it end, because it waits for a cell and none comes."""
        self.link.close()
        self.child.close()


class Local:
    """Processes of this machine."""

    def __init__(self) -> None:
        self._context = process_context()
        self._running: dict[Cell, _Process] = {}
        self._begun: list[Cell] = []
        self._asked: set[Cell] = set()
        # They are ended before this process waits for them at its own end, too.
        self._idle: list[_Process] = []
        util.Finalize(self, _end, args=(self._idle,), exitpriority=10)

    def capacity(self) -> list[Resources]:
        """Return what this machine has."""
        try:
            memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        except (AttributeError, ValueError, OSError):
            memory = 0
        return [Resources(available_threads(), torch.cuda.device_count(), memory)]

    def submit(self, cell: Cell, need: Resources) -> None:
        """Give a cell to a process that has done another, or to a new one."""
        one = None
        while self._idle and one is None:
            one = self._idle.pop()
            try:
                one.link.send(cell)
            except OSError:  # it has died
                one.end()
                one = None
        if one is None:
            # A pipe each: a process that is killed while it writes can block no other.
            ours, theirs = self._context.Pipe()
            one = _Process(Child(serving.serve, theirs), ours)
            theirs.close()
            with contextlib.suppress(OSError):  # it has died: its end is told as an event
                ours.send(cell)
        self._running[cell] = one
        self._begun.append(cell)

    def events(self, timeout: float) -> Iterator[Told]:
        """Yield what the processes tell."""
        # The caller has submitted all cells before it listens.
        _end(self._idle)
        while self._begun:
            yield Told(self._begun.pop(0), "started")
        running = list(self._running.items())
        ready = wait([r.link for _, r in running] + [r.child.sentinel for _, r in running], timeout)
        for cell, one in running:
            if one.link in ready:
                try:
                    told = one.link.recv()
                except (EOFError, OSError):
                    # It tells nothing more, and so ends.
                    wait([one.child.sentinel], LOOK)
                else:
                    if told == serving.NEXT:
                        del self._running[cell]
                        if cell in self._asked:  # too late to stop the run, and not to end
                            one.end()
                        else:
                            self._idle.append(one)
                        yield Told(cell, "ended")
                    else:
                        yield Told(cell, "progress", told)
                    continue
            if one.child.alive():
                continue
            one.link.close()
            del self._running[cell]
            over = ending(cell, one.child.code())
            one.child.close()
            yield over

    def cancel(self, cell: Cell, now: bool = False) -> None:
        """Ask a cell's process to save and end, or end it."""
        if one := self._running.get(cell):
            self._asked.add(cell)
            one.child.send(signal.SIGKILL if now else signal.SIGTERM)


def _end(idle: list[_Process]) -> None:
    while idle:
        idle.pop().end()


def ending(cell: Cell, code: int) -> Told:
    """Return what the exit code of a cell's process tells."""
    for outcome, known in serving.CODES.items():
        if code == known:
            return Told(cell, "ended", outcome=outcome)
    if code == LOST:
        message = "the process ended without an exit code (out of memory?): run again to go on"
    elif code < 0:
        message = f"the process was killed by {signal.Signals(-code).name} (out of memory?): run again to go on"
    else:
        message = f"the process ended with exit code {code}: its error stands above"
    return Told(cell, "lost", reason=message)


def make(workers: int | None, address: str) -> Local:
    """Return the executor of this machine."""
    return Local()
