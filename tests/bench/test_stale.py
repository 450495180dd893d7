"""What is damaged or stale is refused, kept or made again, part by part, and nothing else is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lcrbench.bench import runner
from lcrbench.bench.records import predictions
from lcrbench.bench.records.spec import RunSpec
from lcrbench.bench.records.store import LOG, WEIGHTS, Damaged, Store
from lcrbench.errors import UserError
from tests.bench import helpers
from tests.bench.helpers import SMALL, Here, bits, job, outdate


def go(root: Path, tables: dict[str, Any] = SMALL, **change: Any) -> list[str]:
    """Do what a store lacks of a grid, and return the ids of its runs."""
    return [record.run_id for record in helpers.go(root, tables, **change)]


PARTS = {"training": "trainings", "evaluation": "evaluations"}


def place(target: Store, spec: RunSpec, part: str) -> Path:
    """Return the folder of a run's training or evaluation."""
    return target.root / PARTS[part] / {"training": spec.training.train_id, "evaluation": spec.evaluation_id}[part]


@pytest.mark.parametrize("part", PARTS)
def test_what_is_left_between_two_renames_is_put_back_and_not_made_again(tmp_path: Path, here: Here, part: str) -> None:
    go(tmp_path)
    (one,) = here.jobs
    folder = place(Store(tmp_path), one.spec, part)
    folder.rename(folder.with_name(f".{folder.name}.old"))
    go(tmp_path)
    assert here.jobs == []
    assert folder.is_dir()


@pytest.mark.parametrize(
    ("part", "name"),
    [("training", WEIGHTS), ("training", LOG), ("training", "record.json"), ("evaluation", predictions.FILE)],
)
def test_what_is_damaged_is_refused_or_set_aside_and_it_alone_made_again(
    tmp_path: Path, here: Here, part: str, name: str
) -> None:
    (run_id,) = go(tmp_path)
    whole = bits(tmp_path, Store(tmp_path).record(run_id))
    path = place(Store(tmp_path), here.jobs[0].spec, part) / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(Damaged, match=f"{name}.*--redo"):
        go(tmp_path)
    assert go(tmp_path, redo=True) == [run_id]
    assert ("training" in here.phases) == (part == "training")
    # Trained again to the same bits, it needs no other look.
    assert ("evaluation" in here.phases) == (part == "evaluation")
    found = bits(tmp_path, Store(tmp_path).record(run_id))
    assert (found["training"], found["evaluation"]) == (whole["training"], whole["evaluation"])
    assert len(list((tmp_path / ".damaged").iterdir())) == 1


def test_a_damaged_save_beside_a_whole_training_is_set_aside_alone(tmp_path: Path, here: Here) -> None:
    """A process was killed after it had stored the training, and before it removed the save, which has the same id."""
    go(tmp_path)
    target = Store(tmp_path)
    save = target.unfinished(here.jobs[0].spec.training.train_id)
    save.parent.mkdir(exist_ok=True)
    save.write_bytes(b"half")
    go(tmp_path, redo=True)
    assert here.jobs == []
    assert not save.exists()
    assert target.trainings.ids() == [save.name]


def test_redo_leaves_alone_what_a_live_process_works_on(tmp_path: Path, here: Here) -> None:
    go(tmp_path)
    target, spec = Store(tmp_path), here.jobs[0].spec
    damaged = {target.unfinished(n) for n in ("a", "b")} | {target.teacher(n) for n in ("c", "d")}
    drafts = {target.unfinished("e.new"), target.teacher("f.new")}
    for path in damaged | drafts:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"half")
    (place(target, spec, "training") / WEIGHTS).unlink()
    here.does = lambda one: None
    with target.lease("a"), target.lease("c"), target.lease(spec.training.train_id):
        runner._mend(target, [job(tmp_path, SMALL)], redo=True)
    assert target.trainings.ids() == [spec.training.train_id]
    left = {p.name for p in (*target.unfinished("").iterdir(), *target.teacher("").iterdir())}
    assert left == {"a", "c", "e.new", "f.new"}
    runner._mend(target, [job(tmp_path, SMALL)], redo=True)
    assert target.trainings.ids() == []
    assert all(path.exists() for path in drafts)
    assert len(list((tmp_path / ".damaged").iterdir())) == 5


