"""Loads labelled images: the embedded default, idx files, folders of class folders, and archives of such folders.

Whatever the source, the result is the same thing: a `Dataset` of square RGB images in uint8, in an order that depends on
the names and on nothing else, with a hash of what was decoded. Bad data raises `UserError`, in one line that names the
file; nothing is guessed, repaired or left out silently.

    source                                    read as
    a built-in name (`names()`)               the data embedded in this package
    folder with train-images-idx3-ubyte ...   Fashion-MNIST or another set in MNIST's format, gzipped or not
    folder with train/ and test/ (or val/)    class folders of image files
    folder with train.tar.xz and test.tar.xz  archives (tar, tar.gz, tar.xz, tar.bz2, zip) of class folders
    one archive with train/ and test/         the same in one file
"""

from __future__ import annotations

import gzip
import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files as package_files
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lcrbench.errors import UserError, unknown

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]

FASHION_CLASSES: Final = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip

# Of the uncompressed files, so that it does not matter who gzipped them.
FASHION_MNIST_SHA256: Final = {
    "train-images": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "test-images": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "test-labels": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}


# ---------------------------------------------------------------------------------------------------- what is returned


@dataclass(frozen=True, eq=False)
class Split:
    """Images (N, H, W, 3), uint8, C-contiguous, and labels (N,), int64, from 0; both read-only."""

    images: Images
    labels: Labels

    def __post_init__(self) -> None:
        images, labels = np.ascontiguousarray(self.images).view(), np.ascontiguousarray(self.labels).view()
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
            raise ValueError(f"images must be (N, H, W, 3) of uint8, not {images.shape} of {images.dtype}")
        if labels.dtype != np.int64 or labels.shape != images.shape[:1]:
            raise ValueError(f"labels must be ({len(images)},) of int64, not {labels.shape} of {labels.dtype}")
        # Views, so that the caller's own arrays stay as they are.
        for name, array in (("images", images), ("labels", labels)):
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A named set of labelled images, for training and for testing.

    `sha256` is of what was decoded (classes, sizes, pixels, labels): the same tree gives the same hash as a folder, a tar
    or a zip, wherever it lies. `skipped` counts the files that were passed over because they are no images.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    test: Split
    sha256: str
    skipped: int = 0

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean of the training pixels of each channel, (3,), in [0, 1]."""
        return self._moments[0]

    @property
    def std(self) -> NDArray[np.float64]:
        """Standard deviation of the training pixels of each channel around `mean`, (3,), in [0, 0.5]."""
        return self._moments[1]

    @cached_property
    def _moments(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        # From counts of the 256 values: exact integers, so that no order of summation shows in the last digits.
        counts = np.zeros((3, 256), np.int64)
        for start in range(0, len(self.train), 1024):
            block = self.train.images[start : start + 1024]
            for channel in range(3):
                counts[channel] += np.bincount(block[..., channel].ravel(), minlength=256)
        values, pixels = np.arange(256, dtype=np.int64), int(counts[0].sum())
        first, second = counts @ values, counts @ values**2
        variance = [int(b) * pixels - int(a) ** 2 for a, b in zip(first, second, strict=True)]
        mean = np.array([int(a) / pixels / 255 for a in first])
        std = np.array([math.sqrt(v) / pixels / 255 for v in variance])
        mean.setflags(write=False)
        std.setflags(write=False)
        return mean, std


def _dataset(name: str, classes: tuple[str, ...], train: Split, test: Split, skipped: int = 0) -> Dataset:
    """Return the data set with its hash."""
    digest = hashlib.sha256(b"lcrbench data 1\n")
    digest.update(json.dumps([classes, train.images.shape, test.images.shape]).encode())
    for split in (train, test):
        digest.update(split.images.data)
        digest.update(split.labels.astype("<i8").data)
    return Dataset(name, classes, train, test, digest.hexdigest(), skipped)


# ------------------------------------------------------------------------------------------------------- the two doors


def names() -> dict[str, str]:
    """Return the built-in data sets: name and one line about it."""
    return {name: summary for name, (summary, _) in _BUILT_IN.items()}


def load(source: str | Path = "fashion-mnist-10k", *, size: int = 32) -> Dataset:
    """Return the data set that `source` names, as images of `size` x `size` pixels.

    `source` is a built-in name or the path of a folder or archive (see the top of this module; where both exist, the name
    wins: write ./NAME for the path).

    Sizes: 28 px images of idx files are padded with zeros to 32 px; grey becomes three equal channels. An image that is
    not `size` px square then has its shorter side resized to `size` (bilinear, antialiased) and its centre cropped, by the
    rounding rules of torchvision's `Resize` and `CenterCrop`. Files are read as 8-bit RGB: transparency is dropped, EXIF
    rotation is not applied, only the first of several frames is used.

    Order: idx files keep theirs; files are sorted by class and then by path, numbers in a name by value (2 before 10).
    Labels number the classes in that same order.

    Raises `UserError` if there is no such data, or it is empty, truncated, damaged, of a wrong hash, or its training and
    test classes differ.
    """
    if not 1 <= size <= 1024:
        raise UserError(f"image size {size} is out of range: give 1 to 1024 pixels")
    if str(source) in _BUILT_IN:
        return _BUILT_IN[str(source)][1](size)
    path = Path(source).expanduser()
    if not path.exists():
        looks_like_path = len(path.parts) > 1 or str(source).startswith((".", "~")) or path.suffix
        if looks_like_path:
            raise UserError(f"there is no data at '{source}': give the path of a folder or archive, or a built-in name")
        error = unknown("data set", str(source), names())
        raise UserError(f"{error} (or the path of a folder or archive)")
    if path.is_dir() and (files := find_idx(path)):
        return _load_idx_folder(path, files, size)
    raise UserError(f"{path}: class folders and archives are not read yet")


def take(dataset: Dataset, train: int | None, test: int | None, seed: int) -> Dataset:
    """Return a class-balanced random subset of `train` and `test` images; None keeps that split whole.

    Each class gives the same number of images (where the number does not divide, the first classes give one more), in the
    order they have in `dataset`. The choice depends on `seed` and the positions alone, and a smaller subset is part of a
    larger one of the same seed. The name tells: `NAME[train=5000,test=1000,seed=0]`.

    Raises `UserError` if a class has too few images, or there are more classes than images asked for.
    """
    if train is None and test is None:
        return dataset
    # Two streams, so that the choice of test images does not hang on how the training images were chosen.
    chosen = [
        split if number is None else _take(dataset, split, number, which, np.random.SeedSequence([seed, stream]))
        for stream, (which, split, number) in enumerate(
            (("training", dataset.train, train), ("test", dataset.test, test))
        )
    ]
    told = ",".join(f"{key}={'all' if n is None else n}" for key, n in (("train", train), ("test", test)))
    return _dataset(f"{dataset.name}[{told},seed={seed}]", dataset.classes, chosen[0], chosen[1], dataset.skipped)


def _take(dataset: Dataset, split: Split, number: int, which: str, seed: np.random.SeedSequence) -> Split:
    """Return `number` images of a split, evenly from its classes."""
    classes = dataset.classes
    if number < len(classes):
        raise UserError(f"{number} {which} images are too few: {dataset.name} has {len(classes)} classes")
    # Raw output of the generator, whose stream numpy keeps for ever (it does not promise that for permutation()).
    rank = np.random.PCG64(seed).random_raw(len(split))
    chosen = []
    for label, name in enumerate(classes):
        wanted = number // len(classes) + (label < number % len(classes))
        positions = np.flatnonzero(split.labels == label)
        if len(positions) < wanted:
            raise UserError(
                f"{number} {which} images are too many: they need {wanted} of each class, and {dataset.name} has"
                f" {len(positions)} of '{name}'"
            )
        chosen.append(positions[np.argsort(rank[positions], kind="stable")][:wanted])
    keep = np.sort(np.concatenate(chosen))
    return Split(split.images[keep], split.labels[keep])


# ------------------------------------------------------------------------------------------------------------ idx files

# Enough for any set in this format; a small file that unpacks to more is refused before it fills the memory.
_MAX_IDX_BYTES: Final = 1 << 31

_IDX_NAMES: Final = {
    "train-images": "train-images-idx3-ubyte",
    "train-labels": "train-labels-idx1-ubyte",
    "test-images": "t10k-images-idx3-ubyte",
    "test-labels": "t10k-labels-idx1-ubyte",
}


class _Readable(Protocol):
    """An open binary file, as far as it is used here."""

    def read(self, size: int, /) -> bytes: ...


def find_idx(folder: Path) -> dict[str, Path]:
    """Return the four idx files of a folder by part ("train-images", ...), or nothing if it holds none.

    They may be gzipped, and lie in the folder itself, in `raw/`, `FashionMNIST/raw/` or `MNIST/raw/`. Raises `UserError`
    if some of the four are there and others are not.
    """
    for place in (folder, folder / "raw", folder / "FashionMNIST" / "raw", folder / "MNIST" / "raw"):
        found: dict[str, Path] = {}
        for part, name in _IDX_NAMES.items():
            for path in (place / name, place / f"{name}.gz"):
                if path.is_file():
                    found.setdefault(part, path)
        if found:
            for part, name in _IDX_NAMES.items():
                if part not in found:
                    raise UserError(f"{place / name} (or .gz) is missing: the set needs all four idx files")
            return found
    return {}


def read_idx(path: Path) -> tuple[Images, str]:
    """Return the uint8 array in an idx file, gzipped if its name ends in .gz, and the sha256 of its plain content.

    The array has the shape that the file states, such as (N, 28, 28) or (N,). Raises `UserError` if the file is empty,
    truncated, too long, damaged, or not an idx file of bytes.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return _parse_idx(file, path)
    except UserError:
        raise
    except Exception as error:  # gzip, zlib and the file system each have exceptions of their own
        raise UserError(f"{path} is truncated or damaged ({error}): get it again") from error


