"""Evaluates one network on request: a run of a store, with what is found kept there, or any torch module, in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from lcrbench import corruptions
from lcrbench.bench import data as sources
from lcrbench.bench import device as devices
from lcrbench.bench.data.arrays import Dataset
from lcrbench.bench.data.loading import as_hashed
from lcrbench.bench.evaluation import known as known_of
from lcrbench.bench.evaluation.cells import Shows
from lcrbench.bench.evaluation.engine import Choice
from lcrbench.bench.evaluation.known import Known
from lcrbench.bench.evaluation.networks import external, restored
from lcrbench.bench.evaluation.run import Looked, evaluate, protocol_of
from lcrbench.bench.evaluation.takeover import own_data, present
from lcrbench.bench.records import env
from lcrbench.bench.records.grid import Evaluation as Shown
from lcrbench.bench.records.grid import Options
from lcrbench.bench.records.record import Provenance, Training
from lcrbench.bench.records.source import look_again, stale_training
from lcrbench.bench.records.spec import Protocol, RunSpec
from lcrbench.bench.records.store import Store
from lcrbench.errors import UserError

Watch = Callable[[str, int, int], None]


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
    `Timeout` if another process evaluates it.
    """
    look_again()
    spec = present(store, store.find(run))
    training, weights = store.trained(spec.run_id)
    looked = replace(restored(training, weights, trust_plugins=trust_plugins, device=device), engine=engine)
    if data is None:
        dataset = own_data(spec)
    else:
        stream = as_hashed(data, spec.training.data.hash_kind)
        dataset = sources.load(data, size=spec.data.size, stream=stream)
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

    Raises `UserError` for what is stale, as `of_run` does, or `Timeout` if another process evaluates it.
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
        for part, why in known_of.stale_parts(known.evaluation, protocol, metrics):
            raise UserError(
                f"{part} of this run were made by a different version of the code ({why}): make them again with --stale "
                "redo (stale='redo'), or go on with them as they are with --stale keep"
            )


def of_module(
    module: nn.Module,
    dataset: Dataset,
    size: int,
    shown: Shown,
    metrics: Mapping[str, Options],
    *,
    name: str = "",
    device: str = "cpu",
    engine: Choice = "auto",
    watch: Watch = lambda phase, done, total: None,
) -> tuple[Known, Protocol]:
    """Show a torch module what `shown` says. Raises `UserError` if it does not take the images, or gives no logits."""
    module = module.to(device).eval()
    check_logits(module, dataset, name or type(module).__name__, device, classes=len(dataset.classes))
    looked = replace(external(module, name or type(module).__name__), engine=engine)
    protocol = protocol_of(dataset, size, shown)
    made = _provenance(device, size, shown)
    return evaluate(looked, dataset, protocol, metrics, made, device=device, watch=watch), protocol


def check_logits(
    module: nn.Module, dataset: Dataset, name: str, device: str = "cpu", *, classes: int | None = None
) -> None:
    """Raise `UserError` if a module does not take two test images, or does not give logits (2, classes) for them.

    `classes` is the number that the data have, where predictions are compared with labels.
    """
    images = torch.from_numpy(dataset.test.images[:2].copy()).permute(0, 3, 1, 2).float().to(device) / 255
    try:
        with torch.no_grad():
            out = module(images)
    except (Exception, SystemExit) as error:  # their code may raise anything
        first = str(error).partition("\n")[0]
        shape = tuple(images.shape)
        raise UserError(f"{name} does not take images {shape}: {type(error).__name__}: {first}") from error
    if not isinstance(out, Tensor) or out.ndim != 2 or len(out) != len(images) or out.shape[1] < 2:
        what = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
        raise UserError(f"{name} gives {what} for {len(images)} images, not logits ({len(images)}, classes)")
    if classes is not None and out.shape[1] != classes:
        raise UserError(f"{name} gives {out.shape[1]} logits, and the data have {classes} classes")
    if (out >= 0).all() and (out.sum(1) - 1).abs().max() <= 1e-4:
        raise UserError(f"{name} gives probabilities, and logits are needed: leave its softmax out")


def _provenance(device: str, size: int, shown: Shown) -> Provenance:
    devices.prepare(device)
    engine = corruptions.provenance(size, size, names=shown.corruptions)
    return devices.describe(device, env.provenance(device, 1, env.command_line(), engine, deterministic=True))
