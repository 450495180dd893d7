"""Other test sets for a trained network: `--test-set NAME=PATH`.

    plain       CIFAR-10.1, ImageNet-V2, -A, -R, -Sketch, or any data set's test split: images as they are
    benchmark   CIFAR-10-C, ImageNet-C, Tiny-ImageNet-C, C-bar, 3DCC, or what `lcrbench corrupt` wrote: its own files,
                cell by cell, beside the run's own clean test images, to which they must belong

A plain set's classes are matched by their ids, never by their order. On ImageNet-A and -R the answer is chosen among the 200
classes that the set has.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lcrbench import untrusted
from lcrbench.bench import planning
from lcrbench.bench.data import load_test
from lcrbench.bench.data.arrays import Dataset, Split
from lcrbench.bench.data.subset import load_data
from lcrbench.bench.evaluation.cells import Cells, Shows
from lcrbench.bench.evaluation.networks import restored
from lcrbench.bench.evaluation.on_request import shown_to
from lcrbench.bench.progress import bar
from lcrbench.bench.records import view
from lcrbench.bench.records.grid import Grid
from lcrbench.bench.records.spec import Cell, Protocol, TestSet
from lcrbench.bench.records.store import Store
from lcrbench.corruption_names import names
from lcrbench.corruptions.archive import Archive, check_download, open_archive, published
from lcrbench.errors import UserError

PLAIN_SEVERITIES: Final = (1, 2, 3, 4, 5)
RESTRICTED: Final = ("imagenet-a", "imagenet-r")
_FOLDERS: Final = ("train", "test", "val")


class Other(NamedTuple):
    """A test set that can be shown: the images, the protocol that names them, and where the cells come from."""

    dataset: Dataset
    protocol: Protocol
    cells: Shows


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


def open_all(texts: Sequence[str], grid: Grid) -> list[Other]:
    """Return the test sets that were named, for the networks of a grid; raises `UserError` as `open_set` does."""
    dataset = load_data(grid.data)
    found = [open_set(text, dataset, grid.data.size, grid.evaluation.block) for text in texts]
    names = [other.protocol.test.name for other in found]
    if len(set(names)) < len(names):
        raise UserError(
            f"--test-set: two sets are called '{max(names, key=names.count)}': give NAME=PATH, each another name"
        )
    return found


def show_all(
    store: Store,
    runs: Sequence[str],
    others: Sequence[Other],
    grid: Grid,
    *,
    device: str,
    stale: Literal["refuse", "redo", "keep"],
    quiet: bool,
) -> list[str]:
    """Show each test set to the network of each finished run, keep what is found, and return the ids of these runs.

    Accuracy is measured, the corruption error of a benchmark, and the calibration where the answer is among all classes.
    """
    shown = []
    asked = planning.metrics_of(grid)
    for other in others:
        chosen = {"accuracy", *(["corruption_error"] if other.protocol.corruptions else [])}
        chosen |= set() if other.protocol.test.columns else {"calibration_error"} & asked.keys()
        metrics = {name: planning.metric_options(name, asked.get(name, {})) for name in sorted(chosen)}
        cells = len(other.protocol.cells)
        for run in runs:
            if store.record(run).status != "finished":
                continue
            spec = store.record(run).spec
            training, weights = store.trained(run)
            looked = restored(training, weights, trust_plugins=True, device=device)
            with bar(cells, f"{spec.label} {other.protocol.test.name}"[:40], quiet, unit="cells") as told:

                def watch(phase: str, done: int, total: int, told: Any = told) -> None:
                    if phase == "evaluation":
                        told.advance(done - told.done)

                found = shown_to(
                    store,
                    spec,
                    training,
                    looked,
                    other.dataset,
                    other.protocol,
                    metrics,
                    device=device,
                    stale=stale,
                    watch=watch,
                    cells=other.cells,
                )
            shown.append(view.run_id(found.evaluation, other.protocol))
    return shown


def open_set(text: str, dataset: Dataset, size: int, block: int) -> Other:
    """Return the test set that `NAME=PATH` (or PATH) names, for a network that was trained on `dataset`.

    Raises `UserError` if there is none, it is damaged, or its classes are not among the network's.
    """
    name, equals, place = text.partition("=")
    if not equals:
        name, place = "", text
    if not place:
        raise UserError(f"--test-set takes NAME=PATH, such as cifar10-c=CIFAR-10-C.tar, not '{text}'")
    path = untrusted.place(place)
    if benchmark := _benchmark(path):
        return _corrupted(name, benchmark, dataset, size, block)
    return _plain(name, place, dataset, size, block)


def _benchmark(path: Path) -> Archive | None:
    """Return the benchmark at a path; None if what lies there has none of its marks."""
    if not path.exists() or (path.is_dir() and any((path / folder).exists() for folder in _FOLDERS)):
        return None
    marked = path.is_dir() and any((path / f"{name}.npy").is_file() for name in ("labels", *names("all")))
    try:
        return open_archive(path)
    except UserError as error:
        # A benchmark that is met but unusable says so itself; what holds no corruption is another kind of test set.
        if marked or ("incomplete" in str(error) and "labels.npy" not in str(error)):
            raise
        return None


def _corrupted(name: str, archive: Archive, dataset: Dataset, size: int, block: int) -> Other:
    tree = archive.layout == "tree"
    classes = dataset.classes if tree else None
    first = archive.corruptions[0]
    if tree and not set(dataset.classes) <= set(archive.classes):
        lacking = sorted(set(dataset.classes) - set(archive.classes))
        raise UserError(
            f"{archive.path} has no images of {len(lacking)} classes of {dataset.name}, such as '{lacking[0]}': it is a"
            " benchmark of another data set"
        )
    labels = archive.labels_of(first, 1, classes)
    whole = dataset.part.test_indices if dataset.part else np.arange(len(dataset.test), dtype=np.int64)
    if (len(whole) and whole[-1] >= len(labels)) or not np.array_equal(labels[whole], dataset.test.labels):
        raise UserError(
            f"{archive.path} does not belong to the test images of {dataset.name}: it has {len(labels):,} labels in another"
            " order; it needs the data set that it was made of, in the published order"
        )
    if dataset.part is None and len(labels) != len(dataset.test):
        raise UserError(
            f"{archive.path} is of {len(labels):,} images, and {dataset.name} has {len(dataset.test):,} test images: it does"
            " not belong to them"
        )
    benchmark, known = _origin(archive)
    told = name or benchmark.lower()
    test = TestSet(
        name=told if known is not False else f"{told} (mine)",
        sha256=dataset.whole_sha256,
        size=size,
        classes=dataset.classes,
        images=len(labels),
        chosen=dataset.part.test if dataset.part else None,
        benchmark=benchmark,
        benchmark_sha256=_identity(archive),
        published=known,
    )
    protocol = Protocol(test=test, corruptions=archive.corruptions, severities=PLAIN_SEVERITIES, block=block)
    return Other(replace(dataset, name=test.name), protocol, ArchiveCells(archive, labels, classes))


def _origin(archive: Archive) -> tuple[str, bool]:
    """Return the benchmark that an archive is of, and whether its files are the published ones."""
    if archive.manifest is not None:
        return archive.name, False
    if archive.layout == "npy":
        return archive.name, archive.verified and archive.name in published()
    tars = [archive.path] if archive.path.is_file() else sorted(archive.path.glob("*.tar"))
    if not tars:
        return archive.name, False
    try:
        benchmarks = {check_download(tar) for tar in tars}
    except UserError:
        return archive.name, False
    return (benchmarks.pop(), True) if len(benchmarks) == 1 else (archive.name, False)


def _identity(archive: Archive) -> str:
    """Return a hash of a benchmark's files: of the known hashes, which are compared when a file is read, or of all bytes."""
    return hashlib.sha256(json.dumps(sorted(archive.hashes().items())).encode()).hexdigest()


