"""Evaluates one network on request, a run of a store or a network from outside, and keeps in a store what is found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal

from lcrbench import corruptions
from lcrbench.bench import data as sources
from lcrbench.bench import device as devices
from lcrbench.bench.data import degenerate
from lcrbench.bench.data.arrays import Dataset
from lcrbench.bench.data.loading import as_hashed
from lcrbench.bench.evaluation import known as known_of
from lcrbench.bench.evaluation.cells import Shows
from lcrbench.bench.evaluation.engine import Choice
from lcrbench.bench.evaluation.inference import logits
from lcrbench.bench.evaluation.known import Known
from lcrbench.bench.evaluation.networks import restored
from lcrbench.bench.evaluation.run import Looked, evaluate, protocol_of
from lcrbench.bench.evaluation.shown import answers
from lcrbench.bench.evaluation.takeover import own_data, present
from lcrbench.bench.records import env
from lcrbench.bench.records.grid import Evaluation as Shown
from lcrbench.bench.records.grid import Options
from lcrbench.bench.records.record import Provenance, Training
from lcrbench.bench.records.source import look_again, stale_training
from lcrbench.bench.records.spec import CLEAN, Protocol, RunSpec, evaluation_id
from lcrbench.bench.records.store import Store
from lcrbench.errors import UserError

Watch = Callable[[str, int, int], None]
ALIKE = 0.98
"""Share of answers that a network gives again: another processor rounds otherwise, and a sign may flip."""


def of_run(
    store: Store,
    run: str,
    shown: Shown,
    metrics: Mapping[str, Options],
    *,
    data: str | None = None,
    test: int | None = None,
    device: str = "cpu",
    stale: Literal["refuse", "redo", "keep"] = "refuse",
    trust_plugins: bool = False,
    engine: Choice = "auto",
    watch: Watch = lambda phase, done, total: None,
) -> tuple[Known, Protocol]:
    """Show the network of a run what `shown` says, and keep what is found in the store, whose data are not repeated.

    `data` names other images than the run's own, `test` how many of the test images. What a different version of the code
    made of what is asked for is `stale`: refused, shown and measured again ("redo"), or left as it is ("keep"). Raises
    `UserError` if there is no such run, if it failed, if the data are not those it was trained with (without `data`), or
    `Held` if another process evaluates it.
    """
    look_again()
    spec = present(store, store.find(run), trust_plugins=trust_plugins)
    training, weights = store.trained(spec.run_id)
    looked = replace(restored(training, weights, trust_plugins=trust_plugins, device=device), engine=engine)
    if data is None:
        dataset = own_data(spec, trust_plugins=trust_plugins)
    else:
        stream = as_hashed(data, spec.training.data.hash_kind)
        dataset = sources.load(data, size=spec.data.size, resize=spec.resize, stream=stream)
        degenerate.check_shown(dataset.name, dataset.classes, dataset.test)
    if len(dataset.classes) != len(spec.data.classes):
        raise UserError(f"'{data}' has {len(dataset.classes)} classes, and the network gives {len(spec.data.classes)}")
    if test is not None:
        dataset = sources.take(dataset, None, test, seed=0)
    protocol = protocol_of(dataset, spec.data.size, shown)
    return shown_to(
        store, spec, training, looked, dataset, protocol, metrics, device=device, stale=stale, watch=watch
    ), protocol


def shown_to(
    store: Store,
    spec: RunSpec,
    training: Training,
    looked: Looked,
    dataset: Dataset,
    protocol: Protocol,
    metrics: Mapping[str, Options],
    *,
    device: str = "cpu",
    stale: Literal["refuse", "redo", "keep"] = "refuse",
    watch: Watch = lambda phase, done, total: None,
    cells: Shows | None = None,
) -> Known:
    """Show a run's network the cells of a protocol, keep in the store what is found, and return all that is known.

    Raises `UserError` for what is stale, as `of_run` does, or `Held` if another process evaluates it.
    """
    named = spec.model_copy(update={"protocol": protocol})
    shown = Shown(corruptions=() if protocol.test.benchmark else protocol.corruptions, severities=protocol.severities)
    with store.held(named.evaluation_id):
        kept = store.known(named.evaluation_id)
        before = Known(*kept) if kept else None
        _check_stale(training, before, protocol, metrics, stale)
        found = evaluate(
            looked,
            dataset,
            protocol,
            metrics,
            _provenance(device, spec.data.size, shown),
            known=before,
            keep_stale=stale == "keep",
            device=device,
            cells=cells,
            watch=watch,
        )
        if before is None or found.evaluation != before.evaluation:
            written = store.evaluations.write(named.evaluation_id, found.evaluation, found.files)
            found = replace(found, evaluation=written)
    return found


def _check_stale(
    training: Training, known: Known | None, protocol: Protocol, metrics: Mapping[str, Options], stale: str
) -> None:
    """Raise `UserError` if what is built on was made by a different version of the code, unless `stale` allows it."""
    if stale != "keep" and (why := stale_training(training)):
        raise UserError(
            f"the training {training.train_id} was made by a different version of the code ({why}): train it again with "
            "`lcrbench run --stale redo`, or go on with it as it is with --stale keep (stale='keep')"
        )
    if stale == "refuse" and known is not None:
        _refuse_stale(known, protocol, metrics)


def _refuse_stale(known: Known, protocol: Protocol, metrics: Mapping[str, Options]) -> None:
    for part, why in known_of.stale_parts(known.evaluation, protocol, metrics):
        raise UserError(
            f"{part} of this run were made by a different version of the code ({why}): make them again with --stale "
            "redo (stale='redo'), or go on with them as they are with --stale keep"
        )


def of_network(
    looked: Looked,
    dataset: Dataset,
    protocol: Protocol,
    metrics: Mapping[str, Options],
    *,
    store: Store | None = None,
    device: str = "cpu",
    stale: Literal["refuse", "redo", "keep"] = "refuse",
    watch: Watch = lambda phase, done, total: None,
    cells: Shows | None = None,
) -> Known:
    """Show a network from outside the cells of a protocol; with a store, keep there what is found, and repeat nothing.

    Raises `UserError` for what is stale, as `of_run` does: numbers of a different version of the code, and of a network that
    has the same weights and gives other answers. Raises `Held` if another process evaluates it.
    """
    shown = Shown(corruptions=() if protocol.test.benchmark else protocol.corruptions, severities=protocol.severities)
    made = _provenance(device, protocol.test.size, shown)

    def look(before: Known | None) -> Known:
        return evaluate(
            looked,
            dataset,
            protocol,
            metrics,
            made,
            known=before,
            keep_stale=stale == "keep",
            device=device,
            cells=cells,
            watch=watch,
        )

    if store is None:
        return look(None)
    name = evaluation_id(looked.subject, protocol)
    with store.held(name):
        kept = store.known(name)
        before = Known(*kept) if kept else None
        if before is not None and not _answers_alike(looked, dataset, protocol, before, device):
            if stale != "redo":
                raise UserError(
                    f"the store holds other answers of the network with these weights ({name}): its code has changed. Look "
                    "again with --stale redo (stale='redo')"
                )
            before = None
        if before is not None and stale == "refuse":
            _refuse_stale(before, protocol, metrics)
        found = look(before)
        if before is None or found.evaluation != before.evaluation:
            found = replace(found, evaluation=store.evaluations.write(name, found.evaluation, found.files))
    return found


def _answers_alike(looked: Looked, dataset: Dataset, protocol: Protocol, known: Known, device: str) -> bool:
    """Tell whether a network classifies a block of clean images as it did: weights do not say all of somebody's code."""
    indices = dataset.test_indices[: protocol.block]
    if len(known.predictions.missing(CLEAN, indices, exact=True)):
        return True
    now = answers(
        logits(looked.network, dataset.test.images[: len(indices)], protocol.block, device), protocol.test.columns
    )
    return bool((known.predictions.given(CLEAN, indices) == now).mean() >= ALIKE)


def _provenance(device: str, size: int, shown: Shown) -> Provenance:
    devices.prepare(device)
    engine = corruptions.provenance(size, size, names=shown.corruptions)
    return devices.describe(device, env.provenance(device, 1, env.command_line(), engine, deterministic=True))