def _parse_idx(file: _Readable, path: Path) -> tuple[Images, str]:
    """Return array and hash of an open idx file: zero, zero, 8 (bytes), number of axes, their lengths, the values."""
    head = file.read(4)
    if not head:
        raise UserError(f"{path} is empty: get it again")
    if len(head) < 4 or head[:3] != b"\0\0\x08" or head[3] not in (1, 3):
        raise UserError(f"{path} is not an idx file of bytes (it starts with {head.hex(' ')})")
    sizes = file.read(4 * head[3])
    if len(sizes) < 4 * head[3]:
        raise UserError(f"{path} is truncated within its header: get it again")
    shape = tuple(int(n) for n in np.frombuffer(sizes, ">u4"))
    expected = math.prod(shape)
    if expected > _MAX_IDX_BYTES:
        raise UserError(f"{path} states a shape of {shape}: more than {_MAX_IDX_BYTES >> 30} GiB, so it looks damaged")
    values = file.read(expected)
    if len(values) < expected:
        raise UserError(f"{path} is truncated: {len(values)} of {expected} values are there; get it again")
    if file.read(1):
        raise UserError(f"{path} is longer than the shape {shape} that it states: it looks damaged, get it again")
    digest = hashlib.sha256(head + sizes)
    digest.update(values)
    return np.frombuffer(values, np.uint8).reshape(shape), digest.hexdigest()


