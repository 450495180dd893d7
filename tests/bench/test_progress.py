"""The time left: foreseen from amounts of work, and learned from the events of runs."""

from __future__ import annotations

import time

import pytest

from lcrbench.bench.progress import Event, Progress, Work, bar, remaining
from lcrbench.bench.records.budget import Budget
from lcrbench.bench.records.grid import Evaluation
from lcrbench.bench.records.spec import RunSpec
from lcrbench.bench.remaining import Amounts, Remaining
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


def begun(work: list[Work], clock: Clock, *, at_once: int = 1) -> Remaining:
    """Return the time left of runs of which the first ones have begun."""
    left = remaining(work, clock)
    for one in work[:at_once]:
        left.start(one.spec.run_id)
    return left


def test_it_is_right_from_the_first_event_of_a_steady_grid() -> None:
    """Two processes, four runs, 100 units a second each: 2 x 4100 units take 82 s."""
    clock, runs = Clock(), grid(4)
    left = begun([Work(run) for run in runs], clock, at_once=2)
    assert left.left() is None
    for pair in (runs[:2], runs[2:]):
        began = clock.now
        for run in pair:
            left.start(run.run_id)
        for step in range(1, 11):
            clock.now = began + 3 * step
            for run in pair:
                left.update(run.run_id, "training", step, 10)
            assert left.left() == pytest.approx(82 - clock.now)
        for cell in range(12):
            clock.now = began + 30 + cell
            for run in pair:
                left.update(run.run_id, "evaluation", cell, 11)
            assert left.left() == pytest.approx(82 - clock.now)
        for run in pair:
            left.finish(run.run_id)
    assert left.left() == 0


def test_what_was_done_before_is_no_speed() -> None:
    """Resumed at 900 of 1000 images: 300 units and 1100 are left, and 100 units took a second."""
    clock, (run,) = Clock(), grid(1)
    left = begun([Work(run)], clock)
    left.update(run.run_id, "training", 90, 100)
    assert left.left() is None
    clock.now = 0.3
    left.update(run.run_id, "training", 91, 100)
    assert left.left() == pytest.approx((270 + 1100) / 100)


def test_what_is_trained_and_evaluated_already_is_no_work() -> None:
    """One run is trained and lacks 3 cells of 11 (300), one lacks all (4100)."""
    clock, (trained, new) = Clock(), grid(2)
    left = begun([Work(trained, training=False, cells=3), Work(new)], clock)
    left.update(trained.run_id, "evaluation", 0, 3)
    assert left.left() is None
    clock.now = 2.0
    left.update(trained.run_id, "evaluation", 1, 3)
    assert left.left() is None, "the first evaluation of a grid makes all images, and foretells no training"
    clock.now = 6.0
    left.update(trained.run_id, "evaluation", 3, 3)
    left.finish(trained.run_id)
    assert left.left() is None
    left.start(new.run_id)
    left.update(new.run_id, "training", 0, 10)
    clock.now = 9.0
    left.update(new.run_id, "training", 1, 10)
    # 300 units of training took 3 s, and an evaluation 2 s for each cell of 100; what is expected of one counts a little.
    assert left.left() == pytest.approx(27 + 11 * 2, rel=0.05)


def test_runs_that_are_only_evaluated_foretell_each_other() -> None:
    clock, (one, other) = Clock(), grid(2)
    left = begun([Work(one, training=False, cells=3), Work(other, training=False, cells=3)], clock)
    left.update(one.run_id, "evaluation", 0, 3)
    clock.now = 2.0
    left.update(one.run_id, "evaluation", 1, 3)
    assert left.left() == pytest.approx(4 + 6)


def test_the_last_run_of_several_at_once_is_one_process_alone() -> None:
    """Three runs of 41 s on two processes take 82 s, not 61."""
    clock, runs = Clock(), grid(3)
    left = begun([Work(run) for run in runs], clock, at_once=2)
    for clock.now in range(1, 31):
        for run in runs[:2]:
            left.update(run.run_id, "training", clock.now, 30)
        assert left.left() == pytest.approx(82 - clock.now)


