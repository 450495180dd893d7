"""Evaluation: shows a network what a protocol asks for and measures it, without repeating what is known already.

`evaluate` is the one function that does; `lcrbench run`, `lcrbench evaluate` and `lcrbench.evaluate` call it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from torch import nn

from lcrbench import registry
from lcrbench.bench import device as devices
from lcrbench.bench import metrics as metrics_of
from lcrbench.bench.clock import Clocks
from lcrbench.bench.data.arrays import Dataset, Split, Streamed
from lcrbench.bench.evaluation.cells import Cells, Shows
from lcrbench.bench.evaluation.engine import Choice, Inference, Served
from lcrbench.bench.evaluation.known import Known, empty, measured_of, with_asked, without_stale
from lcrbench.bench.evaluation.shares import Showing, tell
from lcrbench.bench.evaluation.subject import Subject
from lcrbench.bench.lipschitz import options as search_options
from lcrbench.bench.metrics import Need
from lcrbench.bench.records import by_image, env, predictions, source
from lcrbench.bench.records.grid import Evaluation as Shown
from lcrbench.bench.records.grid import Options
from lcrbench.bench.records.measurement import Phase
from lcrbench.bench.records.predictions import Predictions
from lcrbench.bench.records.record import Asked, Batch, Measured, Provenance, Source
from lcrbench.bench.records.spec import CLEAN, Cell, Preprocessing, Protocol, TestSet, TrainSpec
from lcrbench.bench.records.spec import Subject as SubjectId
from lcrbench.bench.together import ALONE, Group
from lcrbench.corruptions.registered import Name, is_ours

ROOTS = ("lcrbench.bench.evaluation.inference", "lcrbench.bench.evaluation.cells")
"""What every prediction depends on, besides the network's own code."""

DECODING = ("lcrbench.bench.data.files", "lcrbench.images")
"""What pixels depend on where files are named by their bytes."""

MOST_BYTES = 1 << 28
"""Of the images that are shown at once: a cell of more is shown in parts."""


@dataclass(frozen=True)
class Looked:
    """A network that is looked at: what identifies it, the modules that its code lies in, and what metrics may ask of it.

    `gives` is what metrics may ask, and `lacks` why it is no more. `engine` gives its logits, and changes no number.
    """

    network: nn.Module
    subject: SubjectId
    weights_sha256: str
    roots: tuple[str, ...]
    training: TrainSpec | None = None
    gives: frozenset[Need] = frozenset(Need)
    lacks: str = ""
    engine: Choice = "auto"


def protocol_of(dataset: Dataset, size: int, shown: Shown, sha256: str = "") -> Protocol:
    """Return the protocol by which a data set's test images are shown; `shown.corruptions` names no groups any more.

    `sha256` names test images that come without training images.
    """
    test = TestSet(
        name=dataset.name,
        sha256=sha256 or dataset.whole_sha256,
        size=size,
        classes=dataset.classes,
        images=len(dataset.test.labels),
        chosen=dataset.part.test if dataset.part else None,
        hash_kind=dataset.hash_kind,
    )
    return Protocol(
        test=test,
        corruptions=shown.corruptions,
        severities=shown.severities,
        seed=shown.seed,
        block=shown.block,
        stream=shown.stream,
        preprocessing=Preprocessing(resize=dataset.resize, crop=size) if dataset.resize else None,
    )