def _load_fashion_10k(size: int) -> Dataset:
    """Load the embedded subset of Fashion-MNIST (arXiv 1708.07747); `tools/make_fashion_subset.py` makes it."""
    folder = Path(str(package_files("lcrbench.bench.fashion")))
    try:
        expected = json.loads((folder / "sha256.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{folder / 'sha256.json'} is missing or damaged: install lcrbench again") from error
    arrays = []
    for name in (f"{split}-{kind}.gz" for split in ("train", "test") for kind in ("images.idx3", "labels.idx1")):
        array, digest = read_idx(folder / name)
        if digest != expected.get(name):
            raise UserError(f"{folder / name} has the wrong sha256 ({digest[:12]}...): install lcrbench again")
        arrays.append(array)
    return _from_idx("fashion-mnist-10k", FASHION_CLASSES, arrays, size)


def _load_idx_folder(folder: Path, files: dict[str, Path], size: int) -> Dataset:
    """Load four idx files; those of Fashion-MNIST are known by their hashes."""
    read = {part: read_idx(path) for part, path in files.items()}
    for split in ("train", "test"):
        images, labels = read[f"{split}-images"][0], read[f"{split}-labels"][0]
        if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels) or not images.size:
            raise UserError(
                f"{files[f'{split}-images']} of shape {images.shape} and {files[f'{split}-labels'].name} of shape"
                f" {labels.shape} do not belong together: get both again"
            )
    arrays = [read[part][0] for part in ("train-images", "train-labels", "test-images", "test-labels")]

    known = {part: digest == FASHION_MNIST_SHA256[part] for part, (_, digest) in read.items()}
    if all(known.values()):
        return _from_idx("fashion-mnist", FASHION_CLASSES, arrays, size)
    # The labels' hashes are left out: those files are so small and regular that other sets may well share them.
    if known["train-images"] or known["test-images"]:
        wrong = next(part for part, ok in known.items() if not ok)
        raise UserError(
            f"{files[wrong]} has the wrong sha256, though files beside it are Fashion-MNIST's: get it again"
        )

    classes = tuple(str(label) for label in range(int(max(arrays[1].max(), arrays[3].max())) + 1))
    for part in ("train-labels", "test-labels"):
        for label in sorted(set(range(len(classes))) - set(read[part][0].tolist())):
            raise UserError(f"{files[part]} has no image of class {label}, though labels go up to {len(classes) - 1}")
    return _from_idx(folder.resolve().name, classes, arrays, size)


