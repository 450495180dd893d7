"""A store from elsewhere: it runs no code, steers no terminal, and nothing of it is used unless its hash is right."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import random
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from numpy.lib.format import write_array_header_1_0

import lcrbench
from lcrbench.bench import cli
from lcrbench.bench.records.files import unpack
from lcrbench.bench.records.record import Failure
from lcrbench.bench.records.shelf import Damaged
from lcrbench.bench.records.spec import MethodId
from lcrbench.bench.records.store import WEIGHTS, Store
from lcrbench.reports import gate
from tests.bench import helpers

ROOT = Path(__file__).resolve().parents[2]


def call(*words: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", ["lcrbench", *words])
        with pytest.raises(SystemExit) as stop:
            cli.main()
    return int(stop.value.code or 0), out.getvalue(), err.getvalue()


# ----------------------------------------------------------------------------------------------------------------- code

NAMED = [
    {"method": MethodId(name="evil.method")},
    {"method": MethodId(name="irnet", regularizers={"evil.term": {}})},
    {"backbone": "evil.backbone"},
]


@pytest.mark.parametrize("named", NAMED, ids=lambda named: next(iter(named)))
def test_no_code_that_a_record_names_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: Any) -> None:
    monkeypatch.chdir(tmp_path)
    Path("evil").mkdir()
    for file in ("__init__", "method", "term", "backbone", "metric"):
        Path(f"evil/{file}.py").write_text("from pathlib import Path\nPath('ran').touch()\n")
    store = Store("store", create=True)
    s = helpers.spec()
    s = s.model_copy(
        update={
            "training": s.training.model_copy(update=named),
            "metrics": {"accuracy": {}, "evil.metric": {}},
        }
    )
    name = helpers.put(store, helpers.record(of=s))
    gate.update(Path("reference.json"), store, "a first one", endpoint="clean_accuracy", margin=5.0, anyway=True)
    code = []
    for words in (
        ("list", "run"), ("show", "run", name), ("show", "run", name, "--ledger"), ("doctor",), ("lipschitz", name),
        ("evaluate", name), ("evaluate", name, "--corruptions", "fog"),
    ):  # fmt: skip
        with monkeypatch.context() as patch:
            patch.setattr("lcrbench.bench.doctor._corruptions", lambda: lcrbench.bench.doctor.Check(True, ""))
            code.append(call(*words, "--store", "store")[0])
    code += [call("report", "store")[0], call("check", "store", "--against", "reference.json", "--any-source")[0]]
    assert not Path("ran").exists()
    assert not [name for name in sys.modules if name.partition(".")[0] == "evil"]
    assert code[4:7] == [2, 2, 2], "what needs the network is refused"
    assert 70 not in code


# -------------------------------------------------------------------------------------------------------------- weights


def test_no_flipped_weight_is_measured(tmp_path: Path) -> None:
    """Every door through which weights come checks them: one bit in them is told, wherever it is."""
    store = Store(tmp_path, create=True)
    name = helpers.put(store, helpers.record())
    path = tmp_path / "trainings" / helpers.spec().training.train_id / WEIGHTS
    content, dice = path.read_bytes(), random.Random(0)
    doors = [
        lambda: Store(tmp_path).trained(name),
        lambda: lcrbench.load_model(tmp_path, name),
        lambda: lcrbench.evaluate(name, store=tmp_path, corruptions=""),
        lambda: lcrbench.lipschitz(name, store=tmp_path),
    ]
    for door in doors:
        for _ in range(5):
            flipped = bytearray(content)
            flipped[dice.randrange(len(flipped))] ^= 1 << dice.randrange(8)
            path.write_bytes(flipped)
            with pytest.raises(Damaged, match=r"weights\.safetensors is damaged"):
                door()


READS = {"read_bytes", "read_text", "open", "memmap", "fromfile", "load_file", "safe_open", "ParquetFile", "imread"}
LOADS = {"np.load", "torch.load", "safetensors.torch.load", "pickle.load"}
BOUNDED = {"opened", "bytes_of", "small_file"}
"""The functions of `untrusted`, which refuse what is no regular file, what would wait, and what is too large."""

CODE = "files of our own packages"
CACHE = "the user's cache, by hash, or after `check_regular`"
SYSTEM = "files of the system"
WRITES = "what it writes itself"
PLAIN = {
    "bench/_root/images.py": "bytes in memory; the library of a decoder, for its version",
    "bench/_root/kernels.py": CODE,
    "bench/_root/surroundings.py": "the null device",
    "bench/_root/untrusted.py": "the one function that opens a file of the user's, or of somebody else's",
    "bench/_root/disk.py": "to flush what was written",
    "bench/cli/__init__.py": f"{CODE}; the null device",
    "bench/cli/new.py": CODE,
    "bench/data/copies.py": CACHE,
    "bench/data/disk_cache.py": CACHE,
    "bench/data/files.py": "streamed images: without waiting, and of the size that was listed",
    "bench/data/idx.py": "an open file",
    "bench/data/imagenet.py": "an open file",
    "bench/data/members.py": "open files",
    "bench/data/parquet.py": "tables, after `check_regular`",
    "bench/data/room.py": SYSTEM,
    "bench/data/sources/fashion_mnist_10k.py": CODE,
    "bench/data/spaces.py": CODE,
    "bench/device.py": SYSTEM,
    "bench/evaluation/cells.py": "an open file; what it writes",
    "bench/evaluation/networks.py": "bytes in memory",
    "bench/evaluation/packed_file.py": "tensors that `lcrbench export` wrote, after `check_regular`",
    "bench/lipschitz/stored.py": CODE,
    "bench/networks/orders.py": CODE,
    "bench/networks/weights.py": "bytes in memory, and an open file",
    "bench/records/lease.py": f"{SYSTEM}; leases, by descriptors that are not waited for",
    "bench/records/source.py": CODE,
    "bench/training/checkpoint.py": "bytes in memory",
    "corruptions/archive.py": CODE,
    "corruptions/engine.py": CODE,
    "corruptions/functions/frost.py": "pictures, after a look at their hashes",
    "corruptions/generate.py": WRITES,
    "corruptions/members.py": "an open file, and a map of it",
    "reports/lipschitz/folder.py": WRITES,
    "reports/mce.py": CODE,
    "reports/measured.py": WRITES,
    "reports/page/render.py": CODE,
    "reports/published.py": CODE,
    "reports/stamp.py": CODE,
}
"""Files that may read by other functions than those of `untrusted`, and what."""

CHECKED = {
    "bench/records/shelf.py": "records and files by their hash",
    "bench/records/files.py": "sealed files by their hash",
    "bench/training/checkpoint.py": "saves, teachers and trials by their hash",
    "bench/evaluation/cells.py": "corrupted images by their hash",
    "bench/records/lease.py": "leases, which nothing is computed from",
    "bench/job.py": "jobs, which name what is then read by hash",
    "bench/finished.py": "plans, whose parts are looked up by their ids",
    "bench/cli/run.py": "the table of a report, to print it",
    "bench/cli/show.py": "the table of a report, to print it",
    "reports/folder.py": "the names of a report's own earlier files",
    "reports/index.py": "what a report says of itself, to list it",
    "reports/stamp.py": "whether a report is up to date, and the checksums of records, to compare them",
}
"""Files that read files of a store, and how they are checked, or why no figure depends on them."""

ELSEWHERE = {
    "bench/_root/kernels.py", "bench/_root/registry.py", "bench/cli/show.py", "bench/records/grid.py",
    "bench/records/source.py", "bench/evaluation/packed_file.py", "reports/gate/reference.py", "reports/gate/speed.py",
}  # fmt: skip
"""Files that read specs, code, references and networks, as all of `bench/data`, `bench/networks` and `corruptions` do."""


def calls() -> Iterator[tuple[str, str]]:
    """Yield the file and the name of each function that all of our packages call."""
    for package in ("bench", "models", "corruptions", "reports"):
        for file in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call):
                    yield str(file.relative_to(ROOT)), ast.unparse(node.func)


def test_one_function_opens_what_comes_from_elsewhere() -> None:
    """All else that reads a file reads our own, the system's, the cache, or what is open already."""
    found = {file for file, name in calls() if name in LOADS or name.rpartition(".")[2] in READS}
    assert found == PLAIN.keys()


