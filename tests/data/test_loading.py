"""Loading data: the same tree is the same data set in every form."""

from __future__ import annotations

import gzip
import importlib.util
import io
import json
import os
import random
import shutil
import subprocess
import sys
import zlib
from importlib.resources import files as package_files
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from some_data import (
    PACKERS,
    a_tree,
    as_archives,
    as_folder,
    fails,
    idx_folder,
    part,
    picture,
    same,
    sound,
    tar_bytes,
    zip_bytes,
)

from lcrbench.bench import data
from lcrbench.bench.data import disk_cache, keep, loading
from lcrbench.bench.data.sources import fashion_mnist_10k
from lcrbench.images import natural

ROOT = Path(__file__).resolve().parents[2]
FULL_FASHION = Path("/usr/share/datasets/fashion-mnist")
PHOTOGRAPHS = ROOT.parent / "shared" / "data" / "cifar10-jpeg75"

# ---------------------------------------------------------------------------------------------------- the embedded data


@pytest.fixture(scope="module")
def fashion() -> data.Dataset:
    return data.load()


def test_embedded(fashion: data.Dataset) -> None:
    assert fashion.name == "fashion-mnist-10k"
    assert fashion.name in data.names()
    sound(fashion, 32)
    assert np.bincount(fashion.train.labels).tolist() == [1000] * 10
    assert np.bincount(fashion.test.labels).tolist() == [200] * 10
    border = fashion.train.images.copy()
    border[:, 2:30, 2:30] = 0
    assert not border.any()
    assert np.array_equal(fashion.test.images[..., 0], fashion.test.images[..., 2])
    assert fashion.sha256 == "3a94a82a48a7a5aa0b0b4b27a838802ce988e56532ad09dc9c6e28ddd2099fc8"


def test_embedded_at_another_size(fashion: data.Dataset) -> None:
    smaller = data.load(size=12)
    sound(smaller, 12)
    assert smaller.sha256 != fashion.sha256
    assert np.array_equal(smaller.train.labels, fashion.train.labels)


def test_no_torch() -> None:
    code = "import sys; from lcrbench.bench import data; data.load(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_embedded_comes_with_its_licence() -> None:
    notice = (package_files("lcrbench.bench.fashion") / "NOTICE").read_text(encoding="utf-8")
    assert "MIT" in notice
    assert "2017 Zalando SE" in notice


@pytest.mark.parametrize("name", ["sha256.json", "train-images.idx3.gz", "test-labels.idx1.gz"])
def test_embedded_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    copy = tmp_path / "fashion"
    shutil.copytree(str(package_files("lcrbench.bench.fashion")), copy)
    monkeypatch.setattr(fashion_mnist_10k, "package_files", lambda _: copy)
    if name.endswith(".gz"):
        content = bytearray(gzip.decompress((copy / name).read_bytes()))
        content[-1] ^= 1
        (copy / name).write_bytes(gzip.compress(bytes(content), 1))
        fails("fashion-mnist-10k", name, "wrong sha256", "install lcrbench again")
    (copy / name).unlink()
    fails("fashion-mnist-10k", name)


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_fashion_subset", ROOT / "tools" / "make_fashion_subset.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(not FULL_FASHION.is_dir(), reason="needs the Debian package dataset-fashion-mnist")
def test_embedded_is_made_again() -> None:
    script = _script()
    made = script.contents(FULL_FASHION)
    embedded = Path(str(package_files("lcrbench.bench.fashion")))
    assert (embedded / "sha256.json").read_text(encoding="utf-8") == script.hashes(made)
    assert len(made) == 4
    for name, content in made.items():
        ours = (embedded / name).read_bytes()
        assert gzip.decompress(ours) == content
        # Compressing the training images takes seconds. zlib-ng, another zlib, packs the same content differently.
        if name != "train-images.idx3.gz" and "ng" not in zlib.ZLIB_RUNTIME_VERSION:
            assert ours == script.compress(content)


