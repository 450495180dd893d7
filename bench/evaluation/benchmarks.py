"""Corruption benchmarks as test sets: their own files, or ImageNet-C's making in memory.

    published    CIFAR-10-C, ImageNet-C, Tiny-ImageNet-C, 3DCC, and C-bar, by their hashes
    mine         the same files unverified, and what `lcrbench corrupt` wrote
    generated    images that are corrupted here as ImageNet-C's script does it, and never called ImageNet-C

A benchmark's labels say whether it was made of the run's own test images. If it was not, its classes may still be those of
the network, by their ids; it is then shown without clean images.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lcrbench.bench.data.arrays import Dataset, Split
from lcrbench.bench.data.spaces import ids
from lcrbench.bench.evaluation.cells import Cells, Shows
from lcrbench.bench.records.spec import Cell, Preprocessing, Protocol, TestSet
from lcrbench.corruption_names import COMMON, SEVERITIES, SUITES
from lcrbench.corruptions.archive import open_archive, origin
from lcrbench.corruptions.opened import Archive
from lcrbench.corruptions.places import KNOWN
from lcrbench.errors import UserError

MADE: Final = {"generated": ("ImageNet-C", COMMON), "generated-bar": ("ImageNet-C-bar", SUITES["imagenet-c-bar"])}
"""What stands before a path whose images are corrupted here: the benchmark that is made, and its corruptions."""

QUALITY: Final = 85
"""Of the JPEG files of ImageNet-C and ImageNet-C-bar, whose images were corrupted before."""

IMAGENET: Final = Preprocessing(resize=256, crop=224)
_LABELS_OF: Final = {"CIFAR-10-C": "cifar10", "CIFAR-100-C": "cifar100"}
_OF_OTHER_IMAGES: Final = ("Tiny-ImageNet-C", "Tiny-ImageNet-C-extra")
_FOLDERS: Final = ("train", "test", "val")


class Other(NamedTuple):
    """A test set that can be shown: images, the protocol that names them, where cells come from, and what to tell."""

    dataset: Dataset
    protocol: Protocol
    cells: Shows
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ArchiveCells:
    """The images of a benchmark, by the positions of the clean test images that they were made of."""

    archive: Archive
    labels: NDArray[np.int64]
    classes: tuple[str, ...] | None

    def images(
        self, clean: NDArray[np.uint8], cell: Cell, indices: NDArray[np.int64], *, seed: int, stream: str
    ) -> NDArray[np.uint8]:
        """Return the images (N, H, W, 3) of a cell. Raises `UserError` if they are damaged, or of another size."""
        if not cell.corruption:
            return clean
        chosen = None if len(indices) == len(self.labels) else indices
        found, labels = self.archive.load(cell.corruption, cell.severity, chosen, classes=self.classes)
        if found.shape[1:] != clean.shape[1:]:
            raise UserError(
                f"{self.archive.path} holds images of {found.shape[1]} x {found.shape[2]} px, and the network takes"
                f" {clean.shape[1]} x {clean.shape[2]} px: train with --size {found.shape[1]}"
            )
        if not np.array_equal(labels, self.labels[indices]):
            raise UserError(f"{cell} in {self.archive.path} has other labels than the cells before: it is reordered")
        return found


@dataclass(frozen=True)
class Recompressed(Cells):
    """Images that are corrupted here and then go through a JPEG of a quality, as the files of ImageNet-C did."""

    quality: int = QUALITY

    def images(
        self, clean: NDArray[np.uint8], cell: Cell, indices: NDArray[np.int64], *, seed: int, stream: str
    ) -> NDArray[np.uint8]:
        """Return the images (N, H, W, 3) of a cell; the clean ones, which went through no JPEG here, for the clean cell."""
        from lcrbench.corruptions.codec import recompressed

        made = super().images(clean, cell, indices, seed=seed, stream=stream)
        return recompressed(made, self.quality) if cell.corruption else made


def find(path: Path) -> Archive | None:
    """Return the benchmark at a path; None if what lies there has none of its marks."""
    if not path.exists() or (path.is_dir() and any((path / folder).exists() for folder in _FOLDERS)):
        return None
    marked = path.is_dir() and any((path / f"{name}.npy").is_file() for name in ("labels", *KNOWN))
    try:
        return open_archive(path)
    except UserError as error:
        # A benchmark that is met but unusable says so itself; what holds no corruption is another kind of test set.
        telling = ("incomplete", "is compressed", "five are needed")
        if marked or (any(word in str(error) for word in telling) and "labels.npy" not in str(error)):
            raise
        return None


def of_archive(name: str, archive: Archive, dataset: Dataset, size: int, block: int) -> Other:
    """Return a benchmark as a test set of a network that was trained on `dataset`.

    Raises `UserError` if its classes are not the network's.
    """
    classes = dataset.classes if archive.layout == "tree" else None
    if classes is not None and not set(classes) <= set(archive.classes):
        lacking = sorted(set(classes) - set(archive.classes))
        raise UserError(
            f"{archive.path} has no images of {len(lacking)} classes of {dataset.name}, such as '{lacking[0]}': it is a"
            " benchmark of another data set"
        )
    labels = archive.labels_of(archive.corruptions[0], SEVERITIES[0], classes)
    benchmark, known, why = origin(archive)
    notes = (f"{archive.path.name} counts as mine: {why}",) if why else _unpacked(archive)
    differing = _differing(benchmark, archive, labels, dataset)
    if differing and not _same_classes(archive, dataset):
        raise UserError(f"{archive.path} does not belong to the test images of {dataset.name}: {differing}")
    told = name or benchmark.lower()
    identity = _identity(archive)
    part = None if differing else dataset.part
    test = TestSet(
        name=told if known else f"{told} (mine)",
        sha256=identity if differing else dataset.whole_sha256,
        size=size,
        classes=dataset.classes,
        images=len(labels),
        chosen=part.test if part else None,
        benchmark=benchmark,
        benchmark_sha256=identity,
        published=known,
        clean=not differing,
    )
    protocol = Protocol(test=test, corruptions=archive.corruptions, severities=SEVERITIES, block=block)
    shown = replace(dataset, name=test.name)
    if differing:
        # Zeros that are never read: the benchmark has no clean images.
        absent = Split(np.zeros((len(labels), size, size, 3), np.uint8), labels)
        shown = replace(shown, test=absent, part=None)
        notes = (
            *notes,
            f"{test.name}: its clean images are not the test images of {dataset.name} ({differing}), so it is shown without"
            " clean images, all of it",
        )
    return Other(shown, protocol, ArchiveCells(archive, labels, classes), notes)


def _differing(benchmark: str, archive: Archive, labels: NDArray[np.int64], dataset: Dataset) -> str:
    """Return why a benchmark was not made of the test images of a data set; empty if it was."""
    whole = dataset.part.test_indices if dataset.part else np.arange(len(dataset.test), dtype=np.int64)
    if benchmark in _OF_OTHER_IMAGES and archive.manifest is None:
        return "Tiny-ImageNet-C was made of crops of ImageNet's validation images"
    if (len(whole) and whole[-1] >= len(labels)) or not np.array_equal(labels[whole], dataset.test.labels):
        return (
            f"it has {len(labels):,} labels in another order; it needs the data set that it was made of, in the published"
            " order"
        )
    if dataset.part is None and len(labels) != len(dataset.test):
        return f"it is of {len(labels):,} images, and {dataset.name} has {len(dataset.test):,} test images"
    return ""


def _same_classes(archive: Archive, dataset: Dataset) -> bool:
    """Tell whether the labels of a benchmark name the classes of a network, whichever images it was made of."""
    if archive.layout == "tree":
        return dataset.space != "own" and archive.manifest is None
    space = _LABELS_OF.get(archive.name) if archive.manifest is None else None
    return space is not None and dataset.classes == ids(space)


def _unpacked(archive: Archive) -> tuple[str, ...]:
    """Return why no mCE is given of what may be ImageNet-C, unpacked."""
    if not set(COMMON) <= set(archive.corruptions) or not set(ids("imagenet1k")) <= set(archive.classes):
        return ()
    if archive.layout != "tree" or archive.manifest is not None or archive.tars:
        return ()
    return (
        f"{archive.path.name} counts as mine, and gets no mCE: the published hashes of ImageNet-C are of its .tar files, and"
        " unpacked images cannot be compared with them; name the folder of the .tar files, which are read in place",
    )


def _identity(archive: Archive) -> str:
    """Return a hash of a benchmark's files: of the known hashes, which are compared when a file is read, or of all bytes."""
    return hashlib.sha256(json.dumps(sorted(archive.hashes().items())).encode()).hexdigest()
