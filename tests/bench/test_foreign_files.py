"""A store from elsewhere whose files are not what their names say, under their right hash: damage, and no more is lost."""

from __future__ import annotations

import copy
import hashlib
import io
import json
import random
import shutil
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lcrbench.bench.records import files, source
from lcrbench.bench.records.predictions import FILE, Predictions
from lcrbench.bench.records.record import Source
from lcrbench.bench.records.shelf import CHECKSUM, RECORD, Damaged
from lcrbench.bench.records.spec import RunSpec
from lcrbench.bench.records.store import LOG, Store
from lcrbench.errors import UserError
from tests.bench import helpers
from tests.bench.test_foreign_store import call
from tests.faults.test_fuzz import replaced

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"


def seal(folder: Path, data: Any) -> None:
    """Write a record under its right hash."""
    content = data if isinstance(data, bytes) else json.dumps(data).encode()
    (folder / RECORD).write_bytes(content)
    (folder / CHECKSUM).write_text(hashlib.sha256(content).hexdigest() + "\n")


def put(folder: Path, name: str, content: bytes) -> None:
    """Put a file beside a record that has its hash."""
    data = json.loads((folder / RECORD).read_bytes())
    data["files"][name] = hashlib.sha256(content).hexdigest()
    (folder / name).write_bytes(content)
    seal(folder, data)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undrawn: None) -> Store:
    """A store of two runs in the present folder."""
    monkeypatch.chdir(tmp_path)
    found = Store("store", create=True)
    for seed in range(2):
        helpers.put(found, helpers.record(seed), by_image=helpers.figures())
    return found


def first(store: Store, shelf: str) -> Path:
    return sorted((store.root / shelf).iterdir())[0]


def tampered(content: bytes, offset: int, value: bytes) -> bytes:
    """Return a zip archive of whose last member the central header says something else."""
    out, at = bytearray(content), content.rfind(b"PK\x01\x02")
    out[at + offset : at + offset + len(value)] = value
    return bytes(out)


def archive(text: str, rest: bytes = b"x") -> bytes:
    """Return an archive of arrays whose headers hold a text."""
    head, out = text.encode("latin-1") + b"\n", io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        for name in ("indices", "labels", "classes", "chosen", "positions"):
            made.writestr(f"{name}.npy", b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head + rest)
    return out.getvalue()


Arrays = dict[str, np.ndarray[Any, Any]]
ARCHIVES: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda content: b"",
    "no archive": lambda content: b"x" * 100,
    "no arrays": lambda content: files.pack({}),
    "encrypted": lambda content: tampered(content, 8, b"\x01"),
    "packed in an unknown way": lambda content: tampered(content, 10, b"\x63"),
    "somewhere else": lambda content: tampered(content, 42, b"\xff\xff\xff\x7f"),
    "of another length": lambda content: tampered(content, 24, b"\x01\x00\x00\x00"),
    "an open bracket": lambda content: archive("{'a':("),
    "signs": lambda content: archive("-" * 9000 + "1"),
    "below 0": lambda content: archive("{'descr':'|u1','fortran_order':False,'shape':(-1,)}"),
    "round at 64 bits": lambda content: archive(
        "{'descr':'|u1','fortran_order':False,'shape':(4294967296,4294967296)}"
    ),
    "objects": lambda content: archive("{'descr':'|O','fortran_order':False,'shape':(1,)}"),
}
CHANGES: dict[str, Callable[[Arrays], Arrays]] = {
    "labels in words": lambda a: a | {"labels": np.array(["x"] * len(a["labels"]))},
    "few labels": lambda a: a | {"labels": a["labels"][:3]},
    "half classes": lambda a: a | {"classes": a["classes"] + 0.5},
    "flat classes": lambda a: a | {"classes": a["classes"].ravel()},
    "descending": lambda a: a | {"indices": a["indices"][::-1]},
    "twice": lambda a: a | {"indices": a["indices"] * 0},
    "below 0": lambda a: a | {"indices": a["indices"] - 5},
    "logits of others": lambda a: a | {"logits": np.zeros((3, 2), np.float32)},
    "logits in words": lambda a: a | {"logits": np.array([["x"]] * len(a["indices"]))},
    "chosen without end": lambda a: a | {"chosen": np.array([2**62]), "positions": np.array([0])},
    "chosen below 0": lambda a: a | {"chosen": np.array([-5])},
    "chosen in words": lambda a: a | {"chosen": np.array(["x"])},
}


