"""Stores are merged, listed, exported and cleaned, and nothing that anybody needs is lost."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from lcrbench.bench import cli
from lcrbench.bench.records import predictions, removal
from lcrbench.bench.records.merging import merge
from lcrbench.bench.records.record import Evaluation
from lcrbench.bench.records.spec import Cell
from lcrbench.bench.records.store import Store
from lcrbench.errors import UserError
from tests.bench.helpers import CELLS, put, record


def call(*words: str) -> Any:
    return CliRunner().invoke(cli.app, ["store", *words])


@pytest.fixture
def stores(tmp_path: Path) -> tuple[Store, Store]:
    """Two stores with one run in common, and one of its own each."""
    a, b = Store(tmp_path / "a", create=True), Store(tmp_path / "b", create=True)
    for store, seeds in ((a, (0, 1)), (b, (1, 2))):
        for seed in seeds:
            put(store, record(seed))
    return a, b


def changed(store: Store, name: str, drop: tuple[int, ...] = (), flip: tuple[int, int] | None = None) -> Evaluation:
    """Let an evaluation lack the answers of cells, by row, or have another answer in one place."""
    found = store.known(name)
    assert found is not None
    evaluation, answers, files = found
    answers.classes[list(drop)] = predictions.MISSING
    if flip is not None:
        answers.classes[flip] = {predictions.RIGHT: predictions.WRONG}.get(
            int(answers.classes[flip]), predictions.RIGHT
        )
    return store.evaluations.write(name, evaluation, {**files, predictions.FILE: answers.pack()})


def whole(store: Store) -> dict[str, Any]:
    """Return all that reports read of a store."""
    for run in store.ids():
        store.verify(run)
    return {
        run: (store.record(run), {str(c): r.tolist() for c, r in store.outcomes(run).items()}) for run in store.ids()
    }


def test_what_one_store_lacks_is_copied_and_a_second_time_nothing(stores: tuple[Store, Store], tmp_path: Path) -> None:
    a, b = stores
    wanted = {**whole(a), **whole(b)}
    there = whole(b)
    assert [c.what.split()[2] for c in merge(a, b)] == ["copied", "copied"]
    assert whole(Store(a.root)) == wanted
    assert whole(Store(b.root)) == there, "what is merged from stays as it is"
    assert list(merge(Store(a.root), b)) == []
    done = call("merge", str(tmp_path / "new"), str(a.root), str(b.root))
    assert done.exit_code == 0
    assert whole(Store(tmp_path / "new")) == wanted
    assert "nothing to copy" in call("merge", str(tmp_path / "new"), str(a.root)).output
    assert isinstance(call("merge", str(a.root), str(a.root)).exception, UserError)


def test_answers_add_up(stores: tuple[Store, Store]) -> None:
    a, b = stores
    both = record(1).spec.evaluation_id  # type: ignore[union-attr]
    wanted = whole(a)
    changed(a, both, drop=(3, 4))
    changed(b, both, drop=(1,))
    (added,) = [c for c in merge(Store(a.root), Store(b.root)) if both in c.what]
    assert added.good
    assert "added to" in added.what
    merged = Store(a.root)
    run = record(1).spec.run_id
    assert {str(c): r.tolist() for c, r in merged.outcomes(run).items()} == wanted[run][1]


def test_what_differs_is_told_and_ours_stays(stores: tuple[Store, Store]) -> None:
    a, b = stores
    both = record(1).spec.evaluation_id  # type: ignore[union-attr]
    train = record(1).spec.training.train_id  # type: ignore[union-attr]
    wanted = whole(a)
    kept = b.trainings.record(train)
    b.trainings.write(
        train, kept.model_copy(update={"weights_sha256": "f" * 64}), {f: b.training_file(train, f) for f in kept.files}
    )
    there = b.evaluations.record(both)
    files = {f: b.evaluation_file(there, f) for f in there.files}
    b.evaluations.write(both, there.model_copy(update={"weights_sha256": "f" * 64}), files)
    told = [c for c in merge(Store(a.root), Store(b.root)) if not c.good]
    assert len(told) == 2
    assert all("other weights" in c.what for c in told)
    assert {k: v for k, v in whole(Store(a.root)).items() if k in wanted} == wanted
    assert isinstance(call("merge", str(a.root), str(b.root)).exception, UserError)


def test_a_damaged_entry_is_told_and_not_copied(stores: tuple[Store, Store]) -> None:
    a, b = stores
    only = record(2).spec.evaluation_id  # type: ignore[union-attr]
    file = b.evaluations.folder(only) / predictions.FILE
    content = bytearray(file.read_bytes())
    content[30] ^= 1
    file.write_bytes(bytes(content))
    told = [c for c in merge(a, Store(b.root)) if not c.good]
    assert [only in c.what and "damaged" in c.what for c in told] == [True]
    assert only not in a.evaluations


def test_runs_and_then_trainings_are_removed(stores: tuple[Store, Store]) -> None:
    a, _ = stores
    run, train = record(0).spec.run_id, record(0).spec.training.train_id  # type: ignore[union-attr]
    with pytest.raises(UserError, match="remove its runs first"):
        removal.remove(a, train)
    said = call("rm", run, "--yes", "--store", str(a.root))
    assert f"its training {train} stays" in said.output
    assert Store(a.root).ids() == [record(1).spec.run_id]
    assert removal.remove(Store(a.root), train) == [f"training {train} removed"]
    assert len(Store(a.root).trainings.ids()) == 1
    whole(Store(a.root))
    assert "aborted" in call("rm", "x", "--store", str(a.root)).output.lower()


def test_one_of_two_runs_of_the_same_predictions_is_removed(stores: tuple[Store, Store]) -> None:
    a, _ = stores
    name = record(0).spec.evaluation_id  # type: ignore[union-attr]
    found = a.known(name)
    assert found is not None
    evaluation, _, files = found
    one = evaluation.asked[0]
    less = one.model_copy(update={"protocol": one.protocol.model_copy(update={"severities": (1,)})})
    a.evaluations.write(name, evaluation.model_copy(update={"asked": (one, less)}), files)
    (said,) = removal.remove(Store(a.root), record(0).spec.run_id)
    assert "predictions stay" in said
    assert np.array_equal(Store(a.root).predictions(Store(a.root).evaluations.record(name)).classes, found[1].classes)


def test_only_what_nothing_needs_is_collected(stores: tuple[Store, Store]) -> None:
    a, _ = stores
    before = whole(a)
    assert "nothing to delete" in call("gc", "--store", str(a.root)).output
    draft = a.evaluations.root / ".abc.new"
    shutil.copytree(a.evaluations.folder(record(0).spec.evaluation_id), draft)  # type: ignore[union-attr]
    (a.root / ".cache").mkdir()
    (a.root / ".cache" / "x.cell").write_bytes(b"1" * 1000)
    (a.root / ".teachers").mkdir()
    (a.root / ".teachers" / "t").write_bytes(b"needed")
    said = call("gc", "--store", str(a.root)).output
    assert "a write that did not end" in said
    assert "give --yes" in said
    assert draft.exists()
    assert "deleted" in call("gc", "--yes", "--store", str(a.root)).output
    assert not draft.exists()
    assert not (a.root / ".cache" / "x.cell").exists()
    assert (a.root / ".teachers" / "t").exists()
    assert whole(Store(a.root)) == before


def test_a_store_is_listed_and_exported(stores: tuple[Store, Store], tmp_path: Path) -> None:
    a, _ = stores
    said = call("ls", "--store", str(a.root)).output
    assert said.count("training ") == 2
    assert all(run in said for run in a.ids())
    for ending in ("csv", "parquet"):
        out = tmp_path / f"t.{ending}"
        done = call("export", str(out), "--store", str(a.root))
        assert done.exit_code == 0, done.output
        read = pd.read_csv(out) if ending == "csv" else pd.read_parquet(out)
        assert len(read) == len(a.table())
        assert list(read.value) == list(a.table().value)
    assert isinstance(call("export", "t.xls", "--store", str(a.root)).exception, UserError)
    assert Cell() in CELLS
