"""Loads labelled images: the embedded default, idx files, folders of class folders, and archives of such folders.

Whatever the source, the result is the same thing: a `Dataset` of square RGB images in uint8, in an order that depends on
the names and on nothing else, with a hash of what was decoded. Bad data raises `UserError`, in one line that names the
file; nothing is guessed, repaired or left out silently.

    source                                    read as
    a built-in name (`names()`)               the data embedded in this package
    folder with train-images-idx3-ubyte ...   Fashion-MNIST or another set in MNIST's format, gzipped or not
    folder with train/ and test/ (or val/)    class folders of image files (test/ goes before val/)
    folder with train.tar.xz and test.tar.xz  archives (tar, tar.gz, tar.xz, tar.bz2, zip) of class folders
    one archive with train/ and test/         the same in one file
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
import math
import os
import re
import shutil
import stat
import tarfile
import tempfile
import unicodedata
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.resources import files as package_files
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final, NamedTuple, NoReturn, Protocol, cast

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

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

    Archives are not unpacked to disk. Those of 10,000 images or more are decoded once and then kept in the user's cache
    folder ($XDG_CACHE_HOME/lcrbench, or ~/.cache/lcrbench), checked by their hash, and safe to delete.

    Raises `UserError` if there is no such data, or it is empty, truncated, damaged, of a wrong hash, or its training and
    test classes differ.
    """
    if not 1 <= size <= 1024:
        raise UserError(f"image size {size} is out of range: give 1 to 1024 pixels")
    if str(source) in _BUILT_IN:
        return _BUILT_IN[str(source)][1](size)
    try:
        path = Path(source).expanduser()
        if path.exists():
            return _load_path(path, size)
    except OSError as error:
        raise UserError(f"{error.filename or source} cannot be read ({error.strerror}): check the path") from error
    if len(path.parts) > 1 or path.suffix or str(source).startswith((".", "~")):
        raise UserError(f"there is no data at '{source}': give the path of a folder or archive, or a built-in name")
    raise UserError(f"{unknown('data set', str(source), names())} (or the path of a folder or archive)")


def take(dataset: Dataset, train: int | None, test: int | None, seed: int) -> Dataset:
    """Return a class-balanced random subset of `train` and `test` images; None keeps that split whole.

    Each class gives the same number of images (where the number does not divide, the first classes give one more), in the
    order they have in `dataset`. The choice depends on `seed` and the positions alone, and a smaller subset is part of a
    larger one of the same seed. The name tells: `NAME[train=5000,test=1000,seed=0]`.

    Raises `UserError` if a class has too few images, there are more classes than images asked for, or the seed is
    negative.
    """
    if train is None and test is None:
        return dataset
    if seed < 0:
        raise UserError(f"seed {seed} is negative: give 0 or more")
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
    with _damage_told(path), gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        return _parse_idx(file, path)


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
    arrays = []
    try:
        expected = json.loads((folder / "sha256.json").read_text(encoding="utf-8"))
        for name in ("train-images.idx3.gz", "train-labels.idx1.gz", "test-images.idx3.gz", "test-labels.idx1.gz"):
            array, digest = read_idx(folder / name)
            if digest != expected[name]:
                raise UserError(f"{name} has the wrong sha256")
            arrays.append(array)
    except (OSError, ValueError, LookupError) as error:
        raise UserError(f"the embedded data in {folder} is damaged ({error}): install lcrbench again") from error
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


# ----------------------------------------------------------------------------------------- folders and archives of files

_IMAGE_SUFFIXES: Final = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff"}
_IMAGE_FORMATS: Final = ("PNG", "JPEG", "BMP", "WEBP", "PPM", "TIFF")

_ARCHIVE_SUFFIXES: Final = (".tar.xz", ".tar", ".tar.gz", ".zip", ".tar.bz2", ".txz", ".tgz", ".tbz2")

# The largest file in an archive: images of data sets are far smaller, and what is larger may never end.
_MAX_FILE_BYTES: Final = 1 << 26

_EXPECTED: Final = (
    "expected train/ and test/ (or val/) with one folder of images a class, archives of these, or four idx files"
)

_Parts = tuple[str, ...]


