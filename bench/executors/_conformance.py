"""Checks of an executor: two small runs, one of which fails, and one that is cancelled."""

from __future__ import annotations

import dataclasses
import inspect
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from lcrbench import registry
from lcrbench.bench import dispatch, runner
from lcrbench.bench.executors import Cell, Executor, Resources, Told
from lcrbench.bench.progress import Event, Progress, Work
from lcrbench.bench.records import grid
from lcrbench.bench.records.grid import Data
from lcrbench.bench.records.spec import RunSpec
from lcrbench.bench.records.store import Store

VERBS = {"capacity": [], "submit": ["cell", "need"], "events": ["timeout"], "cancel": ["cell", "now"]}
PATIENCE = 120.0
"""Seconds in which an executor has told the end of a small run."""
TABLES = {
    "data": {"train": 50, "test": 20},
    "methods": ["full_precision", "bnn"],
    "budget": {"images": 50},
    "recipe": {"batch": 25},
    "evaluation": {"severities": [1], "block": 20},
    "metrics": {"accuracy": {}},
}


class _Shown(Progress):
    """A display that shows nothing and counts the events that it is told."""

    def __init__(self, specs: list[RunSpec]) -> None:
        super().__init__([Work(s) for s in specs], 0, quiet=True)
        self.events = 0

    def update(self, event: Event) -> None:
        self.events += 1
        super().update(event)


class _Watched:
    """An executor, and what it told of the cells that it was given."""

    def __init__(self, inner: Executor) -> None:
        self.inner = inner
        self.ends: dict[Cell, list[str]] = {}
        self.odd: list[str] = []
        self._last = time.monotonic()

    def capacity(self) -> Any:
        return self.inner.capacity()

    def submit(self, cell: Cell, need: Resources) -> None:
        self._last = time.monotonic()
        self.ends[cell] = []
        self.inner.submit(cell, need)

    def events(self, timeout: float) -> Iterable[Told]:
        for told in self.inner.events(timeout):
            if not isinstance(told, Told) or told.cell not in self.ends:
                self.odd.append(f"events yields {str(told)[:80]}, no lcrbench.bench.executors.Told of a cell of ours")
                continue
            if told.kind in ("ended", "lost"):
                self._last = time.monotonic()
                self.ends[told.cell].append(told.kind)
            yield told
        if time.monotonic() - self._last > PATIENCE:
            raise _Silent

    def cancel(self, cell: Cell, now: bool = False) -> None:
        self.inner.cancel(cell, now)


class _Silent(Exception):
    """An executor tells nothing more."""


def contract(name: str) -> Iterator[str]:
    """It is made of the number of workers and an address, and has the four verbs."""
    make = registry.load("executor", name).make
    if not callable(make) or [*inspect.signature(make).parameters] != ["workers", "address"]:
        yield "make is a function of (workers, address)"
        return
    made = make(2, "")
    for verb, parameters in VERBS.items():
        function = getattr(made, verb, None)
        if not callable(function):
            yield f"what make returns has no method '{verb}'"
        elif [*inspect.signature(function).parameters] != parameters:
            yield f"{verb} is a method of ({', '.join(parameters)})"


def capacity(name: str) -> Iterator[str]:
    """It tells what each machine has, and has room for a run of one core."""
    made = registry.load("executor", name).make(2, "")
    there = made.capacity()
    if not there or not all(isinstance(one, Resources) for one in there):
        yield f"capacity returns {str(there)[:80]}, not a lcrbench.bench.executors.Resources for each machine"
    elif not any(one.times(Resources()) for one in there):
        yield "capacity has no machine of one core"


def jobs(name: str) -> Iterator[str]:
    """Each of its runs is done or recorded as failed, and told of once."""
    with tempfile.TemporaryDirectory() as root:
        planned, _ = runner.planned(grid.make_grid(TABLES), Path(root))
        good, bad = planned[0], dataclasses.replace(planned[1], source=Data(source="./no-such-data"))
        expected = {good.spec.run_id: "finished", bad.spec.run_id: "failed"}
        watched = _Watched(registry.load("executor", name).make(2, ""))
        with _Shown([job.spec for job in (good, bad)]) as shown:
            try:
                found = dispatch.dispatch([bad, good], watched, Store(root), shown, at_once=2)
            except _Silent:
                missing = sum(not kinds for kinds in watched.ends.values())
                yield f"events never tells the end of {missing} of {len(watched.ends)} cells"
                return
        yield from _ended(found, expected, Store(root))
    yield from dict.fromkeys(watched.odd)
    if any(len(kinds) != 1 for kinds in watched.ends.values()):
        yield "events tells the end of a cell more than once"
    if not shown.events:
        yield 'events never tells "progress": nobody is told how far a run is'


def _ended(found: list[dispatch.Ended], expected: dict[str, str], store: Store) -> Iterator[str]:
    stored = store.ids()
    for r in found:
        if r.status != expected[r.run_id]:
            said = f": {r.failure.message}" if r.failure else ""
            yield f"a run that ends as {expected[r.run_id]} is told as {r.status}{said}"
        elif r.run_id not in stored or store.record(r.run_id).status != r.status:
            yield f"a run that ends as {r.status} is not kept as such in the store"


def cancelled(name: str) -> Iterator[str]:
    """A cell that is cancelled ends, and cancelling it once more is no error."""
    with tempfile.TemporaryDirectory() as root:
        planned, _ = runner.planned(grid.make_grid(TABLES | {"budget": {"images": 20_000}}), Path(root))
        Store(root, create=True)
        made = _Watched(registry.load("executor", name).make(2, ""))
        cell = planned[0].keep()
        made.submit(cell, Resources())
        made.cancel(cell)
        began = time.monotonic()
        while not made.ends[cell]:
            for _ in made.events(0.5):
                pass
            made.cancel(cell, now=time.monotonic() - began > 2.0)
            if time.monotonic() - began > PATIENCE:
                yield "a cell that was cancelled never ends"
                return
        made.cancel(cell)


CHECKS = (contract, capacity, jobs, cancelled)