@pytest.mark.parametrize("damage", [*ARCHIVES, *(f"arrays: {name}" for name in CHANGES)])
def test_predictions_that_are_none_are_damage(store: Store, damage: str) -> None:
    place = first(store, "evaluations")
    run = next(i for i in store.ids() if (e := store.evaluation_of(i)) and e.evaluation_id == place.name)
    content = (place / FILE).read_bytes()
    if damage in ARCHIVES:
        content = ARCHIVES[damage](content)
    else:
        content = files.pack(CHANGES[damage.removeprefix("arrays: ")](files.unpack(content)))
    put(place, FILE, content)
    with pytest.raises(Damaged, match="predictions"):
        Store("store").outcomes(run)
    with pytest.raises((ValueError, KeyError)):
        Predictions.unpack(content, store.evaluations.record(place.name).cells)
    if damage in ("encrypted", "arrays: twice"):
        # A report takes a second.
        code, _, said = call("report", "store", "--out", "page")
        assert code == 0, said


@pytest.mark.parametrize("damage", ARCHIVES)
def test_figures_by_image_that_are_none_are_damage(store: Store, damage: str) -> None:
    place = first(store, "evaluations")
    name = next(f.name for f in place.iterdir() if f.name.startswith("by_image"))
    put(place, name, ARCHIVES[damage]((place / name).read_bytes()))
    opened = Store("store")
    evaluation = opened.evaluations.record(place.name)
    if (place / name).stat().st_size:
        with pytest.raises(Damaged, match="figures by image"):
            opened.by_image(evaluation, next(b for b in evaluation.batches if b.by_image))
    if damage == "encrypted":
        assert call("report", "store", "--out", "page")[0] == 0


def test_test_images_without_end_are_not_counted(store: Store) -> None:
    """A record may state any number of images: nothing is made of that size."""
    place = first(store, "evaluations")
    data = json.loads((place / RECORD).read_bytes())
    for asked in data["asked"]:
        asked["protocol"]["test"]["images"] = 10**12
    seal(place, data)
    code, _, said = call("report", "store", "--out", "page")
    assert code == 0, said


NAMES = ["../x", "../../x", "/etc/hostname", "a/b", "..", "", ".", "a\x1b[2J", "record.json"]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
@pytest.mark.parametrize("shelf", ["trainings", "evaluations"])
def test_no_file_of_a_record_lies_elsewhere(store: Store, shelf: str, name: str) -> None:
    """`store merge` writes each file of an entry that it copies: a name with a path would be written anywhere."""
    place = first(store, shelf)
    data = json.loads((place / RECORD).read_bytes())
    data["files"][name] = hashlib.sha256(b"x").hexdigest()
    seal(place, data)
    for outside in (Path("x"), Path("store", "x"), Path("store", shelf, "x")):
        outside.write_bytes(b"x")
    before = {p for p in Path().rglob("*") if "into" not in p.parts}
    code, said, _ = call("store", "merge", "deep/into", "store")
    assert code == 2
    assert "CONFLICT" in said
    assert not list(Path("deep").rglob("x"))
    assert {p for p in Path().rglob("*") if "deep" not in p.parts and "into" not in p.parts} == before
    assert len(Store("deep/into").ids()) >= 1, "the others are copied"
    code, said, _ = call("list", "run", "--store", "store")
    assert code == 0
    assert len(said.splitlines()) == 2