class _Member(NamedTuple):
    """A file or folder of a tree; a file's `read` is to be called before the next member is asked for."""

    path: str
    where: str
    read: Callable[[], bytes] | None  # None: a folder


class _Tree(NamedTuple):
    """What a folder or archive holds, by path: decoded images, and its folders (they tell of classes without images)."""

    images: dict[_Parts, Images]
    folders: set[_Parts]
    skipped: int


def _load_path(path: Path, size: int) -> Dataset:
    """Load what lies at an existing path, whichever form it has."""
    if not path.is_dir():
        return _load_trees(_stem(path), (path,), size)
    if files := find_idx(path):
        return _load_idx_folder(path, files, size)
    train, test = _find(path, "train"), _find(path, "test") or _find(path, "val")
    name = path.resolve().name
    if train and test:
        return _load_trees(name, (train, test), size)
    if train or test:
        lacking = "train/" if test else "test/ or val/"
        raise UserError(f"{path} has {(train or test or path).name} but no {lacking} (or archive of it) beside it")
    content = sorted(entry.name for entry in path.iterdir())
    archives = [entry for entry in content if entry.endswith(_ARCHIVE_SUFFIXES)]
    if len(archives) == 1:
        return _load_trees(name, (path / archives[0],), size)
    raise UserError(f"{path} {'holds no data to read' if content else 'is empty'}: {_EXPECTED}")


def _find(folder: Path, name: str) -> Path | None:
    """Return the folder of this name, or else the archive, if `folder` has one."""
    candidates = [folder / name, *(folder / f"{name}{suffix}" for suffix in _ARCHIVE_SUFFIXES)]
    return next((path for path in candidates if (path.is_dir() if path.name == name else path.is_file())), None)


def _stem(archive: Path) -> str:
    """Return the name of an archive without what says its format."""
    name = archive.resolve().name
    return next((name.removesuffix(suffix) for suffix in _ARCHIVE_SUFFIXES if name.endswith(suffix)), name)


def _load_trees(name: str, sources: tuple[Path, ...], size: int) -> Dataset:
    """Load a training and a test tree, or one archive of both; archives are decoded once and then kept in the cache."""
    cache = None if any(path.is_dir() for path in sources) else _cache_folder(sources, size)
    if cache and (cached := _from_cache(cache, name)):
        return cached

    trees = [_read_tree(path, size) for path in sources]
    wheres = [str(path) for path in sources]
    if len(trees) == 1:
        trees, wheres = _halves(trees[0], wheres[0])
    train, test = (_by_class(tree, where) for tree, where in zip(trees, wheres, strict=True))
    for one, other, here, there in ((train, test, *wheres), (test, train, *reversed(wheres))):
        if lacking := [f"'{label}'" for label in one if label not in other]:
            raise UserError(
                f"{there} lacks {len(lacking)} of the class folders of {here}: {', '.join(lacking[:3])}"
                f"{' ...' if len(lacking) > 3 else ''}; training and test need the same classes"
            )
    dataset = _dataset(
        name, tuple(train), _stack(train, size), _stack(test, size), skipped=sum(tree.skipped for tree in trees)
    )
    if cache and len(dataset.train) + len(dataset.test) >= _CACHE_FROM:
        _to_cache(cache, dataset)
    return dataset


def _read_tree(source: Path, size: int) -> _Tree:
    """Decode all images of a folder or archive, in one pass and without unpacking to disk."""
    images: dict[_Parts, Images] = {}
    folders: set[_Parts] = set()
    skipped = 0
    for member in _folder_members(source) if source.is_dir() else _archive_members(source):
        # macOS writes accents as two characters, others as one: the same name must be the same class.
        parts = PurePosixPath(unicodedata.normalize("NFC", member.path)).parts
        if ".." in parts or member.path.startswith("/"):
            raise UserError(f"{member.where} points outside of the archive: make the archive again with plain paths")
        if not parts and member.read:
            raise UserError(f"{source} holds a file without a name: make the archive again")
        hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
        if member.read is None:
            if not hidden:
                folders.add(parts)
        elif hidden or PurePosixPath(parts[-1]).suffix.lower() not in _IMAGE_SUFFIXES:
            skipped += 1
        elif parts in images:
            raise UserError(f"{member.where} is there twice: make the archive again")
        else:
            with _damage_told(source):
                content = member.read()
            images[parts] = _decode(content, member.where, size)
    return _Tree(images, folders, skipped)