def evaluate(
    looked: Looked,
    dataset: Dataset,
    protocol: Protocol,
    metrics: Mapping[str, Options],
    provenance: Provenance,
    *,
    known: Known | None = None,
    keep_stale: bool = False,
    device: str = "cpu",
    cells: Shows | None = None,
    watch: Callable[[str, int, int], None] = lambda phase, done, total: None,
    prepare: Callable[[Subject], None] = lambda subject: None,
    left: Callable[[str, str], None] = lambda metric, reason: None,
    show: bool = True,
    helpers: Callable[[], AbstractContextManager[Group]] = lambda: nullcontext(ALONE),
) -> Known:
    """Show a network the cells of a protocol that it has not been shown, and measure what has not been measured.

    `metrics` has every option of each metric. Of what is `known` (of the same weights) nothing is repeated, but what is
    stale, unless `keep_stale`. Returns all that is known then, with one more batch if there was anything to do, and the
    protocol among those that were asked for. `watch(phase, done, total)` is called between parts, and may raise to stop;
    `prepare(subject)` before the first metric that takes long, searched or on request; `left(metric, reason)` when a metric
    gives no numbers, or not all. Without `show` no cell is shown that no metric needs, and the protocol is not noted as one
    that was asked for. `helpers` gives the processes that share the images of all cells (shares.py).
    """
    cells = cells or Cells()
    provenance = env.reading(provenance, protocol.test.hash_kind)
    # A numpy of its own, not a view of the known one: what was known stays as it was.
    known = _of_these_weights(known, looked, protocol)
    if not keep_stale:
        known = without_stale(known, protocol, metrics, keep_cells=not show)
    evaluation, kept = known.evaluation, known.predictions
    clocks = Clocks(lambda: devices.wait(device))
    test, indices = dataset.test, dataset.test_indices
    kept = kept.widen(indices, test.labels, protocol.cells)
    if protocol.test.chosen is not None:
        kept.subsets[protocol.test.chosen] = indices
    todo = {
        name: options for name, options in metrics.items() if measured_of(evaluation, name, options, protocol) is None
    }
    modules = {name: registry.load("metric", name) for name in todo}
    needs = frozenset().union(*(module.NEEDS for module in modules.values()))
    wants_logits, wants_classes = Need.LOGITS in needs, Need.CLASSES in needs
    show = show or bool(needs & metrics_of.OF_CELLS)

    inference = Inference(looked.network, protocol.block, device, looked.engine)
    forward: dict[Phase, int] = {}
    images_of = {
        cell: kept.missing(cell, indices, exact=wants_classes) if show else indices[:0] for cell in protocol.cells
    }
    if wants_logits and protocol.test.clean:
        images_of[CLEAN] = np.union1d(images_of[CLEAN], _without_logits(kept, indices))
    shown = [cell for cell in protocol.cells if len(images_of[cell])]
    parts = [(cell, part) for cell in shown for part in _parts(images_of[cell], test, protocol.block)]
    if isinstance(test.images, Streamed) and isinstance(cells, Cells):
        # All cells of some images, then of the next ones: they are decoded once.
        parts.sort(key=lambda one: int(one[1][0]))
    showing = Showing(test, indices, protocol.seed, protocol.noise, inference, cells, clocks)
    with helpers() if parts else nullcontext(ALONE) as group:
        tell(group, looked.network, parts, {"block": protocol.block, "seed": protocol.seed, "stream": protocol.noise})
        for k, (cell, lacking) in enumerate(parts):
            watch("evaluation", k * len(shown) // len(parts), len(shown))
            found = showing.logits(cell, lacking, group)
            columns = kept.at(lacking)
            kept.classes[kept.cells.index(cell), columns] = answers(found, protocol.test.columns)
            if cell == CLEAN and wants_logits:
                _keep_logits(kept, columns, found)
            forward["evaluation"] = forward.get("evaluation", 0) + len(lacking)
    if shown:
        watch("evaluation", len(shown), len(shown))

    subject = Served(
        looked.network,
        test,
        protocol.block,
        {c: kept.right(c, indices) for c in protocol.cells if not len(kept.missing(c, indices))},
        None if kept.logits is None else kept.logits[kept.at(indices)],
        device,
        classes={c: kept.given(c, indices) for c in protocol.cells} if wants_classes else {},
        inference=inference,
    )
    sources: dict[str, Source] = {}

    def note(roots: Iterable[str]) -> str:
        scope = source.closure((*ROOTS, *looked.roots, *roots))
        key = scope.sha256[:16]
        sources[key] = scope
        return key

    measured = []
    prepared = False
    for name, options in todo.items():
        module = modules[name]
        if not prepared and (module.INFO.searched or metrics_of.cost(module) is metrics_of.Cost.ON_REQUEST):
            prepared = True
            with clocks.phase("lipschitz"):
                prepare(subject)
        watch(name, 0, 1)
        subject.tick = _ticks(name, module.Options(**options) if module.INFO.searched else None, watch)
        earlier, reason = subject.passes, metrics_of.not_applicable(module.NEEDS, looked.gives, looked.lacks)
        with clocks.phase(phase := module.INFO.phase):
            numbers, left_out = ((), reason) if reason else metrics_of.measure(module, name, subject, options)
        if left_out:
            left(name, left_out)
        if passes := subject.passes - earlier:
            forward[phase] = forward.get(phase, 0) + passes
        measured.append(
            Measured(
                metric=name,
                options=options,
                images=len(indices),
                protocol=protocol.protocol_id if module.NEEDS & metrics_of.OF_CELLS else "",
                info=module.INFO,
                measurements=numbers,
                left_out=left_out,
                source=note([module.__name__]),
            )
        )
    # A benchmark's files are named by their hash, and no code of ours made them.
    made = [] if protocol.test.benchmark else _plug_ins(shown)
    cell_source = note([*made, *(DECODING if protocol.test.hash_kind == "manifest" else ())]) if shown else ""
    files = dict(known.files)
    batches = list(evaluation.batches)
    if shown or measured:
        name, figures = "", tuple[by_image.ImageFigure, ...]()
        if subject.by_image:
            names = (f"by_image-{k}.npz" for k in itertools.count())
            name = next(free for free in names if free not in files)
            figures, files[name] = by_image.pack(subject.by_image)
        batches.append(
            Batch(
                cells=tuple(shown),
                cell_source=cell_source,
                measured=tuple(measured),
                by_image=name,
                figures=figures,
                forward=forward,
                seconds=clocks.seconds(),
                provenance=provenance.model_copy(
                    update={
                        "source": sources[cell_source or measured[0].source].sha256,
                        "engine": inference.name,
                    }
                ),
            )
        )
    answered = evaluation.model_copy(
        update={
            "cells": tuple(kept.cells),
            "batches": tuple(batches),
            "sources": _named(evaluation.sources | sources, batches),
            "asked": with_asked(
                evaluation,
                Asked(protocol=protocol, metrics=dict(metrics), created=_now()),
                changed=bool(shown or measured),
            )
            if show
            else evaluation.asked,
        }
    )
    return Known(answered, kept, {**files, predictions.FILE: kept.pack()})


def _ticks(name: str, options: object, watch: Callable[[str, int, int], None]) -> Callable[[int], None]:
    """Return what counts the passes of a search with these options, and tells a hundred times of them.

    Of the metrics that share a search the first one searches, so nothing is told of the others.
    """
    total = options.passes if isinstance(options, search_options.Options) else 0
    seen = told = 0

    def tick(passes: int) -> None:
        nonlocal seen, told
        seen += passes
        if total and seen * 100 // total > told:
            told = seen * 100 // total
            watch(name, min(seen, total), total)

    return tick


def _parts(lacking: np.ndarray, test: Split, block: int) -> list[np.ndarray]:
    """Return the images of a cell in parts of whole blocks, each of so many bytes at most, or of one block."""
    image = math.prod(test.images.shape[1:])
    size = max(1, MOST_BYTES // (image * block)) * block
    return [lacking[start : start + size] for start in range(0, len(lacking), size)]


def _of_these_weights(known: Known | None, looked: Looked, protocol: Protocol) -> Known:
    """Return what is known of the network that is looked at: of other weights nothing but what was asked for."""
    nothing = empty(looked.subject, looked.training, protocol, looked.weights_sha256)
    if known is None:
        return Known(nothing, Predictions.none())
    if known.evaluation.weights_sha256 != looked.weights_sha256:
        stays = {"asked": known.evaluation.asked, "replaces": known.evaluation.replaces}
        return Known(nothing.model_copy(update=stays), Predictions.none())
    return known


def answers(found: np.ndarray, columns: tuple[int, ...]) -> np.ndarray:
    """Return the class of the largest logit (N,), among the classes `columns` where there are some."""
    if not columns:
        best: np.ndarray = found.argmax(1)
        return best
    chosen = np.array(columns)
    answers: np.ndarray = chosen[found[:, chosen].argmax(1)]
    return answers


def _without_logits(kept: Predictions, indices: np.ndarray) -> np.ndarray:
    if kept.logits is None:
        return indices
    lacking: np.ndarray = indices[np.isnan(kept.logits[kept.at(indices), 0])]
    return lacking


def _keep_logits(kept: Predictions, columns: np.ndarray, found: np.ndarray) -> None:
    if kept.logits is None:
        kept.logits = np.full((len(kept.indices), found.shape[1]), np.nan, np.float32)
    kept.logits[columns] = found


def _named(sources: Mapping[str, Source], batches: Iterable[Batch]) -> dict[str, Source]:
    """Return the sources that batches name."""
    named = {key for batch in batches for key in (batch.cell_source, *(m.source for m in batch.measured))}
    return {key: scope for key, scope in sources.items() if key in named}


def _plug_ins(shown: Iterable[Cell]) -> list[str]:
    """Return the modules of the corruptions among these cells that come from outside."""
    names = {cell.corruption for cell in shown if cell.corruption and not is_ours(cell.corruption)}
    return [registry.module_name("corruption", head) for head in sorted({Name.read(name).module for name in names})]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
