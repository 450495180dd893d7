"""Malformed specs and data in bulk, through the command: one line that names the field or file, exit code 2, no change."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import shutil
import sys
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from lcrbench.bench import cli, dispatch, runner, worker
from lcrbench.bench.records.budget import Recipe
from lcrbench.bench.records.grid import Data
from lcrbench.bench.records.store import Store
from tests.bench import helpers

FULL = bool(os.environ.get("LCRBENCH_FAULTS"))
MANY = settings(
    max_examples=250 if FULL else 40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
KINDS = ("specs", "images", "trees", "archives", "idx files")
seen = Counter[str]()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tally: dict[str, str]) -> Iterator[Path]:
    """A folder with a store that holds a run, and a cache apart from the user's; the present folder meanwhile."""
    folder = tmp_path_factory.mktemp("malformed")
    helpers.put(Store(folder / "store", create=True), helpers.record())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        patch.chdir(folder)
        yield folder
    told = ", ".join(f"{k} {seen[f'{k} refused']} and {seen[f'{k} harmless']}" for k in KINDS)
    tally["malformed inputs"] = f"refused and harmless: {told}; tracebacks 0, stores changed 0"


@pytest.fixture
def mostly_refused() -> Iterator[None]:
    """Check that of a test's many inputs at least three in four are refused: that they are malformed at all."""
    before = seen.copy()
    yield
    refused = sum(n for name, n in (seen - before).items() if name.endswith("refused"))
    assert refused >= 0.75 * MANY.max_examples


def state(folder: Path) -> list[tuple[str, str]]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return [(str(p), hashlib.sha256(p.read_bytes()).hexdigest()) for p in files]


def call(place: Path, *words: str) -> tuple[int, str]:
    """Run the command in this process, up to its training; return its exit code and what it said on standard error."""
    before = state(place / "store")
    out, err = io.StringIO(), io.StringIO()
    opened = []

    def open_store(*args: Any, **kwargs: Any) -> Store:
        opened.append(args)
        return Store(*args, **kwargs)

    def execute(*_: Any, **__: Any) -> None:
        sys.exit(0)

    command = ["lcrbench", "run", "quick", *words, "--device", "cpu", "--workers", "1", "--quiet"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [*command, "--store", str(place / "store")])
        patch.setattr(runner, "Store", open_store)
        patch.setattr(dispatch, "work_on", execute)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), pytest.raises(SystemExit) as stop:
            cli.main()
    code = int(stop.value.code or 0)
    assert len(opened) == (code == 0), "a mistake is told before the store is opened, and else it is opened"
    assert state(place / "store") == before, "the store changed"
    return code, err.getvalue()


def judge(kind: str, code: int, said: str, *names: str) -> None:
    """Check that a mistake is one line that names one of these; count it."""
    if code == 0:
        seen[f"{kind} harmless"] += 1
        return
    assert code == 2, said
    assert said.startswith("lcrbench: ")
    assert said.count("\n") == 1, said
    assert said.isprintable() or said.rstrip("\n").isprintable(), ascii(said)
    assert not names or any(name in said for name in names), f"{names}: {said}"
    seen[f"{kind} refused"] += 1


# --- specs ------------------------------------------------------------------------------------------------------------

FIELDS = [
    "backbone", "methods", "seeds", "data", "data.source", "data.size", "data.train", "data.test", "budget",
    "budget.unit", "budget.images", "budget.epochs", "budget.seconds", "recipe", "recipe.batch", "recipe.optimizer",
    "recipe.lr", "recipe.momentum", "recipe.weight_decay", "recipe.decay", "recipe.schedule", "recipe.warmup",
    "recipe.augmentation", "recipe.selection", "recipe.validation", "recipe.nothing", "evaluation",
    "evaluation.corruptions", "evaluation.severities", "evaluation.seed", "evaluation.block", "metrics",
    "metrics.accuracy", "metrics.lipschitz_modulus", "metrics.lipschitz_modulus.l2", "metrics.lipschitz_modulus.images",
    "nothing", "budget.nothing",
]  # fmt: skip
WORDS = st.one_of(
    st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=12),
    st.integers(-(10**20), 10**20).map(str),
    st.floats().map(str),
    st.sampled_from(
        ["true", "[]", "{}", "[[]]", "[0]", '[""]', "{a = 1}", "nan", "-inf", "1e999", "''", "irnet+", "+lcr"]
    ),
    st.sampled_from(
        ["irnet:t_max=x", "irnet+lcr:weight=nan", "irnet+lcr+lcr", "resnet20:convs=3", "irnet+distill:weight=2", ":"]
    ),
)


# A refusal names the field by the last part of its name, or for these by another word: what a list holds is named one by
# one, where data come from is named as data, and a metric's option by its metric.
NAMED = {
    "data.source": "data",
    "methods": "method",
    "seeds": "seed",
    "evaluation.corruptions": "corruption",
    "evaluation.severities": "severity",
    "recipe.augmentation": "transform",
    "metrics.lipschitz_modulus.l2": "lipschitz_modulus",
}