def test_what_no_part_counts_is_expected_of_the_next_runs_too() -> None:
    """Each takes 5 s to start, and 2 s to store what it found, which comes after its last event."""
    clock, (one, other) = Clock(), grid(2)
    left = begun([Work(one), Work(other)], clock)
    clock.now = 5.0
    left.update(one.run_id, "training", 0, 10)
    clock.now = 35.0
    left.update(one.run_id, "training", 10, 10)
    left.update(one.run_id, "evaluation", 0, 11)
    clock.now = 46.0
    left.update(one.run_id, "evaluation", 11, 11)
    assert left.left() == pytest.approx(5 + 41)
    clock.now = 48.0
    left.finish(one.run_id)
    left.start(other.run_id)
    assert left.left() == pytest.approx(7 + 41)
    clock.now = 52.0
    assert left.left() == pytest.approx(48 - 4), "time passes between two events"


def test_a_part_that_costs_more_than_foreseen_is_learned() -> None:
    """The evaluation takes four times what is foreseen of it; the second run's is expected so from then on."""
    clock, (one, other) = Clock(), grid(2)
    left = begun([Work(one), Work(other)], clock)
    left.update(one.run_id, "training", 0, 10)
    clock.now = 30.0
    left.update(one.run_id, "training", 10, 10)
    left.update(one.run_id, "evaluation", 0, 11)
    for cell in range(1, 12):
        clock.now = 30 + 4.0 * cell
        left.update(one.run_id, "evaluation", cell, 11)
        assert left.left() == pytest.approx(148 - clock.now, rel=0.25 if cell < 3 else 0.1)


def test_a_run_that_others_work_on_is_done_later() -> None:
    clock, (one, other) = Clock(), grid(2)
    left = begun([Work(one), Work(other)], clock)
    left.update(one.run_id, "training", 0, 10)
    clock.now = 15.0
    left.update(one.run_id, "training", 5, 10)
    assert left.left() == pytest.approx(82 - 15)
    left.wait(one.run_id)
    left.start(other.run_id)
    assert left.left() == pytest.approx(82 - 15)


def test_a_run_that_begins_anew_is_done_from_its_start() -> None:
    clock, (one, other) = Clock(), grid(2)
    left = begun([Work(one), Work(other)], clock)
    left.update(one.run_id, "training", 0, 10)
    clock.now = 15.0
    left.update(one.run_id, "training", 5, 10)
    left.wait(one.run_id)
    left.start(one.run_id)
    assert left.left() == pytest.approx(82)
    # The other process has done it.
    clock.now = 16.0
    left.update(one.run_id, "training", 10, 10)
    left.finish(one.run_id)
    left.start(other.run_id)
    clock.now = 16.0 + 40.0
    left.update(other.run_id, "evaluation", 11, 11)
    assert left.left() == pytest.approx(0.0, abs=1e-6)


def test_a_large_grid_is_foretold_in_no_time() -> None:
    clock, runs, labels = Clock(), 2000, 60
    left = Remaining({str(k): Amounts(f"method {k % labels}", 1e5, 1e4, 1e4) for k in range(runs)}, clock)
    for k in range(labels):
        left.start(str(k))
        for phase in ("training", "evaluation", "search"):
            clock.now += 1.0
            left.update(str(k), phase, 0, 10)
            clock.now += 1.0
            left.update(str(k), phase, 10, 10)
    began = time.process_time()
    assert left.left()
    # Each event of each run asks; it took .7 s.
    assert time.process_time() - began < 0.1