def _depth(tree: _Tree) -> int:
    """Return how many folders all images lie in together, such as 1 where an archive holds nothing but `train/`."""
    parents = {path[:-1] for path in tree.images}
    above = {folder[:depth] for folder in parents | tree.folders for depth in range(len(folder))}
    places = parents | (tree.folders - above)
    shared = 0
    for level in zip(*places, strict=False):
        if len(set(level)) > 1:
            break
        shared += 1
    return shared


def _halves(tree: _Tree, where: str) -> tuple[list[_Tree], list[str]]:
    """Return the training and test trees of an archive that holds both, and what to call them."""
    depth = _depth(tree)
    tops = {path[depth] for path in tree.images if len(path) > depth + 1}
    test = "test" if "test" in tops else "val"
    if not {"train", test} <= tops:
        raise UserError(f"{where} holds no images in train/ and test/ (or val/): {_EXPECTED}")
    trees = [
        _Tree(
            {path[depth + 1 :]: image for path, image in tree.images.items() if path[depth] == top},
            {folder[depth + 1 :] for folder in tree.folders if folder[depth : depth + 1] == (top,)},
            0,
        )
        for top in ("train", test)
    ]
    others = len(tree.images) - sum(len(half.images) for half in trees)
    return [trees[0]._replace(skipped=tree.skipped + others), trees[1]], [f"{where}: train", f"{where}: {test}"]


def _by_class(tree: _Tree, where: str) -> dict[str, list[Images]]:
    """Return the images of each class: the folders beneath the one that all images lie in; both in natural order."""
    if not tree.images:
        raise UserError(f"{where} holds no images: {_EXPECTED}")
    depth = _depth(tree)
    found: dict[str, list[_Parts]] = {folder[depth]: [] for folder in tree.folders if len(folder) > depth}
    for path in tree.images:
        if len(path) < depth + 2:
            raise UserError(f"{where}: {'/'.join(path)} lies in no class folder: {_EXPECTED}, at least two classes")
        found.setdefault(path[depth], []).append(path)
    for label, paths in found.items():
        if not paths:
            raise UserError(f"{where}: class folder '{label}' holds no images: fill it, or remove it from both sets")
        if not label.isprintable():
            raise UserError(f"{where}: class folder {label!a} is not named in plain UTF-8: rename it")
    return {
        label: [tree.images[path] for path in sorted(found[label], key=_natural)]
        for label in sorted(found, key=lambda label: _natural((label,)))
    }


def _natural(path: _Parts) -> tuple[object, ...]:
    """Return a sorting key: folder by folder, runs of digits by their value, ties ("1", "01") by the plain text."""
    return tuple(tuple(_run(text) for text in _DIGITS.split(part) if text) for part in path), path


def _run(text: str) -> tuple[bool, int, str]:
    """Return the key of digits or of other text; digits sort first, and as (length, digits) may be of any length."""
    digits = text.lstrip("0")
    return (False, len(digits), digits) if _DIGITS.match(text) else (True, 0, text)


_DIGITS: Final = re.compile("([0-9]+)")


def _stack(classes: dict[str, list[Images]], size: int) -> Split:
    """Return the images of all classes as one split, class after class."""
    labels = np.repeat(np.arange(len(classes), dtype=np.int64), [len(images) for images in classes.values()])
    stacked = np.empty((len(labels), size, size, 3), np.uint8)
    for i, image in enumerate(image for images in classes.values() for image in images):
        stacked[i] = image
    return Split(stacked, labels)


def _folder_members(root: Path) -> Iterator[_Member]:
    """Yield what lies beneath a folder; links are followed."""

    def fail(error: OSError) -> NoReturn:
        raise error

    for place, folders, files in os.walk(root, onerror=fail, followlinks=True):
        folders.sort()
        here = Path(place)
        depth = len(here.relative_to(root).parts)
        if depth > 32:
            raise UserError(f"{place} lies too deep: remove the link that leads back to a folder above it")
        if depth:
            yield _Member(here.relative_to(root).as_posix(), place, None)
        for file in sorted(files):
            yield _Member(
                (here / file).relative_to(root).as_posix(), str(here / file), partial(_read_file, here / file)
            )


