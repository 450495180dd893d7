"""Loading data: the same tree is the same data set in every form, and bad data says what is wrong with it."""

from __future__ import annotations

import bz2
import gzip
import importlib.util
import io
import json
import lzma
import os
import random
import shutil
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from importlib.resources import files as package_files
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lcrbench.bench import data
from lcrbench.bench.data import disk_cache, trees
from lcrbench.bench.data.members import MAX_FILE_BYTES
from lcrbench.bench.data.sources import fashion_mnist_10k
from lcrbench.errors import UserError
from lcrbench.images import decode, natural

ROOT = Path(__file__).resolve().parents[2]
FULL_FASHION = Path("/usr/share/datasets/fashion-mnist")
PHOTOGRAPHS = ROOT.parent / "shared" / "data" / "cifar10-jpeg75"

Tree = dict[str, bytes]


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the tests out of the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder / "lcrbench" / "data"


def fails(source: object, *words: str, size: int = 8) -> None:
    """Assert that loading gives one line that holds these words."""
    with pytest.raises(UserError) as caught:
        data.load(str(source), size=size)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


# --------------------------------------------------------------------------------------------------------- trees to load


def picture(seed: int, width: int = 8, height: int = 8, form: str = "PNG", mode: str = "RGB") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(out, form)
    return out.getvalue()


def a_tree() -> Tree:
    """Two splits of three classes; names whose plain and natural orders differ, several formats, a nested folder."""
    tree = {}
    for split, number in (("train", 4), ("test", 2)):
        for label in ("2", "10", "b"):
            for i in range(number):
                tree[f"{split}/{label}/{i + 8}.png"] = picture(len(tree) + 100)
    tree["train/b/part 1/x.JPEG"] = picture(1, form="JPEG")
    tree["train/b/7.bmp"] = picture(2, 11, 9, form="BMP")
    tree["test/2/7.webp"] = picture(3, 9, 20, form="WEBP")
    tree["test/2/6.ppm"] = picture(4, form="PPM")
    tree["test/10/6.tif"] = picture(5, form="TIFF", mode="L")
    return tree


def part(tree: Tree, split: str) -> Tree:
    return {name: content for name, content in tree.items() if name.startswith(f"{split}/")}


