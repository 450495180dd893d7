"""What every data source returns: a `Dataset` of two `Split`s, with the hashes that identify them.

This module needs numpy alone, so that the training loop does not depend on decoders.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]
Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Split:
    """Images (N, H, W, 3), uint8, C-contiguous, and labels (N,), int64, from 0; both read-only.

    Raises `ValueError` for arrays of another shape or type.
    """

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
    whole data set.
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

    @cached_property
    def sha256(self) -> str:
        """Hash of what was decoded: classes, sizes, pixels and labels of both splits.

        The same tree gives the same hash as a folder, a tar or a zip, wherever it lies.
        """
        digest = hashlib.sha256(b"lcrbench data 1\n")
        digest.update(json.dumps([self.classes, self.train.images.shape, self.test.images.shape]).encode())
        for split in (self.train, self.test):
            digest.update(split.images.data)
            digest.update(split.labels.astype("<i8").data)
        return digest.hexdigest()

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
        """Mean of the training pixels of each channel, (3,), in [0, 1]."""
        return self._moments[0]

    @property
    def std(self) -> NDArray[np.float64]:
        """Standard deviation of the training pixels of each channel around `mean`, (3,), in [0, 0.5]."""
        return self._moments[1]

    @cached_property
    def _moments(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        # From counts of the 256 values: the sums are exact integers, so their order cannot change the last digits.
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


def _split_sha256(classes: tuple[str, ...], split: Split) -> str:
    digest = hashlib.sha256(b"lcrbench split 1\n")
    digest.update(json.dumps([classes, split.images.shape]).encode())
    digest.update(split.images.data)
    digest.update(split.labels.astype("<i8").data)
    return digest.hexdigest()


def _read_only(indices: Indices) -> Indices:
    indices.setflags(write=False)
    return indices