def _read_file(path: Path) -> bytes:
    """Return the content of an image file of ordinary size."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"{path} is no regular file: remove it")
    _check_size(str(path), status.st_size)
    return path.read_bytes()


def _inside(archive: Path, name: str) -> str:
    """Return what to call a member in an error: a strange name must not break the line or the terminal."""
    return f"{archive}: {name if name.isprintable() else ascii(name)}"


def _check_size(where: str, size: int) -> None:
    if size > _MAX_FILE_BYTES:
        raise UserError(f"{where} has {size:,} bytes, more than {_MAX_FILE_BYTES >> 20} MiB: remove it")


@contextmanager
def _damage_told(path: Path) -> Iterator[None]:
    """Turn what goes wrong while `path` is read into the error that tells the user."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # gzip, lzma, tarfile and zipfile have dozens between them
        if isinstance(error, OSError) and error.errno:
            raise  # no permission, no such file ...: `load` tells of it
        raise UserError(f"{path} is truncated or damaged ({error or type(error).__name__}): get it again") from error


def _archive_members(path: Path) -> Iterator[_Member]:
    """Yield the members of an archive, whose format is told from its first bytes and not from its name."""
    openers: dict[bytes, Callable[[Path], Any]] = {
        b"\xfd7zXZ\0": lzma.open,
        b"\x1f\x8b": gzip.open,
        b"BZh": bz2.open,
    }
    with _damage_told(path):
        with path.open("rb") as file:
            head = file.read(512)
        if not head:
            raise UserError(f"{path} is empty: get it again")
        if head.startswith(b"PK"):
            yield from _zip_members(path)
            return
        unpack = next((opener for magic, opener in openers.items() if head.startswith(magic)), None)
        if unpack is None and head[257:262] != b"ustar":
            raise UserError(f"{path} is neither a tar (plain, xz, gz, bz2) nor a zip archive: {_EXPECTED}")
        with unpack(path) if unpack else path.open("rb") as file:
            yield from _tar_members(path, _Stream(file, path))


class _Stream:
    """An unpacked tar: read forward only, and never a block so large that it must be a bomb."""

    def __init__(self, file: _Readable, path: Path) -> None:
        self.file = file
        self.path = path
        self.position = 0

    def read(self, size: int) -> bytes:
        # tarfile reads the headers of long names at once, as large as they say that they are.
        _check_size(f"{self.path}: a member or its header", size - tarfile.BLOCKSIZE)
        data = self.file.read(size)
        self.position += len(data)
        return data

    def tell(self) -> int:
        return self.position

    def seek(self, position: int) -> None:
        while self.position < position and self.read(min(position - self.position, 1 << 20)):
            pass

    def read_exactly(self, size: int) -> bytes:
        data = self.read(size)
        if len(data) < size:
            raise EOFError("it ends within a file")
        return data


def _tar_members(path: Path, stream: _Stream) -> Iterator[_Member]:
    """Yield the members of an unpacked tar. What tarfile lets pass for the end of an archive is looked at closely."""
    with tarfile.open(fileobj=cast(IO[bytes], stream), mode="r:", errorlevel=2) as tar:
        for member in tar:
            where = _inside(path, member.name)
            if member.isdir():
                yield _Member(member.name, where, None)
            elif member.islnk() or member.issym() or member.issparse():
                raise UserError(f"{where} is a link or a sparse file: make the archive again with plain files")
            else:
                _check_size(where, member.size)
                yield _Member(member.name, where, partial(stream.read_exactly, member.size))
        # tarfile stops without a word at a damaged header, and where the file just ends; a whole archive goes on with
        # nothing but zeros. Reading them also checks the checksum of the compressed file.
        if stream.tell() < tar.offset + tarfile.BLOCKSIZE:
            raise EOFError("its end is missing")
    while rest := stream.read(1 << 20):
        if rest.strip(b"\0"):
            raise EOFError("a header in it is wrong")


def _zip_members(path: Path) -> Iterator[_Member]:
    """Yield the members of a zip archive; each is checked against its CRC when it is read."""

    def read(info: zipfile.ZipInfo) -> bytes:
        with archive.open(info) as file:
            return file.read(info.file_size + 1)  # with a bound, since the stated size may be a lie

    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            where = _inside(path, info.filename)
            if info.is_dir():
                yield _Member(info.filename, where, None)
            else:
                _check_size(where, info.file_size)
                yield _Member(info.filename, where, partial(read, info))