@pytest.mark.parametrize("fixture", ["store-schema-3", "store-schema-4"])
def test_a_record_of_an_older_schema_may_hold_anything(
    fixture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a step to the present schema looks for something else: it is damaged, and hides no other."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(FIXTURES / fixture, "store")
    records = sorted(Path("store").rglob(RECORD))
    whole = {path: json.loads(path.read_bytes()) for path in records}
    dice = random.Random(0)
    values: list[Any] = [None, [], {}, "x", 5, -1, True, [None], {"a": 1}, [[1]], 10**30, "\x1b[2J"]
    for _ in range(20):
        path = dice.choice(records)
        data = replaced(copy.deepcopy(whole[path]), dice, dice.choice(values))
        if isinstance(data, dict):
            data["schema_version"] = dice.choice([data.get("schema_version"), 1, 2, 3, 4, 5])
        seal(path.parent, data)
        code, _, said = call("list", "run", "--store", "store")
        assert code == 0, (path, data, said)
        seal(path.parent, whole[path])


def test_numbers_beyond_64_bits_are_refused(store: Store) -> None:
    place = first(store, "trainings")
    data = json.loads((place / RECORD).read_bytes())
    data["ledger"]["images"] = 10**400
    seal(place, data)
    with pytest.raises(ValueError, match="64 bits"):
        Store("store").trainings.record(place.name)
    assert call("report", "store", "--out", "page")[0] == 0


def test_a_store_is_exported_without_formulas_and_without_what_cannot_be_read(store: Store) -> None:
    evil = helpers.spec(5)
    data = {"data": evil.training.data.model_copy(update={"name": "=cmd()"})}
    shown = {"test": evil.protocol.test.model_copy(update={"name": "=cmd()"})}
    change = {"training": evil.training.model_copy(update=data), "protocol": evil.protocol.model_copy(update=shown)}
    helpers.put(store, helpers.record(of=evil.model_copy(update=change)))
    bad = first(store, "trainings")
    seal(bad, b"{}")
    code, out, said = call("store", "export", "all.csv", "--store", "store")
    assert code == 0, said
    assert "left out" in said + out or len(store.ids()) == 3
    text = Path("all.csv").read_text()
    assert "'=cmd()" in text
    assert ",=cmd()" not in text


@pytest.mark.parametrize(
    "log", [b"[" * 100_000, b"9" * 5000, b"[1,2]\n", b'{"step":"x","loss":"y"}\n' * 3, b'{"step":null}\n', b'{"":1}\n']
)  # fmt: skip
def test_a_log_that_holds_anything_spoils_no_report(store: Store, log: bytes) -> None:
    put(first(store, "trainings"), LOG, log)
    code, _, said = call("report", "store", "--out", "page")
    assert code == 0, said


def test_a_scope_is_followed_no_further_than_the_record_has_modules() -> None:
    """A record may name a library of thousands of modules as what its numbers depend on."""
    assert source.changed(Source(roots=("torch",), modules={})) != []
    modules = [name for name in source._closure(("torch",), source.MARGIN).modules if ": " not in name]
    assert len(modules) < source.MARGIN + 50, "data files of one package come besides"
    for strange in ("lcrbench.bench." + "a" * 300, "a" * 100_000, "\0", "lcrbench.bench.\0", "", ".", "..."):
        source.changed(Source(roots=(strange,), modules={strange: "x"}))


def with_data(name: str) -> RunSpec:
    """Return a run's spec whose images have a name."""
    one = helpers.spec()
    data = one.training.data.model_copy(update={"name": name})
    test = one.protocol.test.model_copy(update={"name": name})
    return one.model_copy(
        update={
            "training": one.training.model_copy(update={"data": data}),
            "protocol": one.protocol.model_copy(update={"test": test}),
        }
    )


def test_data_that_lay_in_a_folder_are_asked_for() -> None:
    from lcrbench.bench.evaluation.takeover import own_data

    with pytest.raises(UserError, match=r"'my-photographs', are not at hand .* --data"):
        own_data(with_data("my-photographs"))


def test_data_that_a_record_names_by_an_import_path_are_not_imported(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lcrbench.bench.data.loading import needs_trust
    from lcrbench.bench.evaluation.takeover import own_data

    Path("evil").mkdir()
    for file in ("__init__", "source"):
        Path(f"evil/{file}.py").write_text("from pathlib import Path\nPath('ran').touch()\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("evil.source", "evil.source:x"):
        assert needs_trust(name)
        with pytest.raises(UserError, match="trust-plugins"):
            own_data(with_data(name))
    assert not Path("ran").exists()
    assert "evil" not in sys.modules
    assert not needs_trust("fashion-mnist-10k")
    assert not needs_trust(str(tmp_path))
