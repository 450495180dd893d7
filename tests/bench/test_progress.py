"""The time left: foreseen from images, from the first events on."""

from __future__ import annotations

import pytest

from lcrbench.bench.progress import Estimate, Event, Progress, Work, bar
from lcrbench.bench.records.budget import Budget
from lcrbench.bench.records.grid import Evaluation
from lcrbench.bench.records.spec import RunSpec
from tests.bench.helpers import record, spec


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def grid(n: int) -> list[RunSpec]:
    """Runs of 1000 training images (3000) and of 2 x 5 cells and the clean ones on 100 test images (2200)."""
    shown = Evaluation(corruptions=("fog", "contrast"))
    return [spec(seed, budget=Budget(images=1000), evaluation=shown, test=100) for seed in range(n)]


def event(run: RunSpec, phase: str, done: int, total: int) -> Event:
    return Event(run.run_id, phase, done, total, {})


def test_it_is_right_from_the_first_event_of_a_steady_grid() -> None:
    """Two processes, four runs, 100 units a second each: 4 x 5200 units take 104 s."""
    clock, runs = Clock(), grid(4)
    estimate = Estimate([Work(run) for run in runs], clock)
    assert estimate.left() is None
    for pair in (runs[:2], runs[2:]):
        began = clock.now
        for step in range(1, 11):
            clock.now = began + 3 * step
            for run in pair:
                estimate.update(event(run, "training", step, 10))
            assert estimate.left() == pytest.approx(104 - clock.now)
        for cell in range(1, 12):
            clock.now = began + 30 + 2 * cell
            for run in pair:
                estimate.update(event(run, "evaluation", cell, 11))
            assert estimate.left() == pytest.approx(104 - clock.now)
        for run in pair:
            estimate.finish(run.run_id)
    assert estimate.left() == 0


def test_what_was_done_before_is_no_speed() -> None:
    """Resumed at 900 of 1000 images: 300 units and 2200 are left, and 100 units took a second."""
    clock, (run,) = Clock(), grid(1)
    estimate = Estimate([Work(run)], clock)
    estimate.update(event(run, "training", 90, 100))
    assert estimate.left() is None
    clock.now = 0.3
    estimate.update(event(run, "training", 91, 100))
    assert estimate.left() == pytest.approx((270 + 2200) / 100)


def test_what_is_trained_and_evaluated_already_is_no_work() -> None:
    """One run is trained and lacks 3 cells of 11 (600), one lacks all (5200)."""
    clock, (trained, new) = Clock(), grid(2)
    estimate = Estimate([Work(trained, training=False, cells=3), Work(new)], clock)
    estimate.update(event(trained, "evaluation", 0, 3))
    assert estimate.left() is None
    clock.now = 2.0
    estimate.update(event(trained, "evaluation", 1, 3))
    assert estimate.left() == pytest.approx((400 + 5200) / 100)
    clock.now = 6.0
    estimate.finish(trained.run_id)
    assert estimate.left() == pytest.approx(5200 / 100)


def test_a_teacher_counts_where_it_is_trained() -> None:
    clock, (run,) = Clock(), grid(1)
    estimate = Estimate([Work(run)], clock)
    clock.now = 15.0
    estimate.update(event(run, "teacher", 0, 0))
    assert estimate.left() is None
    estimate.update(event(run, "teacher", 1, 2))
    assert estimate.left() == pytest.approx(15 + 30 + 22)
    clock.now = 30.0
    estimate.update(event(run, "teacher", 2, 2))
    clock.now = 60.0
    estimate.update(event(run, "training", 10, 10))
    assert estimate.left() == pytest.approx(22)


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