def test_what_a_store_holds_is_read_where_it_is_checked() -> None:
    outside = ("bench/data/", "bench/networks/", "corruptions/")
    found = {file for file, name in calls() if name.removeprefix("untrusted.") in BOUNDED}
    found = {file for file in found - ELSEWHERE - {"bench/_root/untrusted.py"} if not file.startswith(outside)}
    # A network from outside is opened by a function of that name.
    found -= {"bench/lipschitz/subjects.py"}
    assert found - CHECKED.keys() == set()
    assert CHECKED.keys() - found <= ELSEWHERE | {"bench/training/checkpoint.py"}


@pytest.mark.parametrize("stated", [3 << 30, 1 << 50])
def test_an_archive_of_arrays_that_unpacks_without_end_is_refused(stated: int) -> None:
    """Zeros by the gigabyte, and an array that states a petabyte; either under its right hash."""
    header, out = io.BytesIO(), io.BytesIO()
    write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (stated,)})
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("classes.npy", header.getvalue() + bytes(300 << 20 if stated < 1 << 40 else 10))
    with pytest.raises(ValueError):
        unpack(out.getvalue())


# ----------------------------------------------------------------------------------------------------- other people's


def rewrite(store: Store, name: str, change: Any) -> None:
    """Change a record, and its checksum with it."""
    import hashlib

    path = store.evaluations.root / name / "record.json"
    data = json.loads(path.read_bytes())
    change(data)
    content = json.dumps(data).encode()
    path.write_bytes(content)
    path.with_name("record.sha256").write_text(hashlib.sha256(content).hexdigest() + "\n")


