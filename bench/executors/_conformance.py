"""Checks of an executor: two small jobs, one of which fails."""

from __future__ import annotations

import dataclasses
import inspect
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lcrbench import registry
from lcrbench.bench import runner
from lcrbench.bench.progress import Event, Progress, Work
from lcrbench.bench.records import grid
from lcrbench.bench.records.grid import Data
from lcrbench.bench.records.record import Record
from lcrbench.bench.records.spec import RunSpec
from lcrbench.bench.records.store import Store

PARAMETERS = ["jobs", "workers", "target", "progress"]
TABLES = {
    "data": {"train": 50, "test": 20},
    "methods": ["full_precision", "bnn"],
    "budget": {"images": 50},
    "recipe": {"batch": 25},
    "evaluation": {"severities": [1], "block": 20},
    "metrics": {"accuracy": {}},
}


class _Told(Progress):
    """A display that shows nothing and keeps what it is told."""

    def __init__(self, specs: list[RunSpec]) -> None:
        super().__init__([Work(s) for s in specs], 0, quiet=True)
        self.started: list[str] = []
        self.ended: list[str] = []
        self.events = 0

    def start(self, spec: RunSpec) -> None:
        self.started.append(spec.run_id)
        super().start(spec)

    def update(self, event: Event) -> None:
        self.events += 1
        super().update(event)

    def finish(self, record: Record) -> None:
        self.ended.append(record.run_id)
        super().finish(record)


def contract(name: str) -> Iterator[str]:
    """It takes jobs, the number of workers, the store, and the display."""
    execute = registry.load("executor", name).execute
    if not callable(execute) or [*inspect.signature(execute).parameters] != PARAMETERS:
        yield f"execute is a function of ({', '.join(PARAMETERS)})"


def nothing(name: str) -> Iterator[str]:
    """Without jobs it returns an empty list."""
    with tempfile.TemporaryDirectory() as root, _Told([]) as told:
        found = registry.load("executor", name).execute([], 1, Store(root), told)
    if found != []:
        yield f"execute returns {found!r} for no jobs, not []"


def jobs(name: str) -> Iterator[str]:
    """Each of its jobs is done or recorded as failed, and told of."""
    with tempfile.TemporaryDirectory() as root:
        planned, _ = runner.planned(grid.make_grid(TABLES), Path(root))
        good, bad = planned[0], dataclasses.replace(planned[1], source=Data(source="./no-such-data"))
        expected = {good.spec.run_id: "finished", bad.spec.run_id: "failed"}
        with _Told([job.spec for job in (good, bad)]) as told:
            found = registry.load("executor", name).execute([bad, good], 2, Store(root), told)
        if not isinstance(found, list) or not all(isinstance(r, Record) for r in found):
            yield f"execute returns no list of lcrbench.bench.records.record.Record: {str(found)[:80]}"
            return
        yield from _ended(found, expected, Store(root))
    for what, runs in (("start", told.started), ("finish", told.ended)):
        if sorted(runs) != sorted(expected):
            yield f"progress.{what} is called for {len(runs)} of 2 jobs, not once for each"
    if not told.events:
        yield "progress.update is never called: nobody is told how far a job is"


def _ended(found: list[Record], expected: dict[str, str], store: Store) -> Iterator[str]:
    if sorted(r.run_id for r in found) != sorted(expected):
        yield f"execute returns {len(found)} records for 2 jobs, not one of each"
        return
    stored = store.ids()
    for r in found:
        if r.status != expected[r.run_id]:
            said = f": {r.failure.message}" if r.failure else ""
            yield f"a job that ends as {expected[r.run_id]} is returned as {r.status}{said}"
        elif r.run_id not in stored or store.record(r.run_id).status != r.status:
            yield f"a job that ends as {r.status} is not kept as such in the store"


CHECKS = (contract, nothing, jobs)