@pytest.mark.skipif(not FULL_FASHION.is_dir(), reason="needs the Debian package dataset-fashion-mnist")
def test_full_fashion_mnist(fashion: data.Dataset) -> None:
    full = data.load(str(FULL_FASHION))
    assert full.name == "fashion-mnist"
    assert full.classes == fashion.classes
    assert (len(full.train), len(full.test)) == (60_000, 10_000)
    known = {image.tobytes() for image in full.test.images}
    assert all(image.tobytes() in known for image in fashion.test.images)


@pytest.mark.skipif(not FULL_FASHION.is_dir(), reason="needs the Debian package dataset-fashion-mnist")
def test_a_damaged_file_among_those_of_fashion_mnist(tmp_path: Path) -> None:
    shutil.copytree(FULL_FASHION, tmp_path, dirs_exist_ok=True, copy_function=shutil.copyfile)
    path = tmp_path / "t10k-labels-idx1-ubyte.gz"
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[100] = (content[100] + 1) % 10
    path.write_bytes(gzip.compress(bytes(content), 1))
    fails(tmp_path, path.name, "wrong sha256")


# ------------------------------------------------------------------------------------------------------------ idx files


@pytest.mark.parametrize("place", ["", "raw", "MNIST/raw", "FashionMNIST/raw"])
def test_idx_folders(tmp_path: Path, place: str) -> None:
    idx_folder(tmp_path / "digits" / place)
    idx_folder(tmp_path / "plain", packed=False)
    packed, plain = (data.load(str(tmp_path / name)) for name in ("digits", "plain"))
    assert packed.name == "digits"
    assert packed.classes == tuple("0123456789")
    sound(packed, 32)
    same(packed, plain)


def test_idx_of_other_sizes_and_numbers_of_classes(tmp_path: Path) -> None:
    letters = data.load(str(idx_folder(tmp_path, side=20, classes=26)), size=32)
    assert len(letters.classes) == 26
    sound(letters, 32)
    assert letters.train.images[:, 0].any()  # resized, not padded


# ------------------------------------------------------------------------------------------------- folders and archives


def test_folder_tar_and_zip_are_the_same(tmp_path: Path) -> None:
    tree = a_tree()
    reference = data.load(str(as_folder(tree, tmp_path / "set")), size=8)
    sound(reference, 8)
    assert reference.name == "set"
    assert reference.classes == ("2", "10", "b")
    assert np.bincount(reference.train.labels).tolist() == [4, 4, 6]
    for kind, pack in PACKERS.items():
        same(reference, data.load(str(as_archives(tree, tmp_path / kind, kind)), size=8))
        same(reference, data.load(str(as_archives(tree, tmp_path / f"val {kind}", kind, test="val")), size=8))
        for name, prefix in ((f"one.{kind}", ""), (f"top.{kind}", "./a/b/")):
            packed = {f"{prefix}{path}": content for path, content in tree.items()}
            (tmp_path / name).write_bytes(pack(packed))
            loaded = data.load(str(tmp_path / name), size=8)
            assert loaded.name == name.partition(".")[0]
            same(reference, loaded)
        (tmp_path / f"alone {kind}").mkdir()
        (tmp_path / f"one.{kind}").rename(tmp_path / f"alone {kind}" / f"one.{kind}")
        same(reference, data.load(str(tmp_path / f"alone {kind}"), size=8))


def test_splits_may_come_in_different_forms(tmp_path: Path) -> None:
    tree = a_tree()
    reference = data.load(str(as_folder(tree, tmp_path / "set")), size=8)
    mixed = as_folder(part(tree, "train"), tmp_path / "mixed")
    (mixed / "val.zip").write_bytes(zip_bytes({k.removeprefix("test/"): v for k, v in part(tree, "test").items()}))
    same(reference, data.load(str(mixed), size=8))


def test_order_of_creation_does_not_matter(tmp_path: Path) -> None:
    tree = a_tree()
    reference = data.load(str(as_folder(tree, tmp_path / "set")), size=8)
    for seed in range(3):
        names = list(tree)
        random.Random(seed).shuffle(names)
        shuffled = {name: tree[name] for name in names}
        same(reference, data.load(str(as_folder(shuffled, tmp_path / f"set {seed}")), size=8))
        same(reference, data.load(str(as_archives(shuffled, tmp_path / f"tar {seed}", "tar")), size=8))