@pytest.fixture(scope="module")
def data() -> Any:
    return worker.load_data(Data(train=200, test=50))


@pytest.mark.usefixtures("mostly_refused")
@MANY
@given(field=st.sampled_from(FIELDS), value=WORDS)
def test_specs(place: Path, data: Any, field: str, value: str) -> None:
    real = runner.load_data
    with pytest.MonkeyPatch.context() as patch:
        # The embedded images are read once, as long as it is they that are asked for.
        patch.setattr(runner, "load_data", lambda c: data if c == Data(train=200, test=50) else real(c))
        code, said = call(place, "--train", "200", "--test", "50", "--set", f"{field}={value}")
    last = field.rpartition(".")[2]
    judge("specs", code, said, last, NAMED.get(field, last))


@settings(MANY, max_examples=MANY.max_examples // 2)
@given(field=st.sampled_from(sorted(Recipe.model_fields)), value=WORDS)
def test_fields_at_their_old_place(place: Path, data: Any, field: str, value: str) -> None:
    """Those of [recipe] given under [budget]: one line says where they are read from, and a mistake is told as there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "load_data", lambda c: data)
        code, said = call(place, "--train", "200", "--test", "50", "--set", f"budget.{field}={value}")
    moved, _, rest = said.partition("\n")
    if moved == f"lcrbench: [budget] {field} now belongs to [recipe]: read from there":
        said = rest
    else:
        assert f"[budget] {field} and [recipe] {field} are both given" in said, said
    judge("specs", code, said, field, NAMED.get(f"recipe.{field}", field))


# --- data -------------------------------------------------------------------------------------------------------------


def picture(seed: int, form: str = "PNG", mode: str = "RGB", size: tuple[int, int] = (9, 8)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(out, form)
    return out.getvalue()


def header_of(width: int, height: int) -> bytes:
    """A PNG that says how large it is, and holds nothing."""
    chunk = b"IHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\0\0\0"
    crc = zlib.crc32(chunk).to_bytes(4, "big")
    return b"\x89PNG\r\n\x1a\n" + (13).to_bytes(4, "big") + chunk + crc + picture(0)[33:]


def sixteen_bit() -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000).save(out, "PNG")
    return out.getvalue()


def a_tree() -> dict[str, bytes]:
    return {f"{s}/{c}/{i}.png": picture(i) for s in ("train", "test") for c in ("a", "b") for i in range(3)}


IMAGES = {
    "empty": lambda content, k: b"",
    "truncated": lambda content, k: content[: k % len(content)],
    "flipped": lambda content, k: flip(content, k),
    "text": lambda content, k: b"<html>404 not found</html>",
    "16 bit": lambda content, k: sixteen_bit(),
    "cmyk": lambda content, k: picture(k, "JPEG", "CMYK"),
    "gif": lambda content, k: picture(k, "GIF", "P"),
    "huge": lambda content, k: header_of(60_000 + k, 60_000),
    "oblong": lambda content, k: header_of(1, 1 << 22),
    "no pixels": lambda content, k: header_of(0, k % 9),
    "too many bytes": lambda content, k: content + bytes(1 << 26),
}
TREES = {
    "out of the folder": lambda tree: tree | {"../out.png": picture(1)},
    "absolute": lambda tree: tree | {"/tmp/out.png": picture(1)},
    "deep out": lambda tree: tree | {"train/a/../../../x.png": picture(1)},
    "no class": lambda tree: tree | {"train/loose.png": picture(1)},
    "one class": lambda tree: {k: v for k, v in tree.items() if "/b/" not in k},
    "a class in training alone": lambda tree: tree | {"train/c/1.png": picture(1)},
    "no test": lambda tree: {k: v for k, v in tree.items() if k.startswith("train")},
    "nothing": lambda tree: {},
    "no images": lambda tree: {k.replace(".png", ".txt"): v for k, v in tree.items()},
    "not utf-8": lambda tree: tree | {f"{s}/\udcff/1.png": picture(1) for s in ("train", "test")},
    "control characters": lambda tree: tree | {f"{s}/x\ny\x1b[2J/1.png": picture(1) for s in ("train", "test")},
    "a bomb": lambda tree: tree | {"train/a/bomb.png": bytes(80 << 20)},
}


def flip(content: bytes, k: int) -> bytes:
    out = bytearray(content)
    out[k % len(out)] ^= 1 << (k // len(out) % 8)
    return bytes(out)


def packed(tree: dict[str, bytes], form: str) -> bytes:
    out = io.BytesIO()
    if form == "zip":
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in tree.items():
                archive.writestr(name.encode("utf-8", "surrogateescape").decode("utf-8", "replace"), content)
    else:
        with tarfile.open(fileobj=out, mode="w:gz" if form == "tar.gz" else "w") as tar:
            for name, content in tree.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


def put(place: Path, tree: dict[str, bytes], form: str) -> Path:
    """Write a tree anew as a folder or an archive; the folder leaves out what would lie outside."""
    target = place / ("broken" if form == "folder" else f"broken.{form}")
    shutil.rmtree(place / "broken", ignore_errors=True)
    if form != "folder":
        target.write_bytes(packed(tree, form))
        return target
    target.mkdir()
    for name, content in tree.items():
        if ".." not in name and not name.startswith("/"):
            path = os.fsencode(target) + b"/" + name.encode("utf-8", "surrogateescape")
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(content)
    return target


def load(place: Path, path: Path) -> tuple[int, str]:
    return call(place, "--data", str(path), "--backbone", "vgg_tiny", "--methods", "bnn")


FORMS = st.sampled_from(["folder", "tar", "tar.gz", "zip"])


@pytest.mark.usefixtures("mostly_refused")
@MANY
@given(form=FORMS, damage=st.sampled_from(sorted(IMAGES)), which=st.integers(0, 11), k=st.integers(0, 20_000))
def test_images(place: Path, form: str, damage: str, which: int, k: int) -> None:
    tree = a_tree()
    name = list(tree)[which]
    tree[name] = IMAGES[damage](tree[name], k)
    code, said = load(place, put(place, tree, form))
    judge("images", code, said, name, "broken")
    if damage not in ("cmyk", "flipped", "truncated"):
        assert code == 2, damage


@pytest.mark.parametrize("form", ["folder", "tar", "tar.gz", "zip"])
@pytest.mark.parametrize("damage", TREES)
def test_trees(place: Path, form: str, damage: str) -> None:
    code, said = load(place, put(place, TREES[damage](a_tree()), form))
    judge("trees", code, said, "broken")
    # A folder holds nothing outside of itself, and zip's names are UTF-8 always.
    if not (
        (form == "folder" and ("out" in damage or damage == "absolute")) or (form == "zip" and damage == "not utf-8")
    ):
        assert code == 2


@pytest.mark.usefixtures("mostly_refused")
@MANY
@given(
    form=st.sampled_from(["tar", "tar.gz", "zip"]),
    how=st.sampled_from(["cut", "flip", "both"]),
    k=st.integers(0, 1 << 20),
)
def test_archives(place: Path, form: str, how: str, k: int) -> None:
    path = put(place, a_tree(), form)
    content = path.read_bytes()
    if how != "flip":
        content = content[: k % len(content)]
    if how != "cut" and content:
        content = flip(content, k)
    path.write_bytes(content)
    code, said = load(place, path)
    judge("archives", code, said, "broken")


def idx(array: np.ndarray) -> bytes:
    return b"\0\0\x08" + bytes([array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()


NAMES = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]
DAMAGES = ["cut", "flip", "longer", "missing", "empty", "label", "count", "kind", "gzip cut", "none", "a folder"]


@pytest.mark.usefixtures("mostly_refused")
@MANY
@given(damage=st.sampled_from(DAMAGES), which=st.integers(0, 3), k=st.integers(0, 100_000))
def test_idx_files(place: Path, damage: str, which: int, k: int) -> None:
    folder = place / "broken"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    arrays = [np.zeros((4, 28, 28), np.uint8), np.array([0, 1, 0, 1], np.uint8)] * 2
    if damage == "label":
        arrays[1 + which // 2 * 2] = np.array([0, 1, 0, 2 + k % 254], np.uint8)
    elif damage == "count":
        arrays[which] = np.concatenate([arrays[which], arrays[which][:1]])
    elif damage == "none":
        arrays[which // 2 * 2], arrays[which // 2 * 2 + 1] = np.zeros((0, 28, 28), np.uint8), np.zeros(0, np.uint8)
    for i, (name, array) in enumerate(zip(NAMES, arrays, strict=True)):
        content = idx(array)
        if i == which:
            if damage == "cut":
                content = content[: k % len(content)]
            elif damage == "flip":
                content = flip(content, k % 64)
            elif damage == "longer":
                content += bytes(1 + k % 9)
            elif damage == "empty":
                content = b""
            elif damage == "kind":
                content = content[:2] + bytes([9 + k % 200]) + content[3:]
            elif damage == "gzip cut":
                name, content = f"{name}.gz", gzip.compress(content)[: -1 - k % 20]
            elif damage == "missing":
                continue
            elif damage == "a folder":
                (folder / name).mkdir()
                continue
        (folder / name).write_bytes(content)
    code, said = load(place, folder)
    judge("idx files", code, said, "broken", "ubyte")
    if damage != "flip":
        assert code == 2, damage


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_what_is_no_file(place: Path) -> None:
    path = put(place, a_tree(), "folder")
    os.mkfifo(path / "train" / "a" / "9.png")
    pipe = load(place, path)
    (path / "train" / "a" / "9.png").unlink()
    (path / "train" / "a" / "9.png").symlink_to("nowhere")
    link = load(place, path)
    for code, said in (pipe, link):
        assert code == 2
        judge("trees", code, said, "9.png")
