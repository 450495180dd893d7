"""Small data sets in every form, and what holds of every loaded one; shared by the tests of this folder."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lcrbench.bench import data
from lcrbench.errors import UserError

Tree = dict[str, bytes]


def fails(source: object, *words: str, size: int = 8) -> None:
    """Assert that loading gives one line that holds these words."""
    with pytest.raises(UserError) as caught:
        data.load(str(source), size=size)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


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