def test_images_are_in_natural_order(tmp_path: Path) -> None:
    names = ["1.png", "01.png", "2.png", "10.png", "a2.png", "a10.png", "b/3.png", "b/20.png"]
    tree = {f"{split}/{label}/{name}": picture(i) for split in ("train", "test") for label in "xy"
            for i, name in enumerate(names)}  # fmt: skip
    loaded = data.load(str(as_folder(tree, tmp_path)), size=8)
    order = ["01.png", "1.png", "2.png", "10.png", "a2.png", "a10.png", "b/3.png", "b/20.png"]
    expected = [np.asarray(Image.open(io.BytesIO(tree[f"train/x/{name}"]))) for name in order]
    assert np.array_equal(loaded.train.images[: len(names)], np.stack(expected))


def digits_first(path: tuple[str, ...]) -> list[object]:
    """Natural order in other words: an oracle for names of a digit run and then text."""
    number = "".join(c for c in path[0] if c.isdigit())
    return [int(number or 0), path[0]]


@settings(max_examples=50)
@given(st.lists(st.text("0129", min_size=1, max_size=30).map(lambda digits: f"{digits}.png"), unique=True))
def test_natural_order_counts(names: list[str]) -> None:
    paths = [(name,) for name in names]
    assert sorted(paths, key=natural) == sorted(paths, key=digits_first)


@given(st.lists(st.lists(st.text("aB1230é. ", min_size=1, max_size=6), min_size=1, max_size=3).map(tuple), unique=True))
def test_natural_order_is_total(paths: list[tuple[str, ...]]) -> None:
    backwards = paths[::-1]
    assert sorted(paths, key=natural) == sorted(backwards, key=natural)


def test_non_images_are_counted(tmp_path: Path) -> None:
    rubbish = {
        "train/.DS_Store": b"x", "train/2/.DS_Store": b"x", "train/2/Thumbs.db": b"x", "test/labels.csv": b"x",
        "train/2/._8.png": b"x", "train/.cache/x.png": b"x",
    }  # fmt: skip
    tree = a_tree() | rubbish
    reference = data.load(str(as_folder(a_tree(), tmp_path / "clean")), size=8)
    for form in (as_folder(tree, tmp_path / "set"), *(as_archives(tree, tmp_path / k, k) for k in ("tar", "zip"))):
        loaded = data.load(str(form), size=8)
        assert loaded.skipped == len(rubbish)
        same(reference, loaded)
    (tmp_path / "mac.zip").write_bytes(zip_bytes(a_tree() | {"__MACOSX/train/2/._8.png": b"x"}))
    same(reference, data.load(str(tmp_path / "mac.zip"), size=8))


def test_accents_are_one_name(tmp_path: Path) -> None:
    sets = []
    for label in ("caf\u00e9", "cafe\u0301"):
        tree = {f"{s}/{c}/1.png": picture(ord(c[0])) for s in ("train", "test") for c in (label, "tea")}
        sets.append(data.load(str(as_archives(tree, tmp_path / ascii(label).strip("'\\"), "zip")), size=8))
    same(*sets)
    assert sets[0].classes == ("caf\u00e9", "tea")


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    reference = data.load(str(as_folder(a_tree(), tmp_path / "set")), size=8)
    (tmp_path / "linked").mkdir()
    try:
        (tmp_path / "linked" / "train").symlink_to(tmp_path / "set" / "train")
    except OSError:
        pytest.skip("this system does not allow links")
    (tmp_path / "linked" / "test").mkdir()
    for label in reference.classes:
        (tmp_path / "linked" / "test" / label).symlink_to(tmp_path / "set" / "test" / label)
    same(reference, data.load(str(tmp_path / "linked"), size=8))
    (tmp_path / "set" / "train" / "2" / "again").symlink_to(tmp_path / "set" / "train")
    fails(tmp_path / "set", "too deep", "link")