# --------------------------------------------------------------------------------------------------------------- cache

# Decoding this many small images takes a few seconds; below it, a cache is not worth its place on the disk.
_CACHE_FROM: Final = 10_000

_ARRAYS: Final = ("train-images", "train-labels", "test-images", "test-labels")


def _cache_folder(archives: tuple[Path, ...], size: int) -> Path:
    """Return where the decoded content of these archives is kept, under the user's cache folder."""
    key = hashlib.sha256(f"1 {size} {PIL.__version__}".encode())
    for path in archives:
        with path.open("rb") as file:
            key.update(hashlib.file_digest(file, "sha256").digest())
    base = os.environ.get("XDG_CACHE_HOME", "")
    home = Path(base) if os.path.isabs(base) else Path(os.path.expanduser("~"), ".cache")
    return home / "lcrbench" / "data" / key.hexdigest()[:32]


def _from_cache(folder: Path, name: str) -> Dataset | None:
    """Return the data set kept in the cache, or None if there is none or it is not what was written."""
    try:
        told = json.loads((folder / "content.json").read_text(encoding="utf-8"))
        arrays = [np.load(folder / f"{part}.npy", allow_pickle=False) for part in _ARRAYS]
        train, test = Split(arrays[0], arrays[1]), Split(arrays[2], arrays[3])
        dataset = _dataset(name, tuple(told["classes"]), train, test, told["skipped"])
        return dataset if dataset.sha256 == told["sha256"] else None
    except (OSError, ValueError, EOFError, KeyError, TypeError):
        return None


def _to_cache(folder: Path, dataset: Dataset) -> None:
    """Keep a data set in the cache; without room or permission for it, warn and go on."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, ignore_cleanup_errors=True) as unfinished:
            new = Path(unfinished, "new")
            new.mkdir()
            for part, split in (("train", dataset.train), ("test", dataset.test)):
                np.save(new / f"{part}-images.npy", split.images)
                np.save(new / f"{part}-labels.npy", split.labels)
            told = {"classes": dataset.classes, "skipped": dataset.skipped, "sha256": dataset.sha256}
            (new / "content.json").write_text(json.dumps(told), encoding="utf-8")
            # Whole or not at all. What lies there by now was damaged, or another process has just written the same.
            shutil.rmtree(folder, ignore_errors=True)
            new.rename(folder)
    except OSError as error:
        if not folder.exists():
            warnings.warn(f"the decoded images could not be cached in {folder.parent}: {error}", stacklevel=2)


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
        raise UserError(f"it is {width} x {height} px, too oblong to resize")
    left, top = round((wide - size) / 2), round((high - size) / 2)
    resized = image.resize((wide, high), Image.Resampling.BILINEAR)
    return resized.crop((left, top, left + size, top + size))


def _decode(content: bytes, where: str, size: int) -> Images:
    """Return the image in a file as (size, size, 3)."""
    try:
        with Image.open(io.BytesIO(content), formats=_IMAGE_FORMATS) as image:
            if image.width * image.height > _MAX_PIXELS:
                raise UserError(f"it is {image.width} x {image.height} px, more than {_MAX_PIXELS:,} in all")
            if image.mode.startswith(("I", "F")):
                raise UserError("it has more than 8 bits a channel: convert it")
            return np.asarray(_fit(image.convert("RGB"), size))
    except UnidentifiedImageError as error:
        raise UserError(f"{where} is damaged: it is none of {', '.join(_IMAGE_FORMATS)}; get it again") from error
    except UserError as error:
        raise UserError(f"{where} cannot be used: {error}") from error
    except Exception as error:  # each of Pillow's decoders fails in its own way
        raise UserError(f"{where} is damaged ({error}): get it again") from error


_BUILT_IN: Final[dict[str, tuple[str, Callable[[int], Dataset]]]] = {
    "fashion-mnist-10k": (
        "10,000 + 2,000 photographs of clothes in 10 classes, grey, 32 px: a balanced subset of Fashion-MNIST, embedded",
        _load_fashion_10k,
    ),
}
