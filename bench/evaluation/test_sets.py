"""Other test sets for a trained network: `--test-set NAME=PATH`.

    PATH of a plain set      CIFAR-10.1, ImageNet-V2, -A, -R, -Sketch, or any data set's test split: images as they are
    PATH of a benchmark      its own files, cell by cell (`benchmarks`)
    generated:PATH           ImageNet-C made in memory of a data set's test images, and called "generated ImageNet-C";
    generated-bar:PATH       ImageNet-C-bar, likewise
    256/224:PATH             a plain set whose images have their shorter side resized to 256 px, and 224 px cut out

A plain set's classes are matched by their ids, never by their order. On ImageNet-A and -R the answer is chosen among the 200
classes that the set has.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, Literal

import numpy as np

from lcrbench import untrusted
from lcrbench.bench import planning
from lcrbench.bench.data import load_test
from lcrbench.bench.data.arrays import Dataset, Split, TestImages
from lcrbench.bench.data.degenerate import check_shown
from lcrbench.bench.data.subset import load_data
from lcrbench.bench.evaluation import benchmarks
from lcrbench.bench.evaluation.benchmarks import Other
from lcrbench.bench.evaluation.cells import Cells
from lcrbench.bench.evaluation.engine import Choice
from lcrbench.bench.evaluation.networks import restored
from lcrbench.bench.evaluation.on_request import shown_to
from lcrbench.bench.progress import bar
from lcrbench.bench.records import view
from lcrbench.bench.records.grid import Grid
from lcrbench.bench.records.spec import Preprocessing, Protocol, TestSet
from lcrbench.bench.records.store import Store
from lcrbench.corruption_names import SEVERITIES
from lcrbench.errors import UserError

RESTRICTED: Final = ("imagenet-a", "imagenet-r")


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
    engine: Choice = "auto",
) -> list[str]:
    """Show each test set to the network of each finished run, keep what is found, and return the ids of these runs.

    Accuracy is measured, the corruption error of a benchmark, and the calibration where the answer is among all classes.
    """
    shown = []
    asked = planning.metrics_of(grid)
    for other in others:
        chosen = {"accuracy", *(["corruption_error"] if other.protocol.corruptions else [])}
        if other.protocol.test.clean and not other.protocol.test.columns:
            chosen |= {"calibration_error"} & asked.keys()
        metrics = {name: planning.metric_options(name, asked.get(name, {})) for name in sorted(chosen)}
        cells = len(other.protocol.cells)
        for run in runs:
            if store.record(run).status != "finished":
                continue
            spec = store.record(run).trained
            training, weights = store.trained(run)
            looked = replace(restored(training, weights, trust_plugins=True, device=device), engine=engine)
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
    kind, colon, below = place.partition(":")
    if colon and kind in benchmarks.MADE:
        return _generated(name, kind, below, dataset, size, block)
    if colon and (fit := re.fullmatch(r"([0-9]{1,4})/([0-9]{1,4})", kind)):
        return _plain(name, below, dataset, size, block, Preprocessing(resize=int(fit[1]), crop=int(fit[2])))
    if archive := benchmarks.find(untrusted.place(place)):
        return benchmarks.of_archive(name, archive, dataset, size, block)
    return _plain(name, place, dataset, size, block)


def _generated(name: str, kind: str, place: str, dataset: Dataset, size: int, block: int) -> Other:
    benchmark, corruptions = benchmarks.MADE[kind]
    if dataset.space != "imagenet1k" or size != benchmarks.IMAGENET.crop:
        raise UserError(
            f"{kind}: makes {benchmark} of ImageNet's images at {benchmarks.IMAGENET.crop} px, and the network is of"
            f" {dataset.name} (label space {dataset.space}) at {size} px: for other images, name --corruptions"
        )
    plain = _plain(name, place, dataset, size, block, benchmarks.IMAGENET)
    told = f"generated {benchmark}"
    called = told if name.lower() in ("", benchmark.lower(), told.lower()) else f"{name} ({told})"
    test = plain.protocol.test.model_copy(update={"name": called, "published": None})
    protocol = plain.protocol.model_copy(
        update={"test": test, "corruptions": corruptions, "severities": SEVERITIES, "jpeg": benchmarks.QUALITY}
    )
    return Other(replace(plain.dataset, name=called), protocol, benchmarks.Recompressed())


def _fitted(place: str, fit: Preprocessing | None, size: int) -> TestImages:
    """Return the test images at a place, fitted."""
    if fit is None:
        return load_test(place, size=size)
    if fit.crop != size:
        raise UserError(
            f"{fit.resize}/{fit.crop}: cuts {fit.crop} px out of {fit.resize}, and the network takes {size} px: give"
            f" SIDE/{size}:PATH"
        )
    return load_test(place, size=size, resize=fit.resize)


def _plain(name: str, place: str, dataset: Dataset, size: int, block: int, fit: Preprocessing | None = None) -> Other:
    found = _fitted(place, fit, size)
    check_shown(name or found.name, found.classes, found.split)
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
    protocol = Protocol(test=test, corruptions=(), severities=(), block=block, preprocessing=fit)
    return Other(shown_set, protocol, Cells())