CHANGES = {
    "newer": lambda d: d.update(schema_version=99),
    "nan": lambda d: d["batches"][0]["measured"][0]["measurements"][0].update(value=float("nan")),
    "another's": lambda d: d.update(evaluation_id="0" * 16),
    "no record": lambda d: d.clear(),
    "deep": lambda d: d.update(asked=json.loads("[" * 200 + "]" * 200)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_one_record_that_cannot_be_read_hides_no_other(tmp_path: Path, change: str) -> None:
    store = Store(tmp_path, create=True)
    ids = [helpers.put(store, helpers.record(seed)) for seed in range(3)]
    bad = helpers.spec(1).evaluation_id
    rewrite(store, bad, CHANGES[change])
    code, out, err = call("list", "run", "--store", str(tmp_path))
    assert (code, err) == (0, "")
    assert len(out.splitlines()) == 3
    assert any(line.startswith(bad) and ("damaged" in line or "unread" in line) for line in out.splitlines())
    assert sum(name in out for name in ids) >= 2
    code, _, err = call("report", str(tmp_path), "--out", str(tmp_path / "page"))
    assert code == 0, err


STEERS = "a\x1b[2J\x07b\nc\u202ed\u009b1m"


def test_nothing_of_a_store_steers_the_terminal(tmp_path: Path) -> None:
    store = Store(tmp_path, create=True)
    s = helpers.spec()
    training, protocol = s.training, s.protocol
    named = {"name": STEERS, "classes": (STEERS, "y")}
    training = training.model_copy(
        update={"data": training.data.model_copy(update=named), "method": MethodId(name="irnet", options={STEERS: 1})}
    )
    protocol = protocol.model_copy(update={"test": protocol.test.model_copy(update=named)})
    bad = s.model_copy(update={"training": training, "protocol": protocol})
    failure = Failure(reason="error", step=0, message=STEERS)
    name = helpers.put(
        store, helpers.failed().model_copy(update={"spec": bad, "run_id": bad.run_id, "failure": failure})
    )
    for words in (("list", "run"), ("show", "run", name), ("show", "run", name, "--ledger"), ("doctor",)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("lcrbench.bench.doctor._corruptions", lambda: lcrbench.bench.doctor.Check(True, ""))
            _, out, err = call(*words, "--store", str(tmp_path))
        said = (out + err).splitlines()
        assert said
        assert all(line.isprintable() for line in said), ascii(out + err)


def test_commands_print_by_the_one_function_that_escapes() -> None:
    for file in (ROOT / "bench" / "cli").glob("*.py"):
        text = file.read_text(encoding="utf-8")
        assert text.count("click.echo") == (file.name == "__init__.py"), file
        assert "print(" not in text.replace("_print(", ""), file
