"""Takes over runs of older schemas: writes them as a training and an evaluation, so that they are gone on with."""

from __future__ import annotations

import contextlib

import numpy as np
from filelock import Timeout

from lcrbench.bench.data.arrays import Dataset
from lcrbench.bench.records import upgrade
from lcrbench.bench.records.spec import RunSpec
from lcrbench.bench.records.store import Store


def take_over(store: Store, spec: RunSpec, dataset: Dataset) -> None:
    """Write a finished run of an older schema in the present form, if it is the run of `spec` and not there already.

    It is the same run if the data, by the one hash over training and test images that older schemas have, and all else of
    the training are the same. Its predictions are taken over if they were made under the same look; those of a subset were
    not, because its corruptions drew by the position within the subset.
    """
    if spec.training.train_id in store.trainings:
        return
    data = spec.training.data.model_copy(update={"sha256": "", "both_sha256": dataset.sha256})
    wanted = spec.training.model_copy(update={"data": data}).train_id
    for name in store.old.shelf.ids():
        old = store.old.record(name)
        if old.status != "finished" or old.spec.training.train_id != wanted:
            continue
        files = {f: store.old.file(name, f) for f in (upgrade.LOG, upgrade.WEIGHTS, upgrade.PACKED)}
        files = {f: content for f, content in files.items() if content}
        same = old.spec.protocol.look == spec.protocol.look and spec.protocol.test.chosen is None
        protocol = spec.protocol.model_copy(
            update={"corruptions": old.spec.protocol.corruptions, "severities": old.spec.protocol.severities}
        )
        new = RunSpec(training=spec.training, protocol=protocol, metrics=old.spec.metrics)
        searches = [(record, read()) for record, read in store.old.searches(name)]
        labels = np.asarray(dataset.test.labels) if same else None
        found = upgrade.split(old, new, files, store.old.outcomes(name), searches, labels)
        with contextlib.suppress(Timeout), store.held(new.training.train_id, new.evaluation_id):
            if same and new.evaluation_id not in store.evaluations:
                store.evaluations.write(new.evaluation_id, found.evaluation, found.evaluation_files)
            store.trainings.write(found.training.train_id, found.training, found.training_files)
        return