MEASURED = {
    # CPU seconds of the quick preset's runs on one core with a third of the images trained on and half of those shown
    # (2026-11-27), and what a step is foreseen to cost over the plain network's.
    "full_precision": (12.3, 18.4, 21.4, 1.0), "bnn": (13.2, 5.1, 17.8, 1.0), "irnet": (15.6, 4.3, 20.4, 1.0),
    "irnet+lcr": (22.3, 5.0, 18.6, 1.05),
}  # fmt: skip
"""Training, evaluation, search, and the price."""


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("starting", [0.5, 6.0])
@pytest.mark.parametrize("order", [1, -1])
def test_the_time_is_known_after_the_first_twentieth_of_the_first_run(
    workers: int, starting: float, order: int
) -> None:
    """By the seconds that were measured, with what it takes to start: within a factor of 1.5 from then on, to the end."""
    clock, shown = Clock(), Evaluation(corruptions=tuple(COMMON), severities=(1, 2, 3, 4, 5))
    names = list(MEASURED)[::order]
    runs = [spec(0, label=name, budget=Budget(images=20_000), evaluation=shown, test=1000) for name in names]
    work = [
        Work(r, price=MEASURED[n][3], passes=60_000, packed=n != "full_precision")
        for r, n in zip(runs, names, strict=True)
    ]
    left = remaining(work, clock)
    # Each worker's runs one after another, as lists of events with their times.
    events: list[tuple[float, int, RunSpec, str, int, int]] = []
    free = [0.0] * workers
    for run, name in zip(runs, names, strict=True):
        training, evaluation, search, _ = MEASURED[name]
        k = free.index(min(free))
        events.append((free[k], 1, run, "start", 0, 0))
        at = free[k] + starting
        events += [(at + training * i / 100, 2, run, "training", i, 100) for i in range(101)]
        events += [(at + training + evaluation * i / 76, 3, run, "evaluation", i, 76) for i in range(77)]
        at += training + evaluation
        events += [(at + search * i / 100, 4, run, "lipschitz_modulus", i, 100) for i in range(101)]
        free[k] = at + search + 0.5
        events.append((free[k], 0, run, "finish", 0, 0))
    whole, known = max(free), 0
    known_from = starting + 0.05 * sum(MEASURED[names[0]][:3])
    for clock.now, _, run, phase, done, total in sorted(events, key=lambda e: e[:2]):
        if phase == "start":
            left.start(run.run_id)
        elif phase == "finish":
            left.finish(run.run_id)
        else:
            left.update(run.run_id, phase, done, total)
        seconds, true = left.left(), whole - clock.now
        if clock.now >= known_from and seconds is not None:
            known += 1
            # A second more or less is seen by nobody.
            assert true / 1.5 - 1 < seconds < true * 1.5 + 1, (clock.now, seconds, true)
    assert known > 900


def test_a_search_counts_as_it_goes() -> None:
    """Nothing else tells of it, and it may take most of a run: 1000 images (3000), 11 cells (1100), 2000 passes (3000)."""
    clock, (run,) = Clock(), grid(1)
    left = begun([Work(run, passes=2000)], clock)
    left.update(run.run_id, "training", 0, 10)
    clock.now = 30.0
    left.update(run.run_id, "training", 10, 10)
    left.update(run.run_id, "evaluation", 0, 11)
    clock.now = 41.0
    left.update(run.run_id, "evaluation", 11, 11)
    left.update(run.run_id, "lipschitz_modulus", 0, 1)
    assert left.left() == pytest.approx(30)
    clock.now = 61.0
    left.update(run.run_id, "lipschitz_modulus", 1333, 2000)
    left.update(run.run_id, "lipschitz_kappa", 0, 1)
    assert left.left() == pytest.approx(10, rel=0.01)


def test_a_teacher_counts_where_it_is_trained() -> None:
    clock, (run,) = Clock(), grid(1)
    left = begun([Work(run)], clock)
    clock.now = 15.0
    left.update(run.run_id, "teacher", 0, 0)
    assert left.left() is None
    left.update(run.run_id, "teacher", 1, 2)
    assert left.left() == pytest.approx(15 + 30 + 11)
    clock.now = 30.0
    left.update(run.run_id, "teacher", 2, 2)
    left.update(run.run_id, "training", 0, 10)
    clock.now = 60.0
    left.update(run.run_id, "training", 10, 10)
    assert left.left() == pytest.approx(11)


def test_a_finished_run_tells_the_time_gone_and_left(capsys: pytest.CaptureFixture[str]) -> None:
    clock, records = Clock(), [record(0), record(1)]
    work = [Work(r.spec) for r in records]
    shown = Progress(work, 0)
    shown.remaining = remaining(work, clock)
    with shown:
        for r in records:
            shown.start(r.spec)
            clock.now += 65
            shown.update(Event(r.run_id, "training", 1, 1, {}))
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
