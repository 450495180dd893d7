"""The joined view: a training and its evaluation under one protocol, as the record that reports read."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

from lcrbench.bench.records.foreign import ForeignSpec
from lcrbench.bench.records.forms import as_made
from lcrbench.bench.records.ids import content_id
from lcrbench.bench.records.measurement import Measurement, MetricInfo, Phase
from lcrbench.bench.records.record import (
    Asked,
    Batch,
    Evaluation,
    Failure,
    Ledger,
    Measured,
    Record,
    Seconds,
    Source,
    Training,
)
from lcrbench.bench.records.spec import Protocol, RunSpec
from lcrbench.errors import UserError


def run_id(evaluation: Evaluation, protocol: Protocol) -> str:
    """Return the address of the run that answers a protocol in an evaluation."""
    return content_id("run", {**evaluation.subject.facts, "protocol": protocol.protocol_id})


def every_run(evaluation: Evaluation) -> dict[str, Asked]:
    """Return every protocol that was asked for, by its run's id."""
    return {run_id(evaluation, asked.protocol): asked for asked in evaluation.asked}


def largest(evaluation: Evaluation, every: dict[str, Asked]) -> dict[str, Asked]:
    """Return the runs of an evaluation, of `every_run`, without those that a larger one contains, which is finished.

    Of two that show the same, the later one stays.
    """
    finished = [name for name, one in every.items() if not one.failure and not _gone(evaluation, one)]
    place = {name: k for k, name in enumerate(every)}

    def hidden(name: str, one: Asked) -> bool:
        for other in finished:
            its = every[other].protocol
            if (
                other != name
                and its.covers(one.protocol)
                and (not one.protocol.covers(its) or place[other] > place[name])
            ):
                return True
        return False

    return {name: one for name, one in every.items() if one.failure or not hidden(name, one)}


def _gone(evaluation: Evaluation, one: Asked) -> list[str]:
    """Return the metrics that were asked for and have no numbers any more."""
    shown = {m.metric for m in _shown(evaluation, one)}
    return [name for name in one.metrics if name not in shown]


def asked(evaluation: Evaluation, name: str) -> Asked:
    """Return what a run asked for; an evaluation's own id stands for its last run.

    The id that a run had in an older schema stands for the run.
    """
    every = every_run(evaluation)
    name = evaluation.replaces.get(name, name)
    if name in every:
        return every[name]
    if name == evaluation.evaluation_id and every:
        return evaluation.asked[-1]
    raise UserError(f"there is no run {name} in the evaluation {evaluation.evaluation_id}")


def joined(evaluation: Evaluation, training: Training | None, name: str) -> Record:
    """Return a run as a record; one whose training is missing, or whose attempt failed, has status "failed"."""
    one = asked(evaluation, name)
    if evaluation.training is None:
        return _foreign(evaluation, one)
    trained = evaluation.training
    if training and training.model.options:
        known = training.model.options.get(trained.method.name, {})
        trained = trained.model_copy(update={"method": as_made(trained.method, known)})
    spec = RunSpec(training=trained, protocol=one.protocol, metrics=one.metrics)
    failure = one.failure
    if failure is None and training is None:
        failure = Failure(reason="error", step=0, message="its training is gone, or has other weights: run it again")
    shown = _shown(evaluation, one)
    if failure is None and (gone := _gone(evaluation, one)):
        message = f"{', '.join(gone)} went with what another run made again: run it again"
        failure = Failure(reason="error", step=0, message=message)
    if failure or training is None:
        last = evaluation.batches[-1].provenance if evaluation.batches else None
        provenance = one.provenance or (training.provenance if training else last)
        if provenance is None:
            raise UserError(f"the evaluation {evaluation.evaluation_id} says nothing about where it comes from")
        provenance = provenance.model_copy(update={"created": one.created})
        return Record(
            run_id=run_id(evaluation, one.protocol), status="failed", spec=spec, failure=failure, provenance=provenance
        )
    used = _used(evaluation, one, shown)
    scopes = [training.source, *(evaluation.sources.get(key) for key in _source_keys(used, shown))]
    unscoped = [p.source for part, p in ((training.source, training.provenance),) if part is None]
    unscoped += [b.provenance.source for b in used if not b.cell_source and not any(m.source for m in b.measured)]
    engine = next((b.provenance.corruptions for b in reversed(used) if b.provenance.corruptions), {})
    dirty = [training.provenance.dirty, *(b.provenance.dirty for b in used)]
    return Record(
        run_id=run_id(evaluation, one.protocol),
        status="finished",
        spec=spec.model_copy(update={"metrics": {m.metric: m.options for m in shown}}),
        model=training.model,
        ledger=_ledger(training.ledger, used),
        metrics=_infos(shown),
        measurements=_numbers(shown),
        left_out={m.metric: m.left_out for m in shown if m.left_out},
        sources=tuple(_unique([s for s in scopes if s is not None])),
        unscoped=tuple(dict.fromkeys(unscoped)),
        weights_sha256=training.weights_sha256,
        provenance=training.provenance.model_copy(
            update={
                "created": one.created,
                "corruptions": engine,
                "dirty": True if True in dirty else None if None in dirty else False,
            }
        ),
    )


