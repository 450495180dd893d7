"""What is submitted to an executor, and when: needs that no machine has, runs that others hold, runs that others did."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lcrbench.bench import dispatch, planning, runner, worker
from lcrbench.bench.executors import Cell, Resources, Told
from lcrbench.bench.progress import Progress, Work
from lcrbench.bench.records.store import Store
from lcrbench.errors import UserError
from tests.bench import helpers
from tests.bench.helpers import SMALL


class Fake:
    """An executor that does what it is told with each cell, and notes them."""

    def __init__(self, *machines: Resources, does: Any = None) -> None:
        self.machines = machines or (Resources(2),)
        self.does = does or (lambda cell: Told(cell, "lost", reason="lost"))
        self.cells: list[Cell] = []
        self.submitted: list[Cell] = []
        self.cancelled: list[Cell] = []

    def capacity(self) -> tuple[Resources, ...]:
        return self.machines

    def submit(self, cell: Cell, need: Resources) -> None:
        self.cells.append(cell)
        self.submitted.append(cell)

    def events(self, timeout: float) -> Iterable[Told]:
        while self.cells:
            yield self.does(self.cells.pop(0))

    def cancel(self, cell: Cell, now: bool = False) -> None:
        self.cancelled.append(cell)


def go(root: Path, jobs: list[worker.Job], executor: Fake, **how: Any) -> list[str]:
    """Dispatch jobs, and return the failures' reasons, or the status of what did not fail."""
    with Progress([Work(job.spec) for job in jobs], 0, quiet=True) as progress:
        found = dispatch.dispatch(jobs, executor, Store(root), progress, at_once=2, **how)
    return [r.failure.message if r.failure else r.status for r in found]


@pytest.fixture
def jobs(tmp_path: Path) -> list[worker.Job]:
    return helpers.jobs(tmp_path, SMALL | {"seeds": [0, 1, 2]})


def test_needs_are_read_and_compared() -> None:
    assert Resources.read("gpus=0.25, cores=2") == Resources(2, 0.25)
    assert Resources(8, 1, 16e9).times(Resources(1, 0.25)) == 4
    assert Resources(8).times(Resources(1, 0.25)) == 0
    for wrong in ("gpus", "gpus=-1", "tpus=1", "cores=x", "cores=inf"):
        with pytest.raises(UserError, match="--need takes"):
            Resources.read(wrong)


def test_what_no_machine_has_is_refused_and_two_halves_are_no_whole() -> None:
    halves = Fake(Resources(4, 0.5), Resources(4, 0.5))
    assert dispatch.check(Resources(gpus=0.25), halves, "x") == 4
    with pytest.raises(
        UserError, match=r"a run needs cores=1,gpus=1, and no machine of 'x' has more than cores=4,gpus=0\.5"
    ):
        dispatch.check(Resources(gpus=1), halves, "x")


def test_a_run_that_another_process_holds_is_left_for_later(tmp_path: Path, jobs: list[worker.Job]) -> None:
    executor = Fake()
    with Store(tmp_path).held(jobs[0].spec.training.train_id):
        assert go(tmp_path, jobs, executor, wait=False) == ["lost", "lost"]
    assert [cell.job[:16] for cell in executor.submitted] == [j.spec.run_id for j in jobs[1:]]
    assert not [*(tmp_path / ".jobs").iterdir()]


def test_what_another_process_did_meanwhile_is_not_submitted(tmp_path: Path, jobs: list[worker.Job]) -> None:
    worker.attempt(jobs[1])
    executor = Fake()
    assert sorted(go(tmp_path, jobs, executor)) == ["finished", "lost", "lost"]
    assert len(executor.submitted) == 2


def test_a_busy_cell_comes_back(tmp_path: Path, jobs: list[worker.Job]) -> None:
    ends = iter(["busy", "done"])
    executor = Fake(does=lambda cell: _done(cell, next(ends)))
    assert go(tmp_path, jobs[:1], executor) == ["finished"]
    assert len({cell.job for cell in executor.submitted}) == 2


def _done(cell: Cell, outcome: Any) -> Told:
    if outcome == "done":
        assert worker.work(*cell) == "done"
    return Told(cell, "ended", outcome=outcome)


class Once(Fake):
    """An executor that tells each end once, several at once, the first of them just after a signal."""

    def __init__(self, outcome: Any, ends: Callable[[], None]) -> None:
        super().__init__()
        self.outcome, self.ends = outcome, ends
        self.asked_for_nothing = 0

    def events(self, timeout: float) -> Iterable[Told]:
        if not self.cells:
            self.asked_for_nothing += 1
            assert self.asked_for_nothing < 5, "it waits for an end that was told"
        self.ends()
        told = [Told(cell, "ended", outcome=self.outcome, reason="no") for cell in self.cells]
        self.cells.clear()
        return told


def test_an_end_that_is_told_with_an_interrupt_is_not_waited_for(tmp_path: Path, jobs: list[worker.Job]) -> None:
    executor = Once("stopped", lambda: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path, jobs, executor)
    assert set(executor.cancelled) == set(executor.submitted)
    assert len(executor.submitted) == 2, "nothing more is begun"
    assert Store(tmp_path).ids() == []
    assert not [*(tmp_path / ".jobs").iterdir()]


def test_an_end_that_is_told_with_a_refusal_is_not_waited_for(tmp_path: Path, jobs: list[worker.Job]) -> None:
    with pytest.raises(UserError, match="no"):
        go(tmp_path, jobs, Once("refused", lambda: None))
    assert not [*(tmp_path / ".jobs").iterdir()]


def test_an_interrupt_cancels_what_runs_and_waits_for_its_end(tmp_path: Path, jobs: list[worker.Job]) -> None:
    executor = Fake()
    calls = 0

    def events(timeout: float) -> Iterator[Told]:
        nonlocal calls
        calls += 1
        if calls == 1:
            signal.raise_signal(signal.SIGTERM)
        elif executor.cancelled and executor.cells:
            yield Told(executor.cells.pop(), "ended", outcome="stopped")

    executor.events = events  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path, jobs, executor)
    assert calls == 3, "each end once"
    assert set(executor.cancelled) == set(executor.submitted)
    assert Store(tmp_path).ids() == []


def test_a_job_travels_whole(tmp_path: Path, jobs: list[worker.Job]) -> None:
    cell = jobs[0].keep()
    assert worker.Job.kept(cell) == jobs[0]
    assert worker.Job.kept(cell).spec.run_id == jobs[0].spec.run_id
    worker.Job.forget(cell)
    assert worker.work(*cell) == "stopped", "its command has ended"


def test_a_plug_in_that_cannot_be_priced_is_trained_all_the_same(
    jobs: list[worker.Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: Any) -> None:
        raise RuntimeError("no step on the meta device")

    monkeypatch.setattr(runner, "priced", breaks)
    lacking = planning.Lacking(jobs[0].spec, True, [], [], [])
    assert runner._work(lacking, True, packable=True).price == 1.0
