"""What is known of a network under one look: what was shown and measured, what of it is stale, and what is missing."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from lcrbench import registry
from lcrbench.bench.metrics import Need
from lcrbench.bench.records import predictions, source
from lcrbench.bench.records.by_image import ByImage
from lcrbench.bench.records.grid import Options
from lcrbench.bench.records.predictions import Predictions
from lcrbench.bench.records.record import Asked, Batch, Evaluation, Measured
from lcrbench.bench.records.spec import CLEAN, Cell, Protocol, Subject, TrainSpec, evaluation_id
from lcrbench.bench.records.store import figures_of


@dataclass(frozen=True)
class Known:
    """What is known of a network under one look: the record, the predictions, and the other files beside the record."""

    evaluation: Evaluation
    predictions: Predictions
    files: dict[str, bytes] = field(default_factory=dict)


def found_by(known: Known, metrics: Mapping[str, Options], protocol: Protocol) -> tuple[list[Measured], ByImage]:
    """Return what was measured by these metrics with these options, and the figures by image of the same batches."""
    found = {n: m for n, o in metrics.items() if (m := measured_of(known.evaluation, n, o, protocol)) is not None}
    by_image: ByImage = {}
    for batch in known.evaluation.batches:
        if batch.by_image and any(m in batch.measured for m in found.values()):
            by_image |= figures_of(batch, known.files[batch.by_image])
    return [*found.values()], by_image


def missing(
    known: Known | None, protocol: Protocol, metrics: Mapping[str, Options], indices: np.ndarray | None = None
) -> tuple[list[Cell], list[str]]:
    """Return the cells that were not shown on all images, and the metrics that were not measured, by what is known."""
    if known is None:
        return protocol.cells, list(metrics)
    if indices is None:
        indices = np.arange(protocol.test.images)
    lacking = [n for n, o in metrics.items() if measured_of(known.evaluation, n, o, protocol) is None]
    exact = any(Need.CLASSES in registry.load("metric", name).NEEDS for name in lacking)
    return [c for c in protocol.cells if len(known.predictions.missing(c, indices, exact=exact))], lacking


def answered(evaluation: Evaluation, protocol: Protocol, metrics: Mapping[str, Options]) -> bool:
    """Tell whether an evaluation notes that this protocol was asked for, with these metrics, and answered whole."""
    return any(
        asked.failure is None
        and asked.protocol.protocol_id == protocol.protocol_id
        and metrics.items() <= asked.metrics.items()
        for asked in evaluation.asked
    )


def with_failure(evaluation: Evaluation | None, empty: Evaluation, asked: Asked) -> Evaluation:
    """Return an evaluation that says why a protocol that was asked for has not been answered."""
    base = evaluation or empty
    return base.model_copy(update={"asked": with_asked(base, asked)})


def empty(looked_at: Subject, training: TrainSpec | None, protocol: Protocol, weights_sha256: str = "") -> Evaluation:
    """Return the record of an evaluation in which nothing was shown yet."""
    return Evaluation(
        evaluation_id=evaluation_id(looked_at, protocol),
        subject=looked_at,
        training=training,
        weights_sha256=weights_sha256,
        asked=(),
    )


def stale_parts(evaluation: Evaluation, protocol: Protocol, metrics: Mapping[str, Options]) -> list[tuple[str, str]]:
    """Return what of a run's predictions and measurements is stale, each with the reason."""
    found = []
    for batch in evaluation.batches:
        if {*batch.cells} & {*protocol.cells} and (why := _why(evaluation, batch.cell_source, batch)):
            found.append(("predictions", why))
        asked = [m for m in batch.measured if _is(m, m.metric, metrics.get(m.metric), protocol)]
        found += [(m.metric, why) for m in asked if (why := _why(evaluation, m.source, batch))]
    return found


def _why(evaluation: Evaluation, key: str, batch: Batch) -> str:
    scope = evaluation.sources.get(key)
    return source.why_stale([scope]) if scope else source.why_stale((), (batch.provenance.source,))


def without_stale(
    known: Known, protocol: Protocol, metrics: Mapping[str, Options], *, keep_cells: bool = False, fresh: bool = False
) -> Known:
    """Return what is known without what of a run is stale: its cells, unless `keep_cells`, and its measurements.

    With `fresh` all of them go. With a cell goes every measurement that depends on which images were classified right in
    it, those of other runs too. All else of other runs stays; one that lacks a part says so when it is read (view.py).
    """
    evaluation, kept = known.evaluation, known.predictions

    def goes(key: str, batch: Batch) -> bool:
        return fresh or bool(_why(evaluation, key, batch))

    dropped: set[Cell] = set()
    if not keep_cells:
        for batch in evaluation.batches:
            if (cells := {*batch.cells} & {*protocol.cells}) and goes(batch.cell_source, batch):
                dropped |= cells
    touched = {a.protocol.protocol_id for a in evaluation.asked if dropped & {*a.protocol.cells}}

    def stays(m: Measured, batch: Batch) -> bool:
        asked = _is(m, m.metric, metrics.get(m.metric), protocol)
        return m.protocol not in touched and not (asked and goes(m.source, batch))

    batches = []
    for batch in evaluation.batches:
        left = tuple(c for c in batch.cells if c not in dropped)
        measured = tuple(m for m in batch.measured if stays(m, batch))
        if left or measured:
            batches.append(batch.model_copy(update={"cells": left, "measured": measured}))
    if dropped:
        classes = kept.classes.copy()
        for cell in dropped:
            classes[kept.cells.index(cell)] = predictions.MISSING
        kept = dataclasses.replace(kept, classes=classes, logits=None if CLEAN in dropped else kept.logits)
    named = {batch.by_image for batch in batches}
    files = {name: content for name, content in known.files.items() if name in named}
    return Known(evaluation.model_copy(update={"batches": tuple(batches)}), kept, files)


def _is(m: Measured, name: str, options: Options | None, protocol: Protocol) -> bool:
    return (
        m.metric == name
        and m.options == options
        and m.images == protocol.test.count
        and m.protocol in ("", protocol.protocol_id)
    )


def measured_of(evaluation: Evaluation, name: str, options: Options, protocol: Protocol) -> Measured | None:
    """Return what was measured by a metric with these options under this protocol, the latest; None if nothing was."""
    found = (m for batch in reversed(evaluation.batches) for m in batch.measured if _is(m, name, options, protocol))
    return next(found, None)


def with_asked(evaluation: Evaluation, asked: Asked, *, changed: bool = True) -> tuple[Asked, ...]:
    """Return what was asked for with one more, in the place of an earlier one of the same protocol.

    Metrics that were asked for earlier stay among those of the protocol; an answer is never replaced by a failure, and keeps
    its time where nothing was added to it.
    """
    before = next((a for a in evaluation.asked if a.protocol.protocol_id == asked.protocol.protocol_id), None)
    if before is None:
        return (*evaluation.asked, asked)
    if asked.failure and not before.failure:
        return evaluation.asked
    rest = tuple(a for a in evaluation.asked if a is not before)
    created = asked.created if changed or before.failure else before.created
    return (*rest, asked.model_copy(update={"metrics": before.metrics | asked.metrics, "created": created}))