def test_resizing_takes_the_centre(tmp_path: Path) -> None:
    def stripes(width: int, height: int) -> bytes:
        """Red where the centre square is, blue beside it."""
        pixels = np.zeros((height, width, 3), np.uint8)
        pixels[..., 2] = 255
        short = min(width, height)
        top, left = (height - short) // 2, (width - short) // 2
        pixels[top : top + short, left : left + short] = (255, 0, 0)
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, "PNG")
        return out.getvalue()

    tree = {}
    for split in ("train", "test"):
        tree |= {f"{split}/wide/1.png": stripes(64, 32), f"{split}/high/1.png": stripes(16, 48)}
    loaded = data.load(str(as_folder(tree, tmp_path)), size=16)
    sound(loaded, 16)
    # One pixel at each cut is a mixture: bilinear looks across it.
    assert (loaded.train.images[:, 1:-1, 1:-1] == (255, 0, 0)).all()


def test_resizing_is_antialiased(tmp_path: Path) -> None:
    board = np.indices((64, 64)).sum(0) % 2 * 255
    out = io.BytesIO()
    Image.fromarray(board.astype(np.uint8)).save(out, "PNG")
    tree = {f"{split}/{label}/1.png": out.getvalue() for split in ("train", "test") for label in "ab"}
    images = data.load(str(as_folder(tree, tmp_path)), size=8).train.images
    assert images.min() >= 120
    assert images.max() <= 135


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    form = "TIFF" if mode == "CMYK" else "PNG"
    tree = {f"{s}/{c}/1.{form.lower()}": picture(1, form=form, mode=mode) for s in ("train", "test") for c in "ab"}
    sound(data.load(str(as_folder(tree, tmp_path)), size=8), 8)


# ---------------------------------------------------------------------------------------------------------------- cache


def test_cache(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # This process keeps what it has loaded of files that are older than two seconds, as these may become, and its map of a
    # file that is damaged below would end it.
    monkeypatch.setattr(loading, "_fingerprint", lambda *_: None)
    folder = as_archives(a_tree(), tmp_path / "set", "tar")
    reference = data.load(str(folder), size=8)
    assert not cache.exists()  # too small to be worth it
    monkeypatch.setattr(disk_cache, "WORTH", 1)
    same(reference, data.load(str(folder), size=8))
    (kept,) = cache.iterdir()

    with monkeypatch.context() as no_decoding:
        no_decoding.setattr(keep, "decode", None)
        from_cache = data.load(str(folder), size=8)
        sound(from_cache, 8)
        same(reference, from_cache)
        renamed = folder.rename(tmp_path / "other")
        assert data.load(str(renamed), size=8).name == "other"

    for name in ("train-images.npy", "test-labels.npy", "content.json"):
        for damage in (lambda b: b[:-1] + bytes([b[-1] ^ 1]), lambda b: b[: len(b) // 2], lambda b: b""):
            (kept / name).write_bytes(damage((kept / name).read_bytes()))
            same(reference, data.load(str(renamed), size=8))
            told = json.loads((kept / "content.json").read_text(encoding="utf-8"))
            assert told["sha256"] == reference.sha256  # written anew
    (kept / "test-images.npy").unlink()
    same(reference, data.load(str(renamed), size=8))

    assert data.load(str(renamed), size=16).sha256 != reference.sha256
    assert len(list(cache.iterdir())) == 2
    (renamed / "test.tar").write_bytes(tar_bytes(part(a_tree(), "test") | {"test/b/99.png": picture(9)}))
    assert len(data.load(str(renamed), size=8).test) == len(reference.test) + 1


def test_no_place_for_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = as_archives(a_tree(), tmp_path / "set", "zip")
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(disk_cache, "WORTH", 1)
    with pytest.warns(UserWarning, match="could not be cached"):
        assert data.load(str(folder), size=8).classes == ("2", "10", "b")


# -------------------------------------------------------------------------------------------------- real photographs


@pytest.mark.slow
@pytest.mark.skipif(
    not PHOTOGRAPHS.is_dir(), reason="needs the development data (60,000 photographs) beside the checkout"
)
def test_photographs() -> None:
    photographs = data.load(str(PHOTOGRAPHS))
    assert photographs.name == "cifar10-jpeg75"
    assert photographs.classes[:2] == ("airplane", "automobile")
    assert np.bincount(photographs.train.labels).tolist() == [5000] * 10
    assert np.bincount(photographs.test.labels).tolist() == [1000] * 10
    assert os.listdir(os.environ["XDG_CACHE_HOME"])
    same(photographs, data.load(str(PHOTOGRAPHS)))