@pytest.mark.parametrize(
    ("part", "again"),
    [
        # Its bits are what they were, so that nothing else is made again.
        ("training", {"training"}),
        # And what is computed from which images were right.
        ("predictions", {"evaluation", "accuracy", "corruption_error"}),
        ("accuracy", {"accuracy"}),
        ("corruption_error", {"corruption_error"}),
    ],
)
def test_what_is_stale_is_refused_kept_or_made_again_and_nothing_else(
    tmp_path: Path, here: Here, capsys: pytest.CaptureFixture[str], part: str, again: set[str]
) -> None:
    (run_id,) = go(tmp_path)
    target, spec = Store(tmp_path), here.jobs[0].spec
    before = bits(tmp_path, target.record(run_id))
    go(tmp_path)
    assert here.jobs == []
    outdate(target, spec, part)
    old = target.record(run_id)
    with pytest.raises(UserError, match=rf"1 of 1 runs .*{part}: .* changed since.*--stale redo") as error:
        go(tmp_path)
    assert "\n" not in str(error.value)
    go(tmp_path, stale="keep")
    assert here.jobs == []
    assert target.record(run_id) == old
    go(tmp_path, stale="redo")
    assert {*here.phases} & {"training", "evaluation", *SMALL["metrics"]} == again
    found = bits(tmp_path, target.record(run_id))
    assert found["record"].measurements == before["record"].measurements
    assert {s.sha256 for s in found["record"].sources} == {s.sha256 for s in before["record"].sources}
    assert (found["training"], found["evaluation"]) == (before["training"], before["evaluation"])
    go(tmp_path)
    assert here.jobs == []


def test_what_is_made_again_leaves_other_runs_of_the_network_whole_or_says_so(tmp_path: Path, here: Here) -> None:
    """A larger run keeps its own cells; what it measured of those that were shown again is to be measured again."""
    larger = SMALL | {"evaluation": SMALL["evaluation"] | {"severities": [1, 3]}}
    (large,) = go(tmp_path, larger)
    target = Store(tmp_path)
    whole = bits(tmp_path, target.record(large))
    (small,) = go(tmp_path, SMALL | {"metrics": {"accuracy": {}}})
    outdate(target, target.record(large).spec, "predictions")
    assert go(tmp_path, SMALL | {"metrics": {"accuracy": {}}}, stale="redo") == [small]
    assert target.record(small).status == "finished"
    left = target.record(large)
    assert left.status == "failed"
    assert "accuracy, corruption_error" in left.failure.message
    assert "run it again" in left.failure.message
    outcomes = target.outcomes(large)
    assert len(outcomes) == 3
    go(tmp_path, larger, stale="redo")
    assert "training" not in here.phases
    found = bits(tmp_path, target.record(large))
    assert found["record"].measurements == whole["record"].measurements
    assert found["training"] == whole["training"]
    for cell, right in target.outcomes(large).items():
        assert (right == outcomes[cell]).all()


def test_what_is_stale_elsewhere_stands_in_no_run_s_way(tmp_path: Path, here: Here) -> None:
    """Another method's code, and another metric's, which this grid does not name."""
    go(tmp_path, SMALL | {"metrics": {"accuracy": {}, "lipschitz_norms": {}}})
    go(tmp_path, SMALL | {"methods": ["irnet"]})
    outdate(Store(tmp_path), here.jobs[0].spec, "training")
    (run_id,) = go(tmp_path)
    outdate(Store(tmp_path), Store(tmp_path).record(run_id).spec, "lipschitz_norms")
    go(tmp_path)
    assert here.jobs == []
    with pytest.raises(UserError, match="lipschitz_norms"):
        go(tmp_path, SMALL | {"metrics": {"lipschitz_norms": {}}})
