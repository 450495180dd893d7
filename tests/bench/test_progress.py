"""The time left: foreseen from images, from the first events on."""

from __future__ import annotations

import pytest

from lcrbench.bench.progress import Estimate, Event, Progress, Work, bar
from lcrbench.bench.records.budget import Budget
from lcrbench.bench.records.grid import Evaluation
from lcrbench.bench.records.spec import RunSpec
from lcrbench.corruption_names import COMMON
from tests.bench.helpers import record, spec


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def grid(n: int) -> list[RunSpec]:
    """Runs of 1000 training images (3000) and of 2 x 5 cells and the clean ones on 100 test images (1100)."""
    shown = Evaluation(corruptions=("fog", "contrast"))
    return [spec(seed, budget=Budget(images=1000), evaluation=shown, test=100) for seed in range(n)]


def event(run: RunSpec, phase: str, done: int, total: int) -> Event:
    return Event(run.run_id, phase, done, total, {})


def test_it_is_right_from_the_first_event_of_a_steady_grid() -> None:
    """Two processes, four runs, 100 units a second each: 4 x 4100 units take 82 s."""
    clock, runs = Clock(), grid(4)
    estimate = Estimate([Work(run) for run in runs], clock)
    assert estimate.left() is None
    for pair in (runs[:2], runs[2:]):
        began = clock.now
        for step in range(1, 11):
            clock.now = began + 3 * step
            for run in pair:
                estimate.update(event(run, "training", step, 10))
            assert estimate.left() == pytest.approx(82 - clock.now)
        for cell in range(1, 12):
            clock.now = began + 30 + cell
            for run in pair:
                estimate.update(event(run, "evaluation", cell, 11))
            assert estimate.left() == pytest.approx(82 - clock.now)
        for run in pair:
            estimate.finish(run.run_id)
    assert estimate.left() == 0


def test_what_was_done_before_is_no_speed() -> None:
    """Resumed at 900 of 1000 images: 300 units and 1100 are left, and 100 units took a second."""
    clock, (run,) = Clock(), grid(1)
    estimate = Estimate([Work(run)], clock)
    estimate.update(event(run, "training", 90, 100))
    assert estimate.left() is None
    clock.now = 0.3
    estimate.update(event(run, "training", 91, 100))
    assert estimate.left() == pytest.approx((270 + 1100) / 100)


def test_what_is_trained_and_evaluated_already_is_no_work() -> None:
    """One run is trained and lacks 3 cells of 11 (300), one lacks all (4100)."""
    clock, (trained, new) = Clock(), grid(2)
    estimate = Estimate([Work(trained, training=False, cells=3), Work(new)], clock)
    estimate.update(event(trained, "evaluation", 0, 3))
    assert estimate.left() is None
    clock.now = 2.0
    estimate.update(event(trained, "evaluation", 1, 3))
    assert estimate.left() == pytest.approx((200 + 4100) / 50)
    clock.now = 6.0
    estimate.finish(trained.run_id)
    assert estimate.left() == pytest.approx(4100 / 50)


