"""Evaluation: shows a network what a protocol asks for and measures it, without repeating what is known already.

`evaluate` is the one function that does; `lcrbench run`, `lcrbench evaluate` and `lcrbench.evaluate` call it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from torch import nn

from lcrbench import registry
from lcrbench.bench import device as devices
from lcrbench.bench import metrics as metrics_of
from lcrbench.bench.clock import Clocks
from lcrbench.bench.data.arrays import Dataset
from lcrbench.bench.evaluation.cells import Cells, Shows
from lcrbench.bench.evaluation.engine import Choice, Inference, Served
from lcrbench.bench.evaluation.known import Known, empty, measured_of, with_asked, without_stale
from lcrbench.bench.evaluation.shares import Showing
from lcrbench.bench.evaluation.shown import missing_images, show_images
from lcrbench.bench.evaluation.subject import Subject
from lcrbench.bench.lipschitz import options as search_options
from lcrbench.bench.metrics import Need
from lcrbench.bench.records import by_image, env, predictions, source
from lcrbench.bench.records.grid import Evaluation as Shown
from lcrbench.bench.records.grid import Options
from lcrbench.bench.records.measurement import Phase
from lcrbench.bench.records.predictions import Predictions
from lcrbench.bench.records.record import Asked, Batch, Measured, Provenance, Source
from lcrbench.bench.records.spec import Cell, Preprocessing, Protocol, TestSet, TrainSpec
from lcrbench.bench.records.spec import Subject as SubjectId
from lcrbench.bench.together import ALONE, Group
from lcrbench.corruptions.registered import Name, is_ours

ROOTS = ("lcrbench.bench.evaluation.inference", "lcrbench.bench.evaluation.cells")
"""What every prediction depends on, besides the network's own code."""

DECODING = ("lcrbench.bench.data.files", "lcrbench.images")
"""What pixels depend on where files are named by their bytes."""


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
    known = _of_these_weights(known, looked, protocol)
    if not keep_stale:
        known = without_stale(known, protocol, metrics, keep_cells=not show)
    evaluation = known.evaluation
    test, indices = dataset.test, dataset.test_indices
    # A numpy of its own, not a view of the known one: what was known stays as it was.
    kept = known.predictions.widen(indices, test.labels, protocol.cells)
    if protocol.test.chosen is not None:
        kept.subsets[protocol.test.chosen] = indices
    todo = {
        name: options for name, options in metrics.items() if measured_of(evaluation, name, options, protocol) is None
    }
    modules = {name: registry.load("metric", name) for name in todo}
    needs = frozenset[Need]().union(*(module.NEEDS for module in modules.values()))
    show = show or bool(needs & metrics_of.OF_CELLS)

    clocks = Clocks(lambda: devices.wait(device))
    inference = Inference(looked.network, protocol.block, device, looked.engine)
    showing = Showing(test, indices, protocol.seed, protocol.noise, inference, cells or Cells(), clocks)
    lacking = missing_images(kept, protocol, indices, needs, show)
    wants_logits = Need.LOGITS in needs
    show_images(showing, looked.network, protocol, lacking, kept, wants_logits, watch, helpers)
    forward: dict[Phase, int] = {"evaluation": sum(map(len, lacking.values()))} if lacking else {}

    subject = Served(
        looked.network,
        test,
        protocol.block,
        {c: kept.right(c, indices) for c in protocol.cells if not len(kept.missing(c, indices))},
        None if kept.logits is None else kept.logits[kept.at(indices)],
        device,
        classes={c: kept.given(c, indices) for c in protocol.cells} if Need.CLASSES in needs else {},
        inference=inference,
    )
    scopes = _Scopes(looked.roots)
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
        one = _measured(module, name, options, subject, looked, protocol, clocks, forward)
        if one.left_out:
            left(name, one.left_out)
        measured.append(one.model_copy(update={"source": scopes.note([module.__name__])}))

    files, batches = dict(known.files), list(evaluation.batches)
    if lacking or measured:
        cell_source = scopes.note(_made_by(protocol, lacking)) if lacking else ""
        name, figures = _keep_figures(subject, files)
        batches.append(
            Batch(
                cells=tuple(lacking),
                cell_source=cell_source,
                measured=tuple(measured),
                by_image=name,
                figures=figures,
                forward=forward,
                seconds=clocks.seconds(),
                provenance=env.reading(provenance, protocol.test.hash_kind).model_copy(
                    update={
                        "source": scopes.found[cell_source or measured[0].source].sha256,
                        "engine": inference.name,
                    }
                ),
            )
        )
    asked = Asked(protocol=protocol, metrics=dict(metrics), created=env.now())
    answered = evaluation.model_copy(
        update={
            "cells": tuple(kept.cells),
            "batches": tuple(batches),
            "sources": _named(evaluation.sources | scopes.found, batches),
            "asked": with_asked(evaluation, asked, changed=bool(lacking or measured)) if show else evaluation.asked,
        }
    )
    return Known(answered, kept, {**files, predictions.FILE: kept.pack()})