def as_folder(tree: Tree, folder: Path) -> Path:
    for name, content in tree.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def tar_bytes(tree: Tree, form: int = tarfile.GNU_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for name, content in tree.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


def zip_bytes(tree: Tree) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in tree.items():
            archive.writestr(name, content)
    return out.getvalue()


PACKERS: dict[str, Callable[[Tree], bytes]] = {
    "tar": tar_bytes,
    "tar.xz": lambda tree: lzma.compress(tar_bytes(tree, tarfile.PAX_FORMAT)),
    "tar.gz": lambda tree: gzip.compress(tar_bytes(tree)),
    "tar.bz2": lambda tree: bz2.compress(tar_bytes(tree)),
    "zip": zip_bytes,
}


def as_archives(tree: Tree, folder: Path, kind: str, test: str = "test") -> Path:
    """Write an archive for each split."""
    folder.mkdir(exist_ok=True)
    (folder / f"train.{kind}").write_bytes(PACKERS[kind](part(tree, "train")))
    (folder / f"{test}.{kind}").write_bytes(PACKERS[kind](part(tree, "test")))
    return folder


def same(one: data.Dataset, other: data.Dataset) -> None:
    assert one.classes == other.classes
    for a, b in ((one.train, other.train), (one.test, other.test)):
        assert np.array_equal(a.images, b.images)
        assert np.array_equal(a.labels, b.labels)
    assert one.sha256 == other.sha256


def sound(dataset: data.Dataset, size: int) -> None:
    """Assert what the docstrings promise of every data set."""
    for split in (dataset.train, dataset.test):
        assert split.images.shape == (len(split), size, size, 3)
        assert split.images.dtype == np.uint8
        assert split.labels.dtype == np.int64
        assert split.labels.shape == (len(split),)
        assert split.images.flags.c_contiguous
        assert not split.images.flags.writeable
        assert not split.labels.flags.writeable
        assert set(split.labels.tolist()) == set(range(len(dataset.classes)))
    for channel in range(3):
        pixels = dataset.train.images[..., channel].ravel() / 255
        np.testing.assert_allclose(dataset.mean[channel], pixels.mean(), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(dataset.std[channel], pixels.std(), rtol=1e-9, atol=1e-12)
    assert dataset.mean.shape == dataset.std.shape == (3,)
    assert dataset.mean.dtype == dataset.std.dtype == np.float64


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


def idx(array: np.ndarray) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()


def idx_folder(folder: Path, *, packed: bool = True, side: int = 28, classes: int = 10) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for split, number in (("train", 3 * classes), ("t10k", classes)):
        arrays = {
            "images-idx3": rng.integers(0, 256, (number, side, side), dtype=np.uint8),
            "labels-idx1": rng.permutation(number).astype(np.uint8) % classes,
        }
        for kind, array in arrays.items():
            path = folder / f"{split}-{kind}-ubyte{'.gz' if packed else ''}"
            path.write_bytes(gzip.compress(idx(array)) if packed else idx(array))
    return folder


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


def test_idx_truncated_anywhere(tmp_path: Path) -> None:
    for packed in (True, False):
        folder = idx_folder(tmp_path / str(packed), packed=packed)
        for path in sorted(folder.iterdir()):
            whole = path.read_bytes()
            for end in {0, 1, 3, 4, 9, 15, 16, 40, len(whole) // 2, len(whole) - 9, len(whole) - 1} - {-1}:
                if end < len(whole):
                    path.write_bytes(whole[:end])
                    fails(folder, path.name, "get it again" if packed or end >= 4 or not end else "not an idx file")
            path.write_bytes(gzip.compress(gzip.decompress(whole) + b"x") if packed else whole + b"x")
            fails(folder, path.name, "longer")
            path.unlink()
            fails(folder, path.name.removesuffix(".gz"), "missing")
            path.write_bytes(whole)


def test_idx_of_nonsense(tmp_path: Path) -> None:
    folder = idx_folder(tmp_path, packed=False)
    images, labels = folder / "train-images-idx3-ubyte", folder / "train-labels-idx1-ubyte"
    whole = labels.read_bytes()
    labels.write_bytes(idx(np.zeros(7, np.uint8)))
    fails(folder, "do not belong together")
    labels.write_bytes(whole[:-1] + b"\xff")
    fails(folder, labels.name, "no image of class 10")
    labels.write_bytes(whole)
    images.write_bytes(b"\0\0\x08\x03" + b"\xff" * 12)
    fails(folder, images.name, "GiB")
    images.write_bytes(b"\0\0\x0d\x03" + b"\0" * 12)
    fails(folder, images.name, "not an idx file")


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


# ------------------------------------------------------------------------------------------------------------- bad input


def test_unknown_names_and_missing_paths(tmp_path: Path) -> None:
    fails("fashion-mnist10k", "unknown data set", "did you mean 'fashion-mnist-10k'")
    fails(tmp_path / "nowhere", "nowhere", "no data at")
    fails("data.tar.xz", "no data at")
    fails(tmp_path, str(tmp_path), "is empty", "train/ and test/")
    (tmp_path / "readme").write_text("hello")
    fails(tmp_path, "no data to read", "train/ and test/")
    fails(tmp_path / "readme", "neither a tar", "nor a zip")
    (tmp_path / "train").mkdir()
    fails(tmp_path, "no test/ or val/")
    (tmp_path / "test").mkdir()
    fails(tmp_path, "holds no images")
    for size in (0, -1, 5000):
        fails("fashion-mnist-10k", "size", size=size)


@pytest.mark.parametrize("form", ["folder", "tar", "zip"])
def test_bad_trees(tmp_path: Path, form: str) -> None:
    count = iter(range(100))

    def refused(change: Tree, *words: str, without: str = "nothing") -> None:
        tree = {name: content for name, content in a_tree().items() if not name.startswith(without)} | change
        folder = tmp_path / str(next(count))
        fails(as_folder(tree, folder) if form == "folder" else as_archives(tree, folder, form), *words)

    whole = picture(0, 40, 40, form="JPEG")
    refused({}, "test", "lacks 1 of the class folders", "'b'", without="test/b/")
    refused({"test/new/1.png": picture(0)}, "train", "lacks 1", "'new'")
    refused({"train/b/99.jpg": b"hello"}, "99.jpg", "damaged", "get it again")
    refused({"train/b/99.jpg": b""}, "99.jpg", "damaged")
    refused({"train/b/99.jpg": whole[: len(whole) // 2]}, "99.jpg", "damaged", "truncated")
    refused({"train/b/99.png": picture(0, 40, 40)[:-60]}, "99.png", "damaged")
    refused({"train/99.png": picture(0)}, "99.png", "no class folder")
    deep = io.BytesIO()
    Image.fromarray(np.full((8, 8), 999, np.uint16)).save(deep, "PNG")
    refused({"test/b/99.png": deep.getvalue()}, "99.png", "8 bits")
    big = io.BytesIO()
    Image.new("1", (9_000, 9_000)).save(big, "PNG")
    refused({"test/b/99.png": big.getvalue()}, "99.png", "9000 x 9000 px")


def test_one_class_is_not_enough(tmp_path: Path) -> None:
    tree = {f"{split}/only/{i}.png": picture(i) for split in ("train", "test") for i in range(2)}
    fails(as_folder(tree, tmp_path), "0.png", "no class folder", "two classes")


def test_oblong_images_do_not_explode() -> None:
    out = io.BytesIO()
    Image.new("L", (60_000, 1)).save(out, "PNG")
    with pytest.raises(UserError, match=r"x\.png.*60000 x 1 px, too oblong"):
        decode(out.getvalue(), "x.png", 224)


def test_classes_without_images(tmp_path: Path) -> None:
    folder = as_folder(a_tree(), tmp_path / "set")
    (folder / "train" / "empty").mkdir()
    fails(folder, "class folder 'empty' holds no images")
    for pack in (shutil.make_archive(str(tmp_path / "packed"), kind, folder) for kind in ("tar", "zip", "xztar")):
        fails(pack, "class folder 'empty' holds no images")
    (folder / "train" / "empty").rmdir()
    (folder / "train" / "2" / "empty").mkdir()
    assert data.load(str(folder), size=8).classes == ("2", "10", "b")


@pytest.mark.parametrize("kind", PACKERS)
def test_archives_truncated_anywhere(tmp_path: Path, kind: str) -> None:
    folder = as_archives(a_tree(), tmp_path, kind)
    path = folder / f"train.{kind}"
    whole = path.read_bytes()
    # A plain tar ends with zeros only: what it lacks of them is no loss once its end is marked.
    needed = len(whole.rstrip(b"\0")) + 512 if kind == "tar" else len(whole)
    ends = {0, 1, 5, 6, 20, 300, 511, 512, 513, 1024, 1536, 2048, needed // 3, needed // 2, needed - 600, needed - 513,
            needed - 512, needed - 20, needed - 1}  # fmt: skip
    for end in sorted(e for e in ends if 0 <= e < needed):
        path.write_bytes(whole[:end])
        fails(folder, path.name)
    path.write_bytes(whole)
    assert data.load(str(folder), size=8).name == tmp_path.name


@pytest.mark.parametrize("kind", ["tar.xz", "tar.gz", "tar.bz2", "zip"])
def test_flipped_bits_never_pass(tmp_path: Path, kind: str) -> None:
    folder = as_archives(a_tree(), tmp_path, kind)
    reference = data.load(str(folder), size=8)
    path = folder / f"train.{kind}"
    whole = path.read_bytes()
    rng = random.Random(0)
    for _ in range(25):
        damaged = bytearray(whole)
        damaged[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        # Either the damage is told, or it hit what does not matter (a time stamp): other pixels must not come out.
        try:
            same(reference, data.load(str(folder), size=8))
        except UserError as error:
            assert "\n" not in str(error)  # noqa: PT017


def test_a_damaged_header_within_a_tar_is_not_its_end(tmp_path: Path) -> None:
    folder = as_archives(a_tree(), tmp_path, "tar")
    path = folder / "train.tar"
    whole = bytearray(path.read_bytes())
    with tarfile.open(path) as tar:
        third = tar.getmembers()[2].offset
    whole[third + 150] ^= 1
    path.write_bytes(whole)
    fails(folder, "train.tar", "damaged", "header")
    path.write_bytes(tar_bytes(part(a_tree(), "train")) + tar_bytes({"train/b/99.png": picture(0)}))
    fails(folder, "train.tar", "damaged")


@pytest.mark.parametrize("pack", [tar_bytes, zip_bytes])
@pytest.mark.parametrize(
    "name", ["../evil.png", "/train/b/evil.png", "train/b/../../../evil.png", "train/../../x/y.png"]
)
def test_paths_out_of_the_archive_are_refused(tmp_path: Path, pack: Callable[[Tree], bytes], name: str) -> None:
    (tmp_path / "set").mkdir()
    path = tmp_path / "set" / "all.zip"
    path.write_bytes(pack(a_tree() | {name: picture(0)}))
    fails(path, "evil.png" if "evil" in name else "y.png", "points outside")
    assert sorted(entry.name for entry in tmp_path.rglob("*")) == ["all.zip", "set"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links_in_a_tar_are_refused(tmp_path: Path, kind: bytes) -> None:
    out = io.BytesIO(tar_bytes(a_tree()))
    with tarfile.open(fileobj=out, mode="a") as tar:
        member = tarfile.TarInfo("train/b/link.png")
        member.type, member.linkname = kind, "train/b/8.png"
        tar.addfile(member)
    (tmp_path / "all.tar").write_bytes(out.getvalue())
    fails(tmp_path / "all.tar", "link.png", "is a link")


def test_broken_links_and_strange_names(tmp_path: Path) -> None:
    folder = as_folder(a_tree(), tmp_path / "set")
    try:
        (folder / "train" / "b" / "99.png").symlink_to(tmp_path / "gone.png")
    except OSError:
        pytest.skip("this system does not allow links")
    fails(folder, "99.png", "cannot be read (No such file")
    fails("x" * 5000, "cannot be read")
    for pack in (tar_bytes, zip_bytes):
        (tmp_path / "all.tar").write_bytes(pack(a_tree() | {"train/b/a\n\x1b[31m.png": b"x"}))
        fails(tmp_path / "all.tar", "'train/b/a\\n\\x1b[31m.png'")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice_is_refused(tmp_path: Path) -> None:
    out = io.BytesIO(zip_bytes(a_tree()))
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr("train/b/8.png", picture(0))
    (tmp_path / "all.zip").write_bytes(out.getvalue())
    fails(tmp_path / "all.zip", "train/b/8.png", "twice")


def test_bombs_are_refused(tmp_path: Path) -> None:
    large = bytes(MAX_FILE_BYTES + 513)
    for kind in ("tar.xz", "zip"):
        (tmp_path / f"all.{kind}").write_bytes(PACKERS[kind](a_tree() | {"train/2/large.png": large}))
        assert (tmp_path / f"all.{kind}").stat().st_size < 200_000
        fails(tmp_path / f"all.{kind}", "large.png", "64 MiB")
    # A file's name of this size stands in a header, which tarfile would read whole.
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, len(large)
    bomb = header.tobuf(tarfile.GNU_FORMAT) + large + bytes(-len(large) % 512) + tar_bytes(a_tree())
    (tmp_path / "name.tar.gz").write_bytes(gzip.compress(bomb, 1))
    fails(tmp_path / "name.tar.gz", "name.tar.gz", "64 MiB")


def test_encrypted_and_foreign_archives(tmp_path: Path) -> None:
    whole = bytearray(zip_bytes(a_tree()))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = 0
        while (start := whole.find(mark, start)) >= 0:
            whole[start + offset] |= 1
            start += 1
    (tmp_path / "all.zip").write_bytes(whole)
    fails(tmp_path / "all.zip", "all.zip", "encrypted")
    (tmp_path / "only.tar").write_bytes(tar_bytes(part(a_tree(), "train")))
    fails(tmp_path / "only.tar", "only.tar", "train/ and test/")


# ---------------------------------------------------------------------------------------------------------------- cache


def test_cache(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = as_archives(a_tree(), tmp_path / "set", "tar")
    reference = data.load(str(folder), size=8)
    assert not cache.exists()  # too small to be worth it
    monkeypatch.setattr(disk_cache, "WORTH", 1)
    same(reference, data.load(str(folder), size=8))
    (kept,) = cache.iterdir()

    with monkeypatch.context() as no_decoding:
        no_decoding.setattr(trees, "decode", None)
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
