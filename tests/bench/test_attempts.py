"""What an attempt leaves: one process works on a run at a time, and a failure never replaces what is finished."""

from __future__ import annotations

import dataclasses
import multiprocessing
import signal
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lcrbench.bench import runner, serving, worker
from lcrbench.bench.metrics import calibration_error
from lcrbench.bench.records import env
from lcrbench.bench.records.record import Record
from lcrbench.bench.records.store import Store
from lcrbench.bench.training.loop import Diverged
from lcrbench.errors import UserError
from tests.bench import helpers
from tests.bench.helpers import SMALL, Here, came_to, job, later, outdate


def go(root: Path, tables: dict[str, Any] = SMALL, **change: Any) -> list[str]:
    """Do what a store lacks of a grid, and return the ids of its runs."""
    return [record.run_id for record in helpers.go(root, tables, **change)]


# --------------------------------------------------------------------------------------------------------------- processes


@pytest.mark.parametrize("held", [0, 1], ids=["training", "evaluation"])
def test_a_run_that_another_process_holds_is_left_alone(tmp_path: Path, held: int) -> None:
    one = job(tmp_path, SMALL)
    with Store(tmp_path).lease(worker.leased(one.spec)[held]):
        context = multiprocessing.get_context("spawn")
        reader, writer = context.Pipe(duplex=False)
        process = context.Process(target=serving.process, args=(one.keep(), writer))
        process.start()
        process.join(120)
        reader.close()
        assert process.exitcode == serving.BUSY
        assert Store(tmp_path).ids() == []
        # Nor does the parent write down a failure where another process has taken over what a killed one left.
        for code in (serving.BUSY, -9):
            assert came_to(Store(tmp_path), one, code) is None
    assert Store(tmp_path).ids() == []


# ---------------------------------------------------------------------------------------------------------------- failures


def test_a_run_of_the_same_second_is_from_before(tmp_path: Path) -> None:
    """`fresh` tells by the time what was made before it, and a small run takes less than a second."""
    one = job(tmp_path, SMALL)
    planned = datetime.now(UTC).isoformat(timespec="seconds")
    one = dataclasses.replace(one, provenance=one.provenance.model_copy(update={"created": planned}))
    assert worker.run_one(one).status == "finished"
    made = env.provenance("cpu", 1, "", {}, deterministic=True)
    again = dataclasses.replace(one, provenance=made, fresh=True)
    # A record of a version that told whole seconds sorts before everything of its second; two of this version, in order.
    assert planned < made.created < env.provenance("cpu", 1, "", {}, deterministic=True).created
    assert came_to(Store(tmp_path), again, -9).status == "failed"


def asking_more(one: worker.Job) -> worker.Job:
    """Return a job that asks for one more metric."""
    metrics = one.spec.metrics | {"calibration_error": {"bins": 15}}
    return dataclasses.replace(one, spec=one.spec.model_copy(update={"metrics": metrics}))


def test_a_failure_never_replaces_a_finished_run(tmp_path: Path) -> None:
    one = job(tmp_path, SMALL)
    target = Store(tmp_path)
    assert came_to(target, one, -9).status == "failed"
    assert target.record(one.spec.run_id).status == "failed"
    whole = worker.run_one(one)
    assert whole.status == "finished"

    # Killed after it had stored; killed, and another command's process finished it before this parent looked.
    save = target.unfinished(one.spec.training.train_id)
    for killed in (dataclasses.replace(one, fresh=True), later(one), later(one, stale="redo")):
        save.parent.mkdir(exist_ok=True)
        save.write_bytes(b"what a killed process had not removed yet")
        assert came_to(target, killed, -9).status == "finished"
        assert not save.exists()
    # A run made again, or asked for more: the attempt failed, and says so.
    for again in (later(one, fresh=True), later(asking_more(one))):
        for code in (-9, serving.STOPPED, serving.UNWRITABLE, 1, 0):
            assert came_to(target, again, code).status == "failed"
    assert target.record(one.spec.run_id) == whole
    # Or one that a different version of the code made.
    outdate(target, one.spec, "training")
    old = target.record(one.spec.run_id)
    for code in (-9, 0):
        assert came_to(target, later(one, stale="redo"), code).status == "failed"
        assert came_to(target, later(one, stale="keep"), code).status == "finished"
    assert target.record(one.spec.run_id) == old
    target.verify(one.spec.run_id)


