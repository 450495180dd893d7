"""An interrupted training goes on from its save and ends in the same bits; a stop or a kill later trains nothing again."""

from __future__ import annotations

import contextlib
import errno
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from lcrbench.bench import worker
from lcrbench.bench.records import shelf
from lcrbench.bench.records.grid import make_grid
from lcrbench.bench.records.record import Record
from lcrbench.bench.records.store import Store
from lcrbench.bench.training.checkpoint import Checkpoint
from lcrbench.bench.training.loop import Stopped
from lcrbench.errors import UserError
from tests.bench.helpers import TABLES, bits, job, later


def run(root: Path, **change: Any) -> Record:
    return worker.run_one(job(root, TABLES | change))


def whole_run(folder: Path, **change: Any) -> dict[str, Any]:
    """Return all that must be the same of an uninterrupted run."""
    return bits(folder, run(folder, **change))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return whole_run(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def save(tmp_path: Path) -> Path:
    """Return where the training's save lies while it is unfinished."""
    return Store(tmp_path).unfinished(job(tmp_path).spec.training.train_id)


def stop_after(monkeypatch: pytest.MonkeyPatch, steps: list[int]) -> None:
    """Ask each training for a stop after so many of its own steps, then let the last one run."""

    def stopping(self: Checkpoint) -> bool:
        self.seen = getattr(self, "seen", 0) + 1
        # Each step asks twice when it stops: before the save and after it.
        return bool(steps) and self.seen >= steps[0]

    monkeypatch.setattr(Checkpoint, "stopping", stopping)


# The grid's training has 12 steps, so that the thirteenth question is the evaluation's.
IN_EVALUATION = 13


@pytest.mark.parametrize("stops", [[1], [5], [11], [3, 2, 4]])
def test_resumed_training_ends_in_the_same_bits(
    tmp_path: Path, whole: dict[str, Any], save: Path, stops: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    todo = list(stops)
    stop_after(monkeypatch, todo)
    while todo:
        with pytest.raises(Stopped):
            run(tmp_path)
        assert Store(tmp_path).ids() == []
        assert save.exists()
        todo.pop(0)
    assert bits(tmp_path, run(tmp_path)) == whole
    assert not save.exists()


STAGED = {"methods": ["reactnet:two_step=true+distill"]}


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return whole_run(tmp_path_factory.mktemp("staged"), **STAGED)


@pytest.mark.parametrize(
    "stops", [[(0, 4)], [(1, 5)], [(1, 6)], [(1, 7)], [(1, 9)], [(0, 1), (0, 3), (1, 2), (1, 5), (1, 4)]]
)
def test_each_training_of_a_run_resumes(
    tmp_path: Path, staged: dict[str, Any], stops: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped while its teacher is trained (0), in its first stage, where the second begins, and in that (1)."""
    todo = list(stops)
    own = staged["record"].spec.training.train_id

    def stopping(self: Checkpoint) -> bool:
        self.seen = getattr(self, "seen", 0) + 1
        return bool(todo) and (self.path.name == own, self.seen) >= (bool(todo[0][0]), todo[0][1])

    monkeypatch.setattr(Checkpoint, "stopping", stopping)
    while todo:
        with pytest.raises(Stopped):
            run(tmp_path, **STAGED)
        todo.pop(0)
    assert bits(tmp_path, run(tmp_path, **STAGED)) == staged


@pytest.mark.parametrize("method", ["ovsw", "siman", "biper", "irnet+cmim", "recu+finetune"])
def test_what_a_method_keeps_from_step_to_step_resumes(
    tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    change = {"methods": [method], "metrics": {"accuracy": {}}}
    whole = whole_run(tmp_path / "whole", **change)
    own, todo = whole["record"].spec.training.train_id, [5, 4]

    def stopping(self: Checkpoint) -> bool:
        self.seen = getattr(self, "seen", 0) + (self.path.name == own)
        return bool(todo) and self.seen >= todo[0]

    monkeypatch.setattr(Checkpoint, "stopping", stopping)
    while todo:
        with pytest.raises(Stopped):
            run(tmp_path / "parts", **change)
        todo.pop(0)
    assert bits(tmp_path / "parts", run(tmp_path / "parts", **change)) == whole


BEST = {"recipe": {"batch": 50, "lr": 0.2, "validation": 50, "selection": "best", "schedule": "constant"}}


@pytest.mark.parametrize(
    "change",
    [BEST, *({"recipe": {"batch": 50, "lr": 0.01, "optimizer": o}} for o in ("adam", "adamw", "sgd:nesterov=false"))],
    ids=["best", "adam", "adamw", "momentum"],
)
def test_each_part_of_a_recipe_resumes_to_the_same_bits(
    tmp_path: Path, change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = whole_run(tmp_path / "whole", **change)
    # 12: every step is made, and the best weights are not taken yet.
    for stops in (1, 5, 12):
        root = tmp_path / str(stops)
        todo = [stops]
        stop_after(monkeypatch, todo)
        with pytest.raises(Stopped):
            run(root, **change)
        todo.clear()
        assert bits(root, run(root, **change)) == whole


SLOWER = ["irnet", "reste", "adabin+spectral_norm", "bnn+jacobian_penalty", "irnet+lcr_fixed:cache=true"]


@pytest.mark.parametrize(
    "method", ["recu", "rbnn:rotations=4", *(pytest.param(m, marks=pytest.mark.slow) for m in SLOWER)]
)
def test_schedules_and_their_state_survive_a_stop(tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """EDE's t, ReCU's tau, ReSTE's o, RBNN's rotations on both sides of it, an iteration's vectors, a generator, a cache."""
    whole = whole_run(tmp_path / "a", methods=[method])
    todo = [7]
    stop_after(monkeypatch, todo)
    with pytest.raises(Stopped):
        run(tmp_path / "b", methods=[method])
    todo.clear()
    assert bits(tmp_path / "b", run(tmp_path / "b", methods=[method])) == whole


# ------------------------------------------------------------------------------------- a training is stored as soon as it is


@pytest.fixture
def trains_nothing(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what makes every training from then on an error."""

    def refuse() -> None:
        def trained(*_: Any, **__: Any) -> Any:
            raise AssertionError("it was trained again")

        monkeypatch.setattr(worker, "trained", trained)

    return refuse


def test_a_stop_during_evaluation_keeps_the_training(
    tmp_path: Path, whole: dict[str, Any], save: Path, monkeypatch: pytest.MonkeyPatch, trains_nothing: Any
) -> None:
    stop_after(monkeypatch, [IN_EVALUATION])
    with pytest.raises(Stopped):
        run(tmp_path)
    monkeypatch.undo()
    assert Store(tmp_path).trainings.ids() == [whole["record"].spec.training.train_id]
    assert Store(tmp_path).ids() == []
    assert not save.exists()
    trains_nothing()
    phases: list[str] = []
    record = worker.run_one(job(tmp_path), lambda phase, *a, **k: phases.append(phase))
    assert "training" not in phases
    assert bits(tmp_path, record) == whole


@pytest.mark.parametrize("phase", ["evaluation", "accuracy", "corruption_error", "storing"])
def test_a_kill_in_any_later_phase_trains_nothing_again(
    tmp_path: Path, whole: dict[str, Any], phase: str, trains_nothing: Any
) -> None:
    """Also where nothing was written down about the end: no handler ran, and no record was left."""
    seen: list[str] = []

    class Killed(BaseException):
        pass

    def kill(now: str, *_: Any, **__: Any) -> None:
        seen.append(now)
        # The second storing is the evaluation's.
        if now == phase and (now != "storing" or seen.count(now) == 2):
            raise Killed

    with pytest.raises(Killed):
        worker.run_one(job(tmp_path), kill)
    trains_nothing()
    assert bits(tmp_path, run(tmp_path)) == whole


@pytest.mark.parametrize("method", ["irnet+lcr", "rbnn"])
def test_surrogate_gradients_are_those_of_the_training_s_end(
    tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch, trains_nothing: Any
) -> None:
    """A search along them finds the same after a stop during evaluation: how sharp they are lies in no weight."""
    search = {"metrics": {"lipschitz_modulus": {"images": 4, "effort": "trial"}}, "methods": [method]}
    first = whole_run(tmp_path / "whole", **search)
    stop_after(monkeypatch, [IN_EVALUATION])
    with pytest.raises(Stopped):
        run(tmp_path / "stopped", **search)
    monkeypatch.undo()
    trains_nothing()
    assert bits(tmp_path / "stopped", run(tmp_path / "stopped", **search)) == first


def test_a_training_made_again_with_other_weights_takes_the_old_one_s_place_with_its_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then what was finished stays, and the save has the new weights: under a budget in seconds they differ."""
    seconds = TABLES | {"budget": {"unit": "seconds", "seconds": 0.6}}
    first = worker.run_one(job(tmp_path, seconds))
    before = bits(tmp_path, first)
    again = later(job(tmp_path, seconds), fresh=True)
    steps: list[str] = []

    def stop(phase: str, *_: Any, **__: Any) -> None:
        steps.append(phase)
        if phase == "accuracy":
            raise Stopped

    with pytest.raises(Stopped):
        worker.run_one(again, stop)
    assert "training" in steps
    assert Store(tmp_path).record(first.run_id) == first
    assert bits(tmp_path, first) == before
    steps.clear()
    second = worker.run_one(again, lambda phase, *a, **k: steps.append(phase))
    assert "training" not in steps, "the save has every step"
    assert Store(tmp_path).record(first.run_id) == second
    assert bits(tmp_path, second)["training"] != before["training"]
    assert not Store(tmp_path).unfinished(first.spec.training.train_id).exists()


# -------------------------------------------------------------------------------------------------------- saves and the disk


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("where", [0, 70, 3000, -1])
def test_a_damaged_save_is_named_and_never_used(
    tmp_path: Path, whole: dict[str, Any], save: Path, where: int, cut: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_after(monkeypatch, [5])
    with pytest.raises(Stopped):
        run(tmp_path)
    monkeypatch.undo()
    content = bytearray(save.read_bytes())
    content[where] ^= 4
    save.write_bytes(content[:where] if cut else content)
    with pytest.raises(UserError, match="damaged"):
        run(tmp_path)
    Store(tmp_path).set_aside(save)
    assert bits(tmp_path, run(tmp_path)) == whole
    assert len(list((tmp_path / ".damaged").iterdir())) == 1


def test_a_save_of_another_version_of_the_code_is_not_used(tmp_path: Path, whole: dict[str, Any], save: Path) -> None:
    Checkpoint(Store(tmp_path), save.name, "other source").save({"x": torch.zeros(3)}, {})
    assert bits(tmp_path, run(tmp_path)) == whole


def _full() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_told_and_leaves_the_store_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file of both entries, and every folder, is once the one that finds no room."""
    tables = TABLES | {"methods": ["bnn"], "budget": {"images": 50}, "metrics": {"accuracy": {}}}
    first = worker.run_one(job(tmp_path / "before", tables))
    whole = bits(tmp_path / "before", first)
    again = later(job(tmp_path / "before", tables), fresh=True)
    with monkeypatch.context() as patch:
        patch.setattr(shelf, "flush", lambda path: _full())
        with pytest.raises(UserError, match="No space left"):
            worker.run_one(again)
    real, told, finished = shelf.flush, 0, False
    while not finished:
        told += 1
        writes = 0
        root = tmp_path / str(told)
        shutil.copytree(tmp_path / "before", root)

        def full(path: Path, fail_at: int = told) -> None:
            nonlocal writes
            writes += 1
            if writes == fail_at:
                _full()
            real(path)

        with monkeypatch.context() as patch:
            patch.setattr(shelf, "flush", full)
            with contextlib.suppress(UserError):
                worker.run_one(later(job(root, tables), fresh=True))
                finished = True
        found = bits(root, Store(root).record(first.run_id))
        assert found["evaluation"] == whole["evaluation"]
        assert found["training"] == whole["training"]
    assert told > 12


# -------------------------------------------------------------------------------------------------------------------- clocks


def test_a_budget_in_seconds_ends_by_the_clock(tmp_path: Path) -> None:
    record = run(tmp_path, budget={"unit": "seconds", "seconds": 1.5})
    assert record.ledger.unit == "seconds"
    assert record.ledger.steps > 1
    assert record.ledger.images == record.ledger.steps * 50
    assert 1 < record.ledger.seconds["training"].cpu < 6


@pytest.mark.parametrize(
    "budget",
    [{"unit": "seconds"}, {"seconds": 3.0}, {"unit": "second", "seconds": 3.0}, {"unit": "epochs", "images": 3}],
)
def test_contradictory_budgets_are_refused(budget: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="budget"):
        make_grid({"budget": budget})
