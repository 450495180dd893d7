"""Takes over runs of older schemas: writes them as a training and an evaluation, so that they are gone on with."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import numpy as np

from lcrbench import registry
from lcrbench.bench import data
from lcrbench.bench.data.arrays import Dataset
from lcrbench.bench.data.loading import as_hashed, needs_trust
from lcrbench.bench.evaluation.networks import modules_of
from lcrbench.bench.evaluation.run import ROOTS
from lcrbench.bench.records import source, upgrade
from lcrbench.bench.records.lease import Held
from lcrbench.bench.records.record import Source
from lcrbench.bench.records.shelf import Damaged
from lcrbench.bench.records.spec import RunSpec
from lcrbench.bench.records.store import Store
from lcrbench.bench.training.run import scope as scope_of
from lcrbench.errors import UserError


def find(store: Store, spec: RunSpec, dataset: Dataset) -> tuple[upgrade.Split, bool] | None:
    """Return a finished run of an older schema that is the run of `spec`, in the present form; None if there is none.

    It is the same run if the data, by the one hash over training and test images that older schemas have, and all else of
    the training are the same. The second value tells whether its predictions count: those of a subset do not, because its
    corruptions drew by the position within the subset.
    """
    data = spec.training.data.model_copy(update={"sha256": "", "both_sha256": dataset.sha256})
    wanted = spec.training.model_copy(update={"data": data}).train_id
    for name in store.old.shelf.ids():
        try:
            old = store.old.record(name)
        except Damaged:
            raise
        except UserError:  # a newer version wrote it: it is no run of an older schema
            continue
        if old.status != "finished" or old.trained.training.train_id != wanted:
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
        return _scoped(upgrade.split(old, new, files, store.old.outcomes(name), searches, labels)), same
    return None


def _scoped(made: upgrade.Split) -> upgrade.Split:
    """Return a run from before scopes with the scopes of the present code, if its version is known to give equal bits.

    From then on it goes stale like any other. What came from outside is not known to be as it was, and stays stale; so does
    a training under equal compute, which another rule counted, one by a method whose bits have changed since, and what a
    metric measured that gives other numbers today.
    """
    spec = made.training.spec
    named = [("method", spec.method.name), *(("regularizer", name) for name in spec.method.regularizers)]
    named.append(("backbone", spec.backbone_name))
    other = spec.budget.unit == "compute" or source.other_bits(spec.method)
    if other or any(registry.is_outside(kind, name) for kind, name in named):
        unknown = made.training.provenance.model_copy(update={"source": ""})
        return made._replace(training=made.training.model_copy(update={"provenance": unknown}))
    if made.training.provenance.source not in source.equal_bits():
        return made
    sources: dict[str, Source] = {}

    def note(*modules: str, other: bool = False) -> str:
        scope = source.closure((*ROOTS, *modules_of(spec), *modules))
        if other:  # the hash that those modules had is not known, only that it was another one
            scope = scope.model_copy(update={"modules": scope.modules | dict.fromkeys(modules, "")})
        sources[scope.sha256[:16]] = scope
        return scope.sha256[:16]

    batches = []
    for batch in made.evaluation.batches:
        known = batch.provenance.source in source.equal_bits()
        measured = tuple(
            m.model_copy(update={"source": _metric_source(note, m.metric) if known else ""}) for m in batch.measured
        )
        cells = note() if known and batch.cells else ""
        batches.append(batch.model_copy(update={"cell_source": cells, "measured": measured}))
    return made._replace(
        training=made.training.model_copy(update={"source": scope_of(spec)}),
        evaluation=made.evaluation.model_copy(update={"batches": tuple(batches), "sources": sources}),
    )


def _metric_source(note: Callable[..., str], metric: str) -> str:
    return note(registry.module_name("metric", metric), other=source.other_numbers(metric))


def take_over(store: Store, spec: RunSpec, dataset: Dataset) -> None:
    """Write the run of an older schema that `find` finds in the present form, unless the store has the training already."""
    if spec.training.train_id in store.trainings or (found := find(store, spec, dataset)) is None:
        return
    made, same = found
    with contextlib.suppress(Held), store.held(made.training.train_id, made.evaluation.evaluation_id):
        if same and made.evaluation.evaluation_id not in store.evaluations:
            store.evaluations.write(made.evaluation.evaluation_id, made.evaluation, made.evaluation_files)
        store.trainings.write(made.training.train_id, made.training, made.training_files)


def own_data(spec: RunSpec, *, trust_plugins: bool = False) -> Dataset:
    """Return the data set of a run: the one of that name, cut down to as many images as the run has.

    Raises `UserError` if there are no images of that name or not those of the run, and for an import path that only the
    record names, unless `trust_plugins`, because to load from there would run its code.
    """
    name, kind = spec.data.name, spec.training.data.hash_kind
    if not trust_plugins and needs_trust(name):
        raise UserError(
            f"the record names the data '{name}', an import path whose code would run: name them with --data (data=...) or"
            " pass --trust-plugins (in Python trust_plugins=True) if you trust it"
        )
    try:
        dataset = data.load(name, size=spec.data.size, resize=spec.resize, stream=as_hashed(name, kind))
    except UserError as error:
        # A folder is recorded by its last name, since its path is no fact of the run.
        raise UserError(
            f"the images of the run, '{name}', are not at hand ({error}): name them with --data (data=...)"
        ) from error
    train, test = spec.data.train, spec.data.test
    if train <= len(dataset.train) and test <= len(dataset.test):
        dataset = data.take(
            dataset,
            None if train == len(dataset.train) else train,
            None if test == len(dataset.test) else test,
            seed=0,
        )
    wanted = spec.training.data
    same = dataset.train_sha256 == wanted.sha256 or dataset.sha256 == wanted.both_sha256
    if not same or spec.protocol.test.sha256 not in (dataset.whole_sha256, dataset.sha256):
        raise UserError(
            f"the images named '{spec.data.name}' are not those of the run: name them with --data (data=...)"
        )
    return dataset


def present(store: Store, run_id: str, *, trust_plugins: bool = False) -> RunSpec:
    """Return the spec of a run; one of an older schema is taken over first. Raises `UserError` as `own_data` does."""
    spec = store.record(run_id).trained
    wanted = spec.training.data
    if wanted.sha256:
        return spec
    dataset = own_data(spec, trust_plugins=trust_plugins)
    named = wanted.model_copy(update={"sha256": dataset.train_sha256, "both_sha256": ""})
    training = spec.training.model_copy(update={"data": named})
    new = RunSpec(training=training, protocol=spec.protocol, metrics=spec.metrics)
    take_over(store, new, dataset)
    return new if new.run_id in store.ids() else spec
