"""What every data source returns: a `Dataset` of two `Split`s, with the hashes that identify them.

This module needs numpy alone, so that the training loop does not depend on decoders.
"""

from __future__ import annotations

import hashlib
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]
Indices = NDArray[np.int64]
HashKind = Literal["pixels", "manifest"]
"""What the hashes of a data set are of: what was decoded, or a list of its files (name, size, hash of the bytes)."""

_CHUNK = 1024


class Streamed(ABC):
    """Images (N, size, size, 3), uint8, that stay in their files: each is decoded and fitted when it is asked for.

    It stands where an array of images stands: `images[3:5]`, `images[[4, 1]]` and `images[7]` are arrays, and so is
    `images[:]`, all of it. Raises `UserError` when a file is damaged, or has changed since it was listed.
    """

    size: int

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Return (N, size, size, 3)."""
        return len(self), self.size, self.size, 3

    @property
    def nbytes(self) -> int:
        """Return how many bytes the decoded images would take."""
        return len(self) * self.size * self.size * 3

    def __iter__(self) -> Iterator[Images]:
        return (self[i] for i in range(len(self)))

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, key: Any, /) -> Images:
        """Return one image by its number, or several by a slice, numbers or a boolean mask, as of an array."""

    @abstractmethod
    def original(self, number: int) -> Images:
        """Return one image as its file has it, (H, W, 3)."""

    @abstractmethod
    def content(self, number: int) -> bytes:
        """Return the bytes of one image's file."""

    @abstractmethod
    def part(self, where: NDArray[Any]) -> Streamed:
        """Return some of the images, by their numbers or a boolean mask, without reading any."""

    @abstractmethod
    def manifest(self) -> bytes:
        """Return 32 bytes for each image, in order: the hash of its file's name, size and hash of its bytes."""


@dataclass(frozen=True, eq=False)
class Split:
    """Images (N, H, W, 3), uint8, and labels (N,), int64, from 0; both read-only.

    Images are a C-contiguous array, or `Streamed`. Raises `ValueError` for arrays of another shape or type.
    """

    images: Images | Streamed
    labels: Labels

    def __post_init__(self) -> None:
        labels = np.ascontiguousarray(self.labels).view()
        if labels.dtype != np.int64 or labels.shape != (len(self.images),):
            raise ValueError(f"labels must be ({len(self.images)},) of int64, not {labels.shape} of {labels.dtype}")
        # Views, so that the caller's own arrays stay as they are.
        labels.setflags(write=False)
        object.__setattr__(self, "labels", labels)
        if isinstance(self.images, Streamed):
            return
        images = np.ascontiguousarray(self.images).view()
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
            raise ValueError(f"images must be (N, H, W, 3) of uint8, not {images.shape} of {images.dtype}")
        images.setflags(write=False)
        object.__setattr__(self, "images", images)

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, where: NDArray[Any]) -> Split:
        """Return some of the images, by their numbers or a boolean mask; streamed ones stay in their files."""
        images = self.images.part(where) if isinstance(self.images, Streamed) else self.images[where]
        return Split(images, self.labels[where])


@dataclass(frozen=True, eq=False)
class Part:
    """What a subset was taken from, and what was asked for.

    `sha256` and `test_sha256` are those of the whole data set. `test_indices`, (n,) int64, ascending, are the positions of
    the subset's test images in the whole test split. `train`, `test` and `seed` are the arguments of the last `take`; None
    stands for a split that was kept whole.
    """

    sha256: str
    test_sha256: str
    test_indices: Indices
    train: int | None
    test: int | None
    seed: int


