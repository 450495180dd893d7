"""Data sources as entries of a registry: what a source must define, sources from outside, and nothing loaded twice."""

from __future__ import annotations

import importlib
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from lcrbench import registry
from lcrbench.bench import data
from lcrbench.errors import UserError

STRIPES = '''"""Stripes, drawn and not read."""
import numpy as np
from lcrbench.bench.data import Dataset, Split

calls = []

def split(n, size):
    labels = np.arange(n) % 2
    images = np.zeros((n, size, size, 3), np.uint8)
    images[labels == 1, ::2] = 255
    return Split(images, labels)

def load(place, size):
    calls.append(place)
    return Dataset(f"stripes {place}", ("plain", "striped"), split(6, size), split(4, size), skipped=1)
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package in the current folder, forgotten after the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    folder = tmp_path / "my_pkg"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    importlib.invalidate_caches()
    yield folder
    for name in [n for n in sys.modules if n.partition(".")[0] == "my_pkg"]:
        del sys.modules[name]


def install(folder: Path, kind: str, name: str, module: str) -> None:
    """Leave what pip would leave of a package with one entry point."""
    info = folder / "my_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[lcrbench.{kind}]\n{name} = {module}\n")
    importlib.invalidate_caches()


@pytest.mark.parametrize("entry", registry.files("source"))
def test_our_own_sources_keep_the_contract(entry: str) -> None:
    module = registry.load("source", entry)
    assert registry.summary("source", entry)
    assert callable(module.load)
    assert hasattr(module, "NAMES") or callable(module.detect)
    if hasattr(module, "NAMES"):
        assert module.NAMES
        assert set(module.NAMES) <= set(data.names())


def test_a_source_by_import_path_is_one_file(package: Path) -> None:
    (package / "stripes.py").write_text(STRIPES)
    assert data.load("my_pkg.stripes", size=8).name == "stripes "
    loaded = data.load("my_pkg.stripes:wide/ones", size=8)
    assert loaded.name == "stripes wide/ones"
    assert (len(loaded.train), len(loaded.test), loaded.skipped) == (6, 4, 1)
    with pytest.raises(UserError, match=r"no data at 'my_pkg\.dots'"):
        data.load("my_pkg.dots", size=8)


def test_a_source_inside_is_one_file(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = package / "sources"
    inside.mkdir()
    (inside / "__init__.py").write_text("")
    (inside / "stripes.py").write_text(
        STRIPES + "ORDER = 1\nNAMES = ('stripes',)\ndef detect(path):\n    return path.suffix == '.stripes'\n"
    )
    monkeypatch.setitem(registry.PACKAGES, "source", "my_pkg.sources")
    monkeypatch.syspath_prepend(package.parent)
    assert data.names() == {"stripes": "Stripes, drawn and not read."}
    assert data.load("stripes", size=8).classes == ("plain", "striped")
    (package / "a.stripes").write_text("")
    assert data.load(package / "a.stripes", size=8).name == f"stripes {package / 'a.stripes'}"


def test_a_source_by_entry_point(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (package / "stripes.py").write_text(STRIPES + "def detect(path):\n    return path.suffix == '.stripes'\n")
    monkeypatch.syspath_prepend(package.parent)
    install(package.parent, "source", "stripes", "my_pkg.stripes")
    assert "stripes" in data.names()
    assert data.load("stripes", size=8).name == "stripes "
    assert data.load("stripes:x", size=8).name == "stripes x"
    (package / "a.stripes").write_text("")
    assert data.load("my_pkg/a.stripes", size=8).name == "stripes my_pkg/a.stripes"
    with pytest.raises(UserError, match="did you mean 'stripes'"):
        data.load("stripe", size=8)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("return 3", "returned a int"),
        ("return Dataset('x', ('a', 'a'), split(6, size), split(4, size))", "one of them twice"),
        ("return Dataset('x', ('a', 'b'), split(6, 9), split(4, size))", "training images of shape"),
        ("return Dataset('x', ('a', 'b'), split(6, size), split(0, size))", "test images of shape"),
        ("return Dataset('x', ('a',), split(6, size), split(4, size))", "labels from 0 to 1"),
    ],
)
def test_a_source_that_breaks_the_contract_is_refused(package: Path, change: str, words: str) -> None:
    (package / "stripes.py").write_text(STRIPES.replace("calls.append(place)", change))
    with pytest.raises(UserError, match=r"source 'my_pkg\.stripes'") as caught:
        data.load("my_pkg.stripes", size=8)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def settle(path: Path) -> None:
    """Set the files' time back: what was just written may be written again, and is not kept."""
    past = time.time() - 60
    for place in (path, *path.rglob("*")):
        os.utime(place, (past, past))


def test_the_last_data_set_is_kept_while_its_files_are_unchanged(tmp_path: Path) -> None:
    first = data.load(size=8)
    assert data.load("fashion-mnist-10k", size=8) is first
    assert data.load(size=9) is not first
    assert data.load(size=8) is not first  # one is kept, not two

    rng = np.random.default_rng(0)
    for which, number in (("train", 30), ("t10k", 10)):
        images, labels = rng.integers(0, 256, (number, 8, 8), np.uint8), np.arange(number, dtype=np.uint8) % 10
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            head = bytes((0, 0, 8, array.ndim)) + np.array(array.shape, ">u4").tobytes()
            (tmp_path / f"{which}-{kind}-ubyte").write_bytes(head + array.tobytes())
    fresh = data.load(tmp_path, size=8)
    assert data.load(tmp_path, size=8) is not fresh
    settle(tmp_path)
    kept = data.load(tmp_path, size=8)
    assert data.load(tmp_path, size=8) is kept
    changed = tmp_path / "t10k-images-idx3-ubyte"
    content = bytearray(changed.read_bytes())
    content[-1] ^= 1
    changed.write_bytes(content)
    assert data.load(tmp_path, size=8).sha256 != kept.sha256


def test_a_source_whose_files_are_unknown_is_asked_again(package: Path) -> None:
    (package / "stripes.py").write_text(STRIPES)
    for _ in range(2):
        data.load("my_pkg.stripes", size=8)
    assert importlib.import_module("my_pkg.stripes").calls == ["", ""]


def test_training_needs_no_decoder() -> None:
    import subprocess

    code = "import sys; import lcrbench.bench.data.arrays; sys.exit('PIL' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("part", ["load", "detect"])
def test_what_a_source_from_outside_raises_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    package = f"somebodys_{part}"
    (tmp_path / package).mkdir()
    body = {"load": "return None", "detect": "return False"} | {part: "raise KeyError('x')"}
    (tmp_path / package / "own.py").write_text(
        f'"""Data."""\n\n\ndef load(place, size):\n    {body["load"]}\n\n\ndef detect(path):\n    {body["detect"]}\n'
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    entry = f"{package}.own"
    if part == "detect":
        names = registry.names
        monkeypatch.setattr(registry, "names", lambda kind: [*names(kind), entry] if kind == "source" else names(kind))
    with pytest.raises(UserError, match=f"the source '{entry}' raises KeyError: 'x': check it with lcrbench conform"):
        data.load(tmp_path if part == "detect" else f"{entry}:place")
