"""What is no regular file, or is far too large, in the place of every file that is read: refused or passed over at once.

A store, a data set, a benchmark and a network may come from elsewhere, packed by somebody else: a named pipe in the place of
a file waits for ever for a writer, and a device never ends. Nothing may open them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import lcrbench
from lcrbench import registry
from lcrbench.bench import data
from lcrbench.bench.evaluation import cells
from lcrbench.bench.networks import orders
from lcrbench.bench.networks.name import read as name_of
from lcrbench.bench.networks.weights import read
from lcrbench.bench.records.files import sealed_bytes
from lcrbench.bench.records.lease import Lease
from lcrbench.bench.records.store import Store
from lcrbench.bench.training import checkpoint
from lcrbench.errors import UserError
from lcrbench.reports import gate
from tests.bench import helpers
from tests.faults.test_fuzz import call, within
from tests.faults.test_malformed import NAMES as IDX
from tests.faults.test_malformed import a_tree, idx

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def endless(path: Path) -> None:
    """A file that states a terabyte, and takes no room."""
    with path.open("wb") as file:
        file.truncate(1 << 40)


def folder(path: Path) -> None:
    path.mkdir()


def waits(path: Path) -> None:
    """A regular file by its mode, which has nothing to read until something happens, and is then read on."""
    path.symlink_to("/proc/kmsg")


def _readable() -> bool:
    try:
        os.close(os.open("/proc/kmsg", os.O_RDONLY | os.O_NONBLOCK))
    except OSError:
        return False
    return True


ENDLESS: list[Callable[[Path], None]] = [pipe, device, *([waits] if _readable() else [])]
STRANGE: list[Callable[[Path], None]] = [*ENDLESS, endless, folder]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("strange")
    made = Store(place / "store", create=True)
    for seed in range(2):
        helpers.put(made, helpers.record(seed))
    gate.update(place / "reference.json", made, "a first one", endpoint="clean_accuracy", margin=5.0, anyway=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(place / "cache"))
        patch.chdir(place)
        # Not within an input's 5 seconds: what the first drawing, training and search import.
        call("records", "report", "store", "--out", "page", seconds=60)
        call("records", "lipschitz", "nothing", "--store", "store", seconds=60)
        torch.use_deterministic_algorithms(True)
        torch.use_deterministic_algorithms(False)
        yield place / "store"


@pytest.mark.parametrize("strange", STRANGE, ids=lambda s: s.__name__)
def test_in_a_store(store: Path, strange: Callable[[Path], None]) -> None:
    """Each kind of file of it in turn: the other run is still listed, and no command waits or ends by a mistake of ours."""
    first, second = Store(store).ids()
    kinds = {file.name: file for file in sorted(store.rglob("*")) if file.is_file()}
    assert kinds.keys() >= {"record.json", "record.sha256", "weights.safetensors"}
    for name, file in kinds.items():
        shutil.rmtree("hostile", ignore_errors=True)
        shutil.copytree(store, "hostile")
        path = Path("hostile", file.relative_to(store))
        path.unlink()
        strange(path)
        lines = [("list", "run", "--store", "hostile"), ("show", "run", first, "--store", "hostile")]
        if name == "record.json":
            lines += [("check", "hostile", "--against", "reference.json", "--any-source"), ("store", "ls", "hostile")]
        if strange in ENDLESS:
            lines += [("lipschitz", run, "--store", "hostile") for run in (first, second)]
        for line in lines:
            assert call("records", *line) in (0, 2, 3)


@pytest.mark.parametrize("strange", ENDLESS, ids=lambda s: s.__name__)
def test_beside_the_runs_of_a_store(store: Path, strange: Callable[[Path], None]) -> None:
    """Saves, leases, kept cells, and what a report says of itself."""
    hostile = Path("hostile")
    shutil.rmtree(hostile, ignore_errors=True)
    shutil.copytree(store, hostile)
    names = ("save", "sealed", "00000001", ".clock", "x.cell", "reports/evil/files.json", "reports/evil/index.html")
    for name in names:
        (hostile / name).parent.mkdir(parents=True, exist_ok=True)
        strange(hostile / name)
    with within(5.0):
        with pytest.raises(UserError, match="damaged"):
            checkpoint.unseal(hostile / "save")
        assert sealed_bytes(hostile / "sealed") is None
        assert cells._read(hostile / "x.cell", (1, 2, 2, 3)) is None
        assert Lease(hostile).state() in ("free", "held", "dead")
        if strange is pipe:
            with pytest.raises(OSError):
                Lease(hostile)._now()
    assert call("records", "show", "report", "evil", "--store", "hostile") == 2


NAMES = """train.tar test.tgz train.zip x.tar train-000.tar train-00000-of-00001.parquet fog.npy labels.npy manifest.json
    val_annotations.txt ILSVRC2012_devkit_t12.tar.gz ILSVRC2012_img_val.tar LOC_val_solution.csv meta.bin batches.meta
    data_batch_1.bin cifar10.1_v6_data.npy t10k-images-idx3-ubyte.gz a/1.png fog/1/a/1.png"""


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("strange", ENDLESS, ids=lambda s: s.__name__)
def test_in_data(strange: Callable[[Path], None]) -> None:
    """Alone in a folder, under every name by which a layout is known; and among the files of a data set."""
    for name in NAMES.split():
        shutil.rmtree("data", ignore_errors=True)
        Path("data", name).parent.mkdir(parents=True)
        strange(Path("data", name))
        for place in ("data", f"data/{name}"):
            assert call("command lines", "show", "data", place) == 2, name
            assert call("command lines", "run", "quick", "--plan", "--device", "cpu", "--test-set", f"x={place}") == 2
    arrays = [np.zeros((4, 28, 28), np.uint8), np.array([0, 1, 0, 1], np.uint8)] * 2
    trees = {"tree": a_tree(), "idx": {name: idx(array) for name, array in zip(IDX, arrays, strict=True)}}
    for tree in trees.values():
        shutil.rmtree("data", ignore_errors=True)
        for name, content in tree.items():
            Path("data", name).parent.mkdir(parents=True, exist_ok=True)
            Path("data", name).write_bytes(content)
        assert call("command lines", "show", "data", "data") == 0
        Path("data", name).unlink()
        strange(Path("data", name))
        for words in (("show", "data", "data"), ("show", "data", "data", "--stream"), ("doctor", "--data", "data")):
            assert call("command lines", *words) == 2, (name, words)


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("strange", ENDLESS, ids=lambda s: s.__name__)
def test_in_the_place_of_a_network(strange: Callable[[Path], None]) -> None:
    shutil.rmtree("net", ignore_errors=True)
    Path("net").mkdir()
    for name in ("x.safetensors", "x.pt", "x.onnx", "x.tflite", "x.pt2", "ids"):
        strange(Path("net", name))
    with within(10.0):
        for weights in ("net/x.safetensors", "net/x.pt"):
            with pytest.raises(UserError, match="no regular file"):
                read(weights)
        with pytest.raises(UserError, match="no regular file"):
            lcrbench.load_packed("net/x.safetensors")
        with pytest.raises(UserError, match="no regular file"):
            orders._ids(Path("net/ids"))
        for scheme in ("onnx", "tflite", "pt2"):
            with contextlib.suppress(ImportError), pytest.raises(UserError):
                registry.load("loader", scheme).load_network(name_of(f"{scheme}:net/x.{scheme}"))


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("strange", ENDLESS, ids=lambda s: s.__name__)
def test_in_the_place_of_code(strange: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Presets, plug-ins and functions that make networks, by their file and by their import path; and a package of them."""
    monkeypatch.syspath_prepend(".")
    for name in ("preset.toml", "plug/entry.py", "plugs/__init__.py"):
        for folder in ("plug", "plugs"):
            shutil.rmtree(folder, ignore_errors=True)
        Path("preset.toml").unlink(missing_ok=True)
        Path(name).parent.mkdir(exist_ok=True)
        strange(Path(name))
        module = name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        lines: list[tuple[str, ...]] = [
            ("conform", name), ("show", "preset", name), ("run", name, "--plan"), ("tune", name, "--method", "bnn")
        ]  # fmt: skip
        if name != "preset.toml":
            entry = module if "." in module else f"{module}.entry"
            lines = [
                ("conform", name), ("conform", entry), ("conform", "method", entry), ("show", "method", entry),
                ("evaluate", f"{name}:make"), ("evaluate", f"{module}:make"), ("lipschitz", "--model", f"{module}:make"),
                ("run", "quick", "--plan", "--device", "cpu", "--methods", entry),
            ]  # fmt: skip
        for line in lines:
            assert call("command lines", *line) == 2, line


def test_a_streamed_file_that_became_a_pipe(tmp_path: Path) -> None:
    """It was listed as a file, and is read while a network trains."""
    for name, content in a_tree().items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    found = data.load(tmp_path, size=8, stream=True)
    for path in tmp_path.rglob("*.png"):
        path.unlink()
        pipe(path)
    with within(5.0), pytest.raises(UserError, match="changed since"):
        found.train.images[0]