@dataclass(frozen=True, eq=False)
class TestImages:
    """A test set without training images, such as CIFAR-10.1: its labels number `classes`, ids of the label space `space`.

    The other fields are those of a `Dataset`.
    """

    __test__ = False  # not a test class

    name: str
    classes: tuple[str, ...]
    split: Split
    space: str = "own"
    layout: str = ""
    reasons: tuple[tuple[str, int], ...] = ()
    published: bool | None = None

    @cached_property
    def sha256(self) -> str:
        """Hash of what was decoded: classes, sizes, pixels, labels; a data set's `test_sha256` of the same images."""
        return _split_sha256(self.classes, self.split)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A named set of labelled images, for training and for testing.

    Labels number `classes`, which are the ids of a label space where one is declared (`spaces.SPACES`: `cifar10`, or
    `imagenet1k`, whose ids are WordNet's), and names of this data set alone in the space "own". The order of classes is
    that of the space, never that of folders.

    `skipped` counts the files that were passed over because they are no images, and `reasons` says why, with the number of
    each. `layout` is the name of the source that read it. `published` tells whether the files are those that were
    published, by their hashes; None: no hashes are known. `part` says of a subset what it was taken from; None: this is a
    whole data set. `resize` is the shorter side in pixels from whose middle the test images were cut; None: they were
    resized to the size that they have.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    test: Split
    skipped: int = 0
    part: Part | None = None
    space: str = "own"
    layout: str = ""
    reasons: tuple[tuple[str, int], ...] = ()
    published: bool | None = None
    resize: int | None = None

    @property
    def hash_kind(self) -> HashKind:
        """What the hashes are of: pixels, or a manifest where the images of a split are streamed."""
        streamed = any(isinstance(split.images, Streamed) for split in (self.train, self.test))
        return "manifest" if streamed else "pixels"

    @cached_property
    def sha256(self) -> str:
        """Hash of what was decoded: classes, sizes, pixels and labels of both splits; of streamed images the manifest.

        The same tree gives the same hash as a folder, a tar or a zip, wherever it lies.
        """
        return _sha256("data", self.classes, self.train, self.test)

    @cached_property
    def train_sha256(self) -> str:
        """Hash of the training split alone: classes, sizes, pixels, labels."""
        return _split_sha256(self.classes, self.train)

    @cached_property
    def test_sha256(self) -> str:
        """Hash of the test split alone: classes, sizes, pixels, labels."""
        return _split_sha256(self.classes, self.test)

    @property
    def whole_sha256(self) -> str:
        """`sha256` of the data set that this one is a part of; its own if it is whole."""
        return self.part.sha256 if self.part else self.sha256

    @property
    def whole_test_sha256(self) -> str:
        """`test_sha256` of the data set that this one is a part of; its own if it is whole."""
        return self.part.test_sha256 if self.part else self.test_sha256

    @cached_property
    def test_indices(self) -> Indices:
        """Positions of the test images in the whole test split, (n,), int64, ascending; 0..n-1 of a whole data set."""
        return self.part.test_indices if self.part else _read_only(np.arange(len(self.test), dtype=np.int64))

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean of the training pixels of each channel, (3,), in [0, 1]; `moments` says of which ones."""
        return self.moments.mean

    @property
    def std(self) -> NDArray[np.float64]:
        """Standard deviation of the training pixels of each channel around `mean`, (3,), in [0, 0.5]."""
        return self.moments.std

    @cached_property
    def moments(self) -> Moments:
        """Mean and standard deviation: of all training images; of streamed ones as `lcrbench.bench.data.files` says."""
        if isinstance(self.train.images, Streamed):
            from lcrbench.bench.data.files import moments

            return moments(self.space, self.train, self.train_sha256)
        return moments_of(self.train.images, ALL)


ALL = "all training images"


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean and standard deviation of each channel, (3,) in [0, 1], and in words of which images they are."""

    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    of: str

    def __post_init__(self) -> None:
        self.mean.setflags(write=False)
        self.std.setflags(write=False)


def moments_of(images: Images | Streamed, of: str) -> Moments:
    """Return mean and standard deviation of all pixels of images."""
    # From counts of the 256 values: the sums are exact integers, so their order cannot change the last digits.
    counts = np.zeros((3, 256), np.int64)
    for start in range(0, len(images), _CHUNK):
        block = images[start : start + _CHUNK]
        for channel in range(3):
            counts[channel] += np.bincount(block[..., channel].ravel(), minlength=256)
    values, pixels = np.arange(256, dtype=np.int64), int(counts[0].sum())
    first, second = counts @ values, counts @ values**2
    variance = [int(b) * pixels - int(a) ** 2 for a, b in zip(first, second, strict=True)]
    mean = np.array([int(a) / pixels / 255 for a in first])
    return Moments(mean, np.array([math.sqrt(v) / pixels / 255 for v in variance]), of)


def _split_sha256(classes: tuple[str, ...], split: Split) -> str:
    return _sha256("split", classes, split)


def _sha256(what: str, classes: tuple[str, ...], *splits: Split) -> str:
    """Return the hash of splits: of pixels and labels, or of the manifests and labels of streamed images."""
    streamed = any(isinstance(split.images, Streamed) for split in splits)
    digest = hashlib.sha256(f"lcrbench {'manifest of ' * streamed}{what} 1\n".encode())
    digest.update(json.dumps([classes, *(split.images.shape for split in splits)]).encode())
    for split in splits:
        images = split.images
        digest.update(images.manifest() if isinstance(images, Streamed) else images.data)
        digest.update(split.labels.astype("<i8").data)
    return digest.hexdigest()


def _read_only(indices: Indices) -> Indices:
    indices.setflags(write=False)
    return indices
