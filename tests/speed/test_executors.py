"""What an executor adds to a run, and what it takes to plan many.

    tox run -e speed -- tests/speed/test_executors.py -s

The wall seconds of runs of half a second, one after the other, by an executor less those of the same runs within this
process, for each run: the median of rounds. A first run of each is not counted, because servers start in it.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lcrbench.bench import dispatch, planning, worker
from lcrbench.bench.executors import Resources
from lcrbench.bench.progress import Progress, Work
from lcrbench.bench.records.grid import make_grid
from lcrbench.bench.records.store import Store
from tests.bench.helpers import SMALL, jobs

RUNS, ROUNDS = 8, 3
GRID = SMALL | {"data": {"train": 200, "test": 50}, "seeds": list(range(RUNS))}


def overhead(root: Path, on: str) -> list[float]:
    """Return the seconds that an executor adds to each run, by round, sorted."""

    def here(todo: list[worker.Job]) -> None:
        for job in todo:
            worker.run_one(job)

    def there(todo: list[worker.Job]) -> None:
        with Progress([Work(job.spec) for job in todo], 0, quiet=True) as progress:
            ended = dispatch.work_on(todo, on, 1, Resources(), Store(todo[0].root), progress)
        assert [record.status for record in ended] == ["finished"] * len(todo)

    def seconds(work: Callable[[list[worker.Job]], None], name: str, count: int) -> float:
        todo = jobs(root / name, GRID)[:count]
        start = time.perf_counter()
        work(todo)
        return time.perf_counter() - start

    seconds(here, "first", 1), seconds(there, "first there", 1)
    found = []
    for k in range(ROUNDS):
        own = seconds(here, f"here {k}", RUNS)
        found.append((seconds(there, f"there {k}", RUNS) - own) / RUNS)
    return sorted(found)


def told(on: str, found: list[float]) -> float:
    middle = statistics.median(found)
    print(f"\n{on}: {middle:.3f} s a run ({', '.join(f'{s:.3f}' for s in found)})")
    return middle


def test_a_process_of_this_machine(benchmark, tmp_path: Path) -> None:
    found = benchmark.pedantic(overhead, args=(tmp_path, "local"), rounds=1, iterations=1)
    # The first run of a process takes 0.4 s more, because it reads and compiles what the next ones find.
    assert told("local", found) <= 0.2


def test_a_worker_of_ray(benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    try:
        found = benchmark.pedantic(overhead, args=(tmp_path, "ray"), rounds=1, iterations=1)
    finally:
        ray.shutdown()
    assert told("ray", found) <= 2.0


def test_planning_of_five_hundred_runs(benchmark, tmp_path: Path) -> None:
    grid = make_grid(
        SMALL | {"methods": ["bnn", "irnet", "irnet+lcr", "recu", "full_precision"], "seeds": [*range(100)]}
    )
    dataset = worker.load_data(grid.data)
    target = Store(tmp_path, create=True)

    def plan() -> None:
        made = planning.plan(grid, dataset)
        assert len(made) == 500
        todo = jobs(tmp_path, {**SMALL, "methods": ["bnn"]})[0]
        for spec in made:
            planning.lacking(target, dataclasses.replace(todo, spec=spec), dataset)

    start = time.process_time()
    benchmark.pedantic(plan, rounds=1, iterations=1)
    spent = time.process_time() - start
    print(f"\nplanning: {spent:.2f} CPU s for 500 runs")
    assert spent < 5