def _from_idx(name: str, classes: tuple[str, ...], arrays: list[Images], size: int) -> Dataset:
    """Return the data set of grey images and labels, [train images, train labels, test images, test labels]."""
    splits = []
    for images, labels in (arrays[:2], arrays[2:]):
        if images.shape[1:] == (28, 28):
            images = np.pad(images, ((0, 0), (2, 2), (2, 2)))
        if images.shape[1:] != (size, size):
            images = np.stack([np.asarray(_fit(Image.fromarray(image), size)) for image in images])
        splits.append(Split(np.repeat(images[..., None], 3, axis=3), labels.astype(np.int64)))
    return _dataset(name, classes, splits[0], splits[1])


# ----------------------------------------------------------------------------------------------------------- one image

# A photograph of this many pixels is rare; a file of a few kB that unpacks to more is an attack or a mistake.
_MAX_PIXELS: Final = 1 << 26


def _fit(image: Image.Image, size: int) -> Image.Image:
    """Return the image with its shorter side resized to `size` (bilinear, antialiased), and the centre cropped."""
    width, height = image.size
    if (width, height) == (size, size):
        return image
    short = min(width, height)
    # torchvision's rounding: Resize truncates the longer side, CenterCrop rounds its margins half to even.
    wide, high = (size, size * height // width) if width == short else (size * width // height, size)
    if wide * high > _MAX_PIXELS:
        raise UserError(f"it is {width} x {height} px: too oblong to resize")
    left, top = round((wide - size) / 2), round((high - size) / 2)
    resized = image.resize((wide, high), Image.Resampling.BILINEAR)
    return resized.crop((left, top, left + size, top + size))


_BUILT_IN: Final[dict[str, tuple[str, Callable[[int], Dataset]]]] = {
    "fashion-mnist-10k": (
        "10,000 + 2,000 pictures of clothes in 10 classes, grey, 32 px: a balanced subset of Fashion-MNIST, embedded",
        _load_fashion_10k,
    ),
}