MEASURED = {
    # CPU seconds of the quick preset's runs on one core, and what a step costs over the plain network's.
    "full_precision": (39.1, 38.0, 17.3, 1.0), "bnn": (40.5, 36.8, 21.2, 1.0), "irnet": (44.2, 37.1, 21.4, 1.0),
    "irnet+lcr": (56.3, 36.3, 19.6, 1.05),
}  # fmt: skip
"""Training, evaluation, search, and the price."""


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("starting", [0.5, 6.0])
def test_the_time_is_known_after_the_first_twentieth_of_the_first_run(workers: int, starting: float) -> None:
    """By the seconds that were measured, with what it takes to start: within a factor of 1.5 from then on."""
    clock, shown = Clock(), Evaluation(corruptions=tuple(COMMON), severities=(1, 2, 3, 4, 5))
    runs = [spec(k, budget=Budget(images=60_000), evaluation=shown, test=2000) for k in range(len(MEASURED))]
    work = [Work(r, price=m[3], passes=60_000) for r, m in zip(runs, MEASURED.values(), strict=True)]
    estimate = Estimate(work, clock)
    # Each worker's runs one after another, as lists of events with their times.
    events: list[tuple[float, RunSpec, str, int, int]] = []
    free = [0.0] * workers
    for run, (training, evaluation, search, _) in zip(runs, MEASURED.values(), strict=True):
        k = free.index(min(free))
        at = free[k] + starting
        events += [(at + training * i / 100, run, "training", i, 100) for i in range(101)]
        events += [(at + training + evaluation * i / 76, run, "evaluation", i, 76) for i in range(77)]
        free[k] = at + training + evaluation + search
        events.append((free[k], run, "end", 0, 0))
    whole, known = max(free), 0
    for clock.now, run, phase, done, total in sorted(events, key=lambda e: e[0]):
        if phase == "end":
            estimate.finish(run.run_id)
        else:
            estimate.update(event(run, phase, done, total))
        left, true = estimate.left(), whole - clock.now
        # At the end the runs that are left may all be one worker's: what is meant is the time of the whole.
        if (
            clock.now >= starting + 0.05 * sum(MEASURED["full_precision"][:3])
            and left is not None
            and true > 0.2 * whole
        ):
            known += 1
            assert true / 1.5 < left < true * 1.5, (clock.now, left, true)
    assert known > 300


def test_a_search_counts_as_it_goes() -> None:
    """Nothing else tells of it, and it may take most of a run: 1000 images (3000), 11 cells (1100), 2000 passes (3000)."""
    clock, (run,) = Clock(), grid(1)
    estimate = Estimate([Work(run, passes=2000)], clock)
    estimate.update(event(run, "training", 0, 10))
    clock.now = 41.0
    estimate.update(event(run, "training", 10, 10))
    estimate.update(event(run, "evaluation", 11, 11))
    assert estimate.left() == pytest.approx(30)
    clock.now = 61.0
    estimate.update(event(run, "lipschitz_modulus", 1333, 2000))
    estimate.update(event(run, "lipschitz_kappa", 0, 1))
    assert estimate.left() == pytest.approx(10, rel=0.01)


def test_a_teacher_counts_where_it_is_trained() -> None:
    clock, (run,) = Clock(), grid(1)
    estimate = Estimate([Work(run)], clock)
    clock.now = 15.0
    estimate.update(event(run, "teacher", 0, 0))
    assert estimate.left() is None
    estimate.update(event(run, "teacher", 1, 2))
    assert estimate.left() == pytest.approx(15 + 30 + 11)
    clock.now = 30.0
    estimate.update(event(run, "teacher", 2, 2))
    clock.now = 60.0
    estimate.update(event(run, "training", 10, 10))
    assert estimate.left() == pytest.approx(11)


def test_a_finished_run_tells_the_time_gone_and_left(capsys: pytest.CaptureFixture[str]) -> None:
    clock, records = Clock(), [record(0), record(1)]
    work = [Work(r.spec) for r in records]
    shown = Progress(work, 0)
    shown.estimate = Estimate(work, clock)
    with shown:
        for clock.now, r in zip((65.0, 130.0), records, strict=True):
            shown.start(r.spec)
            shown.finish(r)
    said = capsys.readouterr().err
    assert "[1/2] irnet seed 0: clean accuracy 50.0%, 0 CPU seconds; 1:05 gone, about 1:05 left\n" in said
    assert "[2/2] irnet seed 1: clean accuracy 50.0%, 0 CPU seconds; 2:10 gone\n" in said


def test_a_bar_is_drawn_in_a_terminal_only_and_lines_everywhere(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(quiet: bool) -> str:
        with bar(10, "searching", quiet, unit="images") as shown:
            shown.advance(4, "fog")
            shown.advance(3)
            shown.tell("half of it")
            assert shown.done == 7
        return capsys.readouterr().err

    assert said(quiet=False) == "half of it\n"
    assert said(quiet=True) == ""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TTY_INTERACTIVE", "1")
    drawn = said(quiet=False)
    assert "fog" in drawn
    assert "images" in drawn
    assert said(quiet=True) == ""