def _measured(
    module: Any,
    name: str,
    options: Options,
    subject: Served,
    looked: Looked,
    protocol: Protocol,
    clocks: Clocks,
    forward: dict[Phase, int],
) -> Measured:
    """Return what a metric measures of a subject, or why it does not; its passes are added to `forward`."""
    earlier, reason = subject.passes, metrics_of.not_applicable(module.NEEDS, looked.gives, looked.lacks)
    with clocks.phase(phase := module.INFO.phase):
        numbers, left_out = ((), reason) if reason else metrics_of.measure(module, name, subject, options)
    if passes := subject.passes - earlier:
        forward[phase] = forward.get(phase, 0) + passes
    return Measured(
        metric=name,
        options=options,
        images=len(subject.test.labels),
        protocol=protocol.protocol_id if module.NEEDS & metrics_of.OF_CELLS else "",
        info=module.INFO,
        measurements=numbers,
        left_out=left_out,
    )


class _Scopes:
    """The code that the numbers of one look depend on, each scope by the beginning of its hash."""

    def __init__(self, roots: Iterable[str]) -> None:
        self.roots, self.found = (*ROOTS, *roots), dict[str, Source]()

    def note(self, roots: Iterable[str]) -> str:
        """Note the scope of the network, of what every prediction depends on, and of these modules; return its key."""
        scope = source.closure((*self.roots, *roots))
        key = scope.sha256[:16]
        self.found[key] = scope
        return key


def _made_by(protocol: Protocol, shown: Iterable[Cell]) -> list[str]:
    """Return the modules besides that images depend on: a benchmark's files are named by their hash, and none made them."""
    plug_ins = [] if protocol.test.benchmark else _plug_ins(shown)
    return [*plug_ins, *(DECODING if protocol.test.hash_kind == "manifest" else ())]


def _keep_figures(subject: Served, files: dict[str, bytes]) -> tuple[str, tuple[by_image.ImageFigure, ...]]:
    """Put the figures by image into a file beside those there; return its name and what it holds, if there are any."""
    if not subject.by_image:
        return "", ()
    names = (f"by_image-{k}.npz" for k in itertools.count())
    name = next(free for free in names if free not in files)
    figures, files[name] = by_image.pack(subject.by_image)
    return name, figures


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


def _of_these_weights(known: Known | None, looked: Looked, protocol: Protocol) -> Known:
    """Return what is known of the network that is looked at: of other weights nothing but what was asked for."""
    nothing = empty(looked.subject, looked.training, protocol, looked.weights_sha256)
    if known is None:
        return Known(nothing, Predictions.none())
    if known.evaluation.weights_sha256 != looked.weights_sha256:
        stays = {"asked": known.evaluation.asked, "replaces": known.evaluation.replaces}
        return Known(nothing.model_copy(update=stays), Predictions.none())
    return known


def _named(sources: Mapping[str, Source], batches: Iterable[Batch]) -> dict[str, Source]:
    """Return the sources that batches name."""
    named = {key for batch in batches for key in (batch.cell_source, *(m.source for m in batch.measured))}
    return {key: scope for key, scope in sources.items() if key in named}


def _plug_ins(shown: Iterable[Cell]) -> list[str]:
    """Return the modules of the corruptions among these cells that come from outside."""
    names = {cell.corruption for cell in shown if cell.corruption and not is_ours(cell.corruption)}
    return [registry.module_name("corruption", head) for head in sorted({Name.read(name).module for name in names})]