def _foreign(evaluation: Evaluation, one: Asked) -> Record:
    """Return a run of a network from outside as a record: what it was shown, and what was measured of it."""
    external = evaluation.subject.external
    if external is None:
        raise UserError(f"the evaluation {evaluation.evaluation_id} names no network")
    shown = _shown(evaluation, one)
    used = _used(evaluation, one, shown)
    failure = one.failure
    if failure is None and (gone := _gone(evaluation, one)):
        message = f"{', '.join(gone)} went with what another run made again: evaluate it again"
        failure = Failure(reason="error", step=0, message=message)
    provenance = one.provenance or (evaluation.batches[-1].provenance if evaluation.batches else None)
    if provenance is None:
        raise UserError(f"the evaluation {evaluation.evaluation_id} says nothing about where it comes from")
    engine = next((b.provenance.corruptions for b in reversed(used) if b.provenance.corruptions), {})
    return Record(
        run_id=run_id(evaluation, one.protocol),
        status="failed" if failure else "finished",
        weights_sha256=evaluation.weights_sha256,
        spec=ForeignSpec(external=external, protocol=one.protocol, metrics={m.metric: m.options for m in shown}),
        failure=failure,
        metrics=_infos(shown),
        measurements=() if failure else _numbers(shown),
        left_out={m.metric: m.left_out for m in shown if m.left_out},
        sources=tuple(
            _unique(s for key in _source_keys(used, shown) if (s := evaluation.sources.get(key)) is not None)
        ),
        provenance=provenance.model_copy(update={"created": one.created, "corruptions": engine}),
    )


def _used(evaluation: Evaluation, one: Asked, shown: list[Measured]) -> list[Batch]:
    """Return the batches that a run's numbers come from."""
    return [b for b in evaluation.batches if any(m in shown for m in b.measured) or {*b.cells} & {*one.protocol.cells}]


def of_batch(base: Record, evaluation: Evaluation, batch: Batch) -> Record:
    """Return a run's record with what one batch measured in the place of its own measurements."""
    return base.model_copy(
        update={
            "spec": base.spec.model_copy(update={"metrics": {m.metric: m.options for m in batch.measured}}),
            "metrics": _infos(batch.measured),
            "measurements": _numbers(batch.measured),
            "left_out": {m.metric: m.left_out for m in batch.measured if m.left_out},
            "sources": tuple(evaluation.sources[m.source] for m in batch.measured if m.source in evaluation.sources),
            "provenance": batch.provenance,
        }
    )


def _shown(evaluation: Evaluation, one: Asked) -> list[Measured]:
    """Return what a run shows of each metric: with the options asked for where it was, else what was measured last."""
    found: dict[str, Measured | None] = dict.fromkeys(one.metrics)
    protocols = ("", one.protocol.protocol_id)
    for batch in evaluation.batches:
        for m in batch.measured:
            if m.protocol not in protocols or m.images != one.protocol.test.count:
                continue
            if m.metric not in one.metrics or m.options == one.metrics[m.metric]:
                found[m.metric] = m
    return [m for m in found.values() if m is not None]


def _source_keys(batches: list[Batch], shown: list[Measured]) -> list[str]:
    keys = [b.cell_source for b in batches if b.cell_source] + [m.source for m in shown if m.source]
    return list(dict.fromkeys(keys))


def _unique(sources: Iterable[Source]) -> list[Source]:
    return list({s.sha256 + ",".join(s.roots): s for s in sources}.values())


def _numbers(measured: Iterable[Measured]) -> tuple[Measurement, ...]:
    return tuple(chain.from_iterable(m.measurements for m in measured))


def _infos(measured: Iterable[Measured]) -> dict[str, MetricInfo]:
    return {m.metric: m.info for m in measured if m.info is not None}


def _ledger(training: Ledger, batches: list[Batch]) -> Ledger:
    """Return the training's ledger with what the evaluation took."""
    seconds: dict[Phase, Seconds] = dict(training.seconds)
    forward: dict[Phase, int] = dict(training.evaluation_forward)
    for batch in batches:
        for phase, taken in batch.seconds.items():
            before = seconds.get(phase, Seconds(cpu=0.0, wall=0.0))
            seconds[phase] = Seconds(cpu=round(before.cpu + taken.cpu, 3), wall=round(before.wall + taken.wall, 3))
        for name, count in batch.forward.items():
            forward[name] = forward.get(name, 0) + count
    return training.model_copy(update={"seconds": seconds, "evaluation_forward": forward})