@pytest.mark.parametrize("error", [ValueError("no such thing"), UserError("no such thing"), None])
def test_a_failure_told_by_the_process_never_replaces_a_finished_run(
    tmp_path: Path, error: Exception | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one = job(tmp_path, SMALL)
    worker.run_one(one)
    outdate(Store(tmp_path), one.spec, "training")
    whole = Store(tmp_path).record(one.spec.run_id)

    def breaks(*_: Any, **__: Any) -> None:
        raise error or Diverged(3, "the loss diverged")

    monkeypatch.setattr(worker, "trained", breaks)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    for again in (later(one, fresh=True), later(one, stale="redo")):
        serving.process(again.keep(), SimpleNamespace(send=lambda _: None))
        assert ("no such thing" if error else "diverged") in capsys.readouterr().err
        assert Store(tmp_path).record(one.spec.run_id) == whole
        assert came_to(Store(tmp_path), again, 0).status == "failed"


def test_a_metric_that_fails_leaves_what_was_measured_before(
    tmp_path: Path, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told as what was made again and failed; once it works, it alone is measured."""
    (run_id,) = go(tmp_path)
    whole = Store(tmp_path).record(run_id)
    more = SMALL | {"metrics": SMALL["metrics"] | {"calibration_error": {}}}

    def fails(*_: Any) -> Any:
        raise ValueError("no such thing")

    def as_a_process(one: worker.Job) -> Record | None:
        serving.process(one.keep(), SimpleNamespace(send=lambda _: None))
        return came_to(Store(tmp_path), one, 0)

    with monkeypatch.context() as patch:
        patch.setattr(calibration_error, "measure", fails)
        here.does = as_a_process
        with pytest.raises(runner.Kept, match="1 of 1 runs failed when made again"):
            go(tmp_path, more)
    assert Store(tmp_path).record(run_id) == whole
    here.does = here.work
    assert go(tmp_path, more) == [run_id]
    assert "training" not in here.phases
    assert {"calibration_error"} == {*here.phases} & {*more["metrics"]}
    assert set(Store(tmp_path).record(run_id).metrics) == set(more["metrics"])


def test_a_run_of_which_all_is_there_is_noted_where_an_attempt_had_failed(tmp_path: Path, here: Here) -> None:
    """Asked for as a part of a larger run, after an attempt at it that was killed: all was known, but not that it is."""
    several = SMALL | {"evaluation": SMALL["evaluation"] | {"severities": [1, 3]}, "metrics": {"lipschitz_norms": {}}}
    go(tmp_path, several)
    part = several | {"evaluation": SMALL["evaluation"]}
    target = Store(tmp_path)

    def killed(one: worker.Job) -> Record | None:
        return came_to(target, one, -9)

    here.does = killed
    (run_id,) = go(tmp_path, part)
    assert target.record(run_id).status == "failed"
    here.does = here.work
    assert go(tmp_path, part) == [run_id]
    assert target.record(run_id).status == "finished"
    assert not {"training", "evaluation", "lipschitz_norms"} & {*here.phases}
    go(tmp_path, part)
    assert here.jobs == []


def test_a_killed_attempt_at_more_cells_keeps_those_that_were_shown(tmp_path: Path, here: Here) -> None:
    """It is a failed run of its own beside the finished one, and goes on with what that one has."""
    (run_id,) = go(tmp_path)
    target = Store(tmp_path)
    whole = target.record(run_id)
    more = SMALL | {"evaluation": SMALL["evaluation"] | {"severities": [1, 3]}}
    here.does = lambda one: came_to(target, one, -9)
    (larger,) = go(tmp_path, more)
    assert target.record(larger).failure.reason == "killed"
    assert target.record(run_id) == whole
    assert target.ids() == sorted([run_id, larger])
    target.verify(run_id)
    here.does = here.work
    assert go(tmp_path, more) == [larger]
    assert "training" not in here.phases
    assert here.phases.count("evaluation") == 2, "at the beginning and the end of one cell"
    assert target.record(larger).status == "finished"
    assert target.ids() == [larger], "the smaller run is a part of it"
    assert target.record(run_id).measurements == whole.measurements
