"""Writes a run into a store: its training, and its evaluation with one batch for each search, as `lcrbench run` does."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np

from lcrbench.bench.records import upgrade
from lcrbench.bench.records.by_image import ByImage
from lcrbench.bench.records.record import Asked, Evaluation, Record
from lcrbench.bench.records.spec import Cell
from lcrbench.bench.records.store import LOG, Store


class Files(NamedTuple):
    """What lies beside a run's record: its training's log, its outcomes by cell, and its figures by image."""

    log: bytes
    outcomes: dict[Cell, np.ndarray]
    by_image: ByImage


def complete(record: Record) -> Record:
    """Return a record whose metrics are all those that it has numbers of, or a reason for none."""
    names = dict.fromkeys([*record.spec.metrics, *(m.metric for m in record.measurements), *record.left_out])
    metrics = {name: record.spec.metrics.get(name, {}) for name in names}
    return record.model_copy(update={"spec": record.spec.model_copy(update={"metrics": metrics})})


def halves(record: Record, files: Files, *searches: tuple[Record, ByImage]) -> upgrade.Split:
    """Return a finished run as a training and an evaluation, with one batch more for each of `searches`."""
    record = complete(record)
    batches = [(complete(found), by_image) for found, by_image in searches]
    found = upgrade.split(record, record.spec, {LOG: files.log}, files.outcomes, [(record, files.by_image), *batches])
    # Networks that were trained at another time have other weights.
    made = f"{record.spec.training.train_id} {record.provenance.created}"
    weights = hashlib.sha256(made.encode()).hexdigest()
    training = found.training.model_copy(update={"weights_sha256": weights})
    found = found._replace(
        training=training, evaluation=found.evaluation.model_copy(update={"weights_sha256": weights})
    )
    if not record.sources:
        return found
    [code] = record.sources
    key = code.sha256[:16]
    scoped = [
        batch.model_copy(
            update={
                "cell_source": key if batch.cells else "",
                "measured": tuple(m.model_copy(update={"source": key}) for m in batch.measured),
            }
        )
        for batch in found.evaluation.batches
    ]
    evaluation = found.evaluation.model_copy(update={"batches": tuple(scoped), "sources": {key: code}})
    return found._replace(evaluation=evaluation)


def write(store: Store, record: Record, files: Files, *searches: tuple[Record, ByImage]) -> Record:
    """Write a run into a store, in the place of one of the same training and look; return it as the store reads it."""
    spec = record.spec
    if record.failure:
        asked = Asked(
            protocol=spec.protocol,
            metrics=spec.metrics,
            created=record.provenance.created,
            failure=record.failure,
            provenance=record.provenance,
        )
        evaluation = Evaluation(
            evaluation_id=spec.evaluation_id, subject=spec.subject, training=spec.training, asked=(asked,)
        )
        store.evaluations.write(spec.evaluation_id, evaluation, {})
    else:
        found = halves(record, files, *searches)
        store.trainings.write(spec.training.train_id, found.training, found.training_files)
        store.evaluations.write(spec.evaluation_id, found.evaluation, found.evaluation_files)
    return store.record(spec.run_id)