def _plain(name: str, place: str, dataset: Dataset, size: int, block: int) -> Other:
    found = load_test(place, size=size)
    number = {label: k for k, label in enumerate(dataset.classes)}
    if strange := [label for label in found.classes if label not in number]:
        there = {int(label) for label in np.unique(found.split.labels)}
        present = [label for k, label in enumerate(found.classes) if k in there and label not in number]
        if present or found.space == "own" or found.space != dataset.space:
            shown = present or strange
            raise UserError(
                f"{place} has {len(shown)} classes that {dataset.name} does not have, such as '{shown[0]}': a network cannot"
                " name them (label spaces: " + f"{found.space} and {dataset.space})"
            )
    labels = np.array([number.get(label, -1) for label in found.classes], np.int64)[found.split.labels]
    columns = tuple(sorted(number[label] for label in found.classes)) if found.space in RESTRICTED else ()
    told = name or found.name
    test = TestSet(
        name=told if found.published is not False else f"{told} (mine)",
        sha256=found.sha256,
        size=size,
        classes=dataset.classes,
        images=len(labels),
        published=found.published,
        columns=columns,
    )
    shown_set = replace(dataset, name=test.name, test=Split(found.split.images, labels), part=None)
    return Other(shown_set, Protocol(test=test, corruptions=(), severities=(), block=block), Cells())
