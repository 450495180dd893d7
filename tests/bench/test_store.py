"""The store: whole or not at all, damage found by name, the same bytes for the same content."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lcrbench.bench.records import predictions
from lcrbench.bench.records import store as stores
from lcrbench.bench.records.files import pack, unpack
from lcrbench.bench.records.predictions import Predictions
from lcrbench.bench.records.record import SCHEMA_VERSION, BudgetClass, Training
from lcrbench.bench.records.shelf import CHECKSUM, RECORD, Shelf
from lcrbench.bench.records.spec import CLEAN, Cell, RunSpec
from lcrbench.bench.records.store import Damaged, Store
from lcrbench.errors import UserError
from tests.bench.helpers import SCHEMA_3, failed, figures, put, record, right, spec

SHELVES = ("trainings", "evaluations")


def test_round_trip(tmp_path: Path) -> None:
    s = Store(tmp_path / "s", create=True)
    by_image = figures()
    run_id = put(s, record(), by_image=by_image)
    for reader in (s, Store(tmp_path / "s")):
        assert reader.ids() == [run_id]
        assert reader.record(run_id) == record()
        assert reader.log(run_id)["step"].tolist() == [1, 2]
        assert reader.outcomes(run_id).keys() == right().keys()
        for cell, found in reader.outcomes(run_id).items():
            assert np.array_equal(found, right()[cell]), cell
        (search,) = reader.searches(run_id)
        assert search.record.measurements == record().measurements
        ((key, kept),) = search.by_image().items()
        assert [key] == list(by_image)
        assert kept.values.tolist() == by_image[key].values.tolist()
        assert kept.images.identity == by_image[key].images.identity
        assert reader.table().iloc[0][["method", "seed", "value"]].tolist() == ["irnet", 0, 0.5]
        assert reader.find(run_id[:5]) == reader.find(record().spec.training.train_id[:5]) == run_id
        assert reader.trained(run_id)[1] == b"weights"
        reader.verify(run_id)


def test_the_same_content_gives_the_same_bytes() -> None:
    one = Predictions.none().widen(np.arange(100), np.arange(100) % 3, [CLEAN, Cell("fog", 1)])
    assert one.pack() == one.pack()
    assert pack({"a": np.arange(9)}) == pack({"a": np.arange(9)})


number = st.one_of(
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.integers(-1000, 1000).map(float),
    st.floats(allow_nan=False, allow_infinity=False),
)


@given(
    st.dictionaries(
        st.sampled_from("abc"), st.one_of(number, st.text(max_size=3), st.none(), st.tuples(number, number))
    )
)
@example({"l2": (8.0, 16.0), "linf": (), "steps": 5})
@settings(max_examples=100, deadline=None)
def test_a_spec_keeps_its_id_through_json(options: dict[str, Any]) -> None:
    """Whole numbers that are floats too, alone and in tuples: else a record would seem to be another run's.

    Options of metrics are in no id, but decide by being equal whether a metric was measured already.
    """
    tables = spec().model_dump()
    tables["training"]["method"]["options"] = tables["metrics"]["lipschitz_kappa"] = options
    made = RunSpec.model_validate(tables)
    for back in (
        RunSpec.model_validate(json.loads(made.model_dump_json())),
        RunSpec.model_validate_json(made.model_dump_json()),
    ):
        assert (back.run_id, back.training.train_id) == (made.run_id, made.training.train_id)
        assert back.metrics == made.metrics


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_predictions_keep_what_is_known_whatever_is_added(data: st.DataObject) -> None:
    """Images and cells come in any order; what was predicted stays with its image, and only what is new is missing."""
    labels = np.arange(20) % 7
    cells = [CLEAN, Cell("fog", 1), Cell("fog", 2)]
    kept, known = Predictions.none(), {}
    for _ in range(data.draw(st.integers(1, 4))):
        chosen = np.array(sorted(data.draw(st.sets(st.integers(0, 19), min_size=1))))
        shown = data.draw(st.lists(st.sampled_from(cells), unique=True, min_size=1))
        kept = kept.widen(chosen, labels[chosen], shown)
        for cell in shown:
            lacking = kept.missing(cell, chosen)
            assert lacking.tolist() == [i for i in chosen if (cell, i) not in known]
            predicted = data.draw(st.lists(st.integers(0, 6), min_size=len(lacking), max_size=len(lacking)))
            kept.classes[kept.cells.index(cell), kept.at(lacking)] = predicted
            known |= {(cell, i): p for i, p in zip(lacking.tolist(), predicted, strict=True)}
        kept = Predictions.unpack(kept.pack(), kept.cells)
    for (cell, i), predicted in known.items():
        assert kept.right(cell, np.array([i])) == [predicted == labels[i]]
    for cell in cells:
        for i in set(range(20)) - {i for c, i in known if c == cell}:
            with pytest.raises(KeyError):
                kept.right(cell, np.array([i]))


# ------------------------------------------------------------------------------------------------------ whole or not at all


def training(seed: int = 0) -> Training:
    """Return a synthetic training, as `put` writes it."""
    from lcrbench.bench.records.upgrade import training_of

    return training_of(record(seed), b"weights")


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf[Training]:
    return Store(tmp_path, create=True).trainings


def test_an_interrupted_write_leaves_no_entry(shelf: Shelf[Training], monkeypatch: pytest.MonkeyPatch) -> None:
    one = training()

    def fails(path: Path, content: str, **rest: object) -> None:
        path.write_bytes(content.encode()[:10])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", fails)
        with pytest.raises(KeyboardInterrupt):
            shelf.write(one.train_id, one, {stores.WEIGHTS: b"weights"})
    assert shelf.ids() == []
    assert one.train_id not in shelf
    shelf.write(one.train_id, one, {})
    assert shelf.ids() == [p.name for p in shelf.root.iterdir()] == [one.train_id]


def test_a_rewrite_replaces(shelf: Shelf[Training]) -> None:
    one = training()
    shelf.write(one.train_id, one, {"x": b"1"})
    changed = one.model_copy(update={"weights_sha256": "2"})
    shelf.write(one.train_id, changed, {})
    assert shelf.record(one.train_id) == changed
    assert not (shelf.root / one.train_id / "x").exists()


def test_a_write_killed_between_its_renames_leaves_the_entry_that_it_replaces(
    shelf: Shelf[Training], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = training()
    name = one.train_id
    first = shelf.write(name, one, {"x": b"1"})
    real = Path.rename

    def killed(path: Path, target: Path) -> Path:
        if path.suffix == ".new":
            raise KeyboardInterrupt
        return real(path, target)

    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", killed)
            with pytest.raises(KeyboardInterrupt):
                shelf.write(name, one, {"x": b"2"})
        assert not (shelf.root / name).exists()
        for reader in (shelf, Store(shelf.root.parent).trainings):
            assert reader.ids() == [name]
            assert name in reader
            assert reader.record(name) == first
            assert reader.read(name, "x", first.files["x"]) == b"1"
    shelf.restore(name)
    assert (shelf.root / name).is_dir()
    shelf.restore(name)
    second = shelf.write(name, one, {"x": b"2"})
    assert shelf.read(name, "x", second.files["x"]) == b"2"
    assert [p.name for p in shelf.root.iterdir()] == [name]


def test_a_record_in_another_entry_s_place_is_damage(tmp_path: Path) -> None:
    s = Store(tmp_path, create=True)
    put(s, record())
    for shelf, name, other in (
        (s.trainings, spec().training.train_id, spec(1).training.train_id),
        (s.evaluations, spec().evaluation_id, spec(1).evaluation_id),
    ):
        (shelf.root / name).rename(shelf.root / other)
        with pytest.raises(Damaged, match="another entry"):
            shelf.record(other)
        assert name not in shelf


def test_predictions_of_other_cells_are_damage(tmp_path: Path) -> None:
    """A file whose hash is right, and which the record does not describe."""
    s = Store(tmp_path, create=True)
    run_id = put(s, record())
    looked = s.evaluations.record(spec().evaluation_id)
    files = {predictions.FILE: s.evaluation_file(looked, predictions.FILE)}
    s.evaluations.write(looked.evaluation_id, looked.model_copy(update={"cells": looked.cells[:-1]}), files)
    with pytest.raises(Damaged, match="predictions"):
        s.outcomes(run_id)


def test_a_training_with_other_weights_is_not_the_one_that_was_evaluated(tmp_path: Path) -> None:
    s = Store(tmp_path, create=True)
    run_id = put(s, record())
    other = training().model_copy(update={"weights_sha256": "9" * 64})
    s.trainings.write(other.train_id, other, {stores.WEIGHTS: b"others"})
    found = s.record(run_id)
    assert found.status == "failed"
    assert "run it again" in found.failure.message
    assert found.measurements == ()


def test_a_failed_run_says_why(tmp_path: Path) -> None:
    s = Store(tmp_path, create=True)
    run_id = put(s, failed())
    assert s.ids() == [run_id]
    assert s.record(run_id) == failed()
    assert s.log(run_id).empty
    assert s.table().empty


# ------------------------------------------------------------------------------------------------------------------- damage


def entry(root: Path, shelf: str) -> Path:
    """Return the folder of the only entry of a shelf."""
    (found,) = (root / shelf).iterdir()
    return found


@pytest.mark.parametrize("shelf", SHELVES)
@pytest.mark.parametrize("cut", [0, 1, 100, -2])
def test_damage_is_named(tmp_path: Path, shelf: str, cut: int) -> None:
    s = Store(tmp_path, create=True)
    run_id = put(s, record())
    path = entry(tmp_path, shelf) / RECORD
    path.write_bytes(path.read_bytes()[:cut])
    for reader in (s, Store(tmp_path)):
        # An evaluation that cannot be read stands for its runs.
        (there,) = reader.ids()
        assert there == (path.parent.name if shelf == "evaluations" else run_id)
        with pytest.raises(Damaged, match=rf"{shelf}/{path.parent.name}/{RECORD}"):
            reader.record(there)
    s.set_aside(path.parent)
    assert s.ids() == ([] if shelf == "evaluations" else [run_id])
    assert list((tmp_path / ".damaged").iterdir())
    put(s, record())
    s.verify(run_id)


FILES = [
    *(("trainings", name) for name in (RECORD, CHECKSUM, stores.WEIGHTS, stores.LOG)),
    *(("evaluations", name) for name in (RECORD, CHECKSUM, predictions.FILE, "by_image-0.npz")),
]


@pytest.mark.parametrize(("shelf", "name"), FILES)
def test_one_flipped_bit_is_found_and_named(tmp_path: Path, shelf: str, name: str) -> None:
    put(Store(tmp_path, create=True), record(), by_image=figures(9))
    path = entry(tmp_path, shelf) / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    (run_id,) = Store(tmp_path).ids()
    with pytest.raises(Damaged, match="damaged") as error:
        Store(tmp_path).verify(run_id)
    assert str(path if name != CHECKSUM else path.with_name(RECORD)) in str(error.value)
    path.unlink()
    if name == RECORD:
        # Without its record an entry is none.
        assert Store(tmp_path).ids() == ([] if shelf == "evaluations" else [run_id])
        return
    with pytest.raises(Damaged, match=name):
        Store(tmp_path).verify(run_id)


# ------------------------------------------------------------------------------------------------------------ other schemas


def rewrite(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    path.with_name(CHECKSUM).write_text(hashlib.sha256(path.read_bytes()).hexdigest())


@pytest.fixture
def old(tmp_path: Path) -> tuple[Store, str, Path]:
    """Return a store with one run of schema 3, its id, and where its record lies."""
    run_id = sorted(p.name for p in SCHEMA_3.iterdir())[0]
    shutil.copytree(SCHEMA_3 / run_id, tmp_path / run_id)
    return Store(tmp_path), run_id, tmp_path / run_id / RECORD


def test_a_run_of_schema_1_is_upgraded(old: tuple[Store, str, Path]) -> None:
    store, run_id, path = old

    def to_1(data: dict[str, Any]) -> None:
        data["schema_version"] = 1
        del data["provenance"]["source"], data["spec"]["budget"]["unit"], data["spec"]["budget"]["seconds"]
        del data["ledger"]["unit"]

    before = store.record(run_id)
    rewrite(path, to_1)
    upgraded = store.record(run_id)
    assert upgraded.schema_version == SCHEMA_VERSION
    assert upgraded.provenance.source == ""
    assert upgraded.ledger.unit == upgraded.spec.budget.unit == "images"
    assert upgraded.spec == before.spec
    store.verify(run_id)


def test_a_taught_run_of_schema_2_gets_its_class(old: tuple[Store, str, Path]) -> None:
    store, run_id, path = old

    def to_2(data: dict[str, Any]) -> None:
        data["schema_version"] = 2
        data["ledger"]["forward"]["training full_precision as a teacher"] = 1
        for name in ("budget_class", "stages", "teachers", "compute", "clock"):
            del data["ledger"][name]
        del data["provenance"]["device_name"], data["provenance"]["determinism"]

    rewrite(path, to_2)
    assert store.record(run_id).ledger.budget_class == BudgetClass(teachers=("full_precision",))
    assert store.record(run_id).ledger.forward.keys() == {"student"}
    assert store.record(run_id).ledger.taught_images == 1


def test_a_newer_schema_is_refused(tmp_path: Path, old: tuple[Store, str, Path]) -> None:
    def newer(data: dict[str, Any]) -> None:
        data["schema_version"] = SCHEMA_VERSION + 1

    store, run_id, path = old
    rewrite(path, newer)
    with pytest.raises(UserError, match="newer"):
        store.record(run_id)
    for shelf in SHELVES:
        root = tmp_path / f"with newer {shelf}"
        there = put(Store(root, create=True), record())
        rewrite(entry(root, shelf) / RECORD, newer)
        with pytest.raises(UserError, match="newer"):
            Store(root).record(Store(root).find(there) if shelf == "trainings" else spec().evaluation_id)


def test_no_store(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no store"):
        Store(tmp_path / "none")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot make"):
        Store(tmp_path / "file", create=True)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((0, 3)),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array("x"),
        np.arange(5, dtype=">i2"),
        np.float32(3),
    ],
    ids=["empty", "columns first", "text", "big endian", "single"],
)
def test_an_array_comes_back_as_it_was(array: np.ndarray) -> None:
    found = unpack(pack({"array": array}))["array"]
    assert (found.dtype, found.shape) == (np.asarray(array).dtype, np.asarray(array).shape)
    assert np.array_equal(found, array)
    assert found.flags.writeable


def test_arrays_that_are_none_are_refused() -> None:
    """One of Python's objects, which would run code, one that states more numbers than it holds, and text."""
    objects, short = io.BytesIO(), io.BytesIO()
    np.savez(objects, array=np.array([{}], dtype=object))
    with zipfile.ZipFile(short, "w") as archive:
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (9, 9)})
        archive.writestr("array.npy", header.getvalue() + bytes(8))
    text = io.BytesIO()
    with zipfile.ZipFile(text, "w") as archive:
        archive.writestr("array.npy", b"plain text")
    for content in (objects, short, text):
        with pytest.raises(ValueError):
            unpack(content.getvalue())
