"""Networks to measure: those of finished runs, with their kept weights, and modules from elsewhere."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import os
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lcrbench.bench import data
from lcrbench.bench.data.arrays import Dataset
from lcrbench.bench.evaluation.networks import restored
from lcrbench.bench.evaluation.run import Known, Looked
from lcrbench.bench.evaluation.takeover import take_over
from lcrbench.bench.records.record import Record
from lcrbench.bench.records.spec import External, Protocol, RunSpec, Subject, TestSet
from lcrbench.bench.records.store import Store
from lcrbench.errors import UserError


class Network(NamedTuple):
    """A network to measure, by its name in messages: what it is shown, and what is known of it.

    `record` is that of the run that trained it, None for another's. `run_id` is set where the store is to keep what is
    measured: where the images are the run's own.
    """

    name: str
    record: Record | None
    looked: Looked
    dataset: Dataset
    protocol: Protocol
    known: Known | None = None
    run_id: str = ""


def of_run(
    store: Store, prefix: str, source: str | None = None, device: str = "cpu", *, trust_plugins: bool = False
) -> Network:
    """Return the trained network of a run on its own test images, or on those of `source`.

    A run of an older schema is taken over first. Raises `UserError` if there is no such run, if it failed, or if the data
    are not those it was trained with.
    """
    record = store.record(store.find(prefix))
    training, weights = store.trained(record.run_id)
    looked = restored(training, weights, trust_plugins=trust_plugins, device=device)
    spec = record.spec
    name = f"{spec.label} seed {spec.seed} ({record.run_id[:8]})"
    if source is not None:
        dataset = data.load(source, size=spec.data.size)
        return Network(name, record, looked, dataset, _clean(dataset, spec.data.size, spec.protocol.block))
    dataset = own_data(spec)
    wanted = spec.training.data
    same = dataset.train_sha256 == wanted.sha256 or dataset.sha256 == wanted.both_sha256
    if not same or spec.protocol.test.sha256 not in (dataset.whole_sha256, dataset.sha256):
        raise UserError(
            f"the images named '{spec.data.name}' are not those of run {record.run_id}: name them with --data"
        )
    if wanted.both_sha256:
        named = wanted.model_copy(update={"sha256": dataset.train_sha256, "both_sha256": ""})
        new = RunSpec(
            training=spec.training.model_copy(update={"data": named}), protocol=spec.protocol, metrics=spec.metrics
        )
        take_over(store, new, dataset)
        if new.run_id in store.ids():
            return of_run(store, new.run_id, device=device, trust_plugins=trust_plugins)
        return Network(name, record, looked, dataset, spec.protocol)
    found = store.known(spec.evaluation_id)
    return Network(name, record, looked, dataset, spec.protocol, Known(*found) if found else None, record.run_id)


def own_data(spec: RunSpec) -> Dataset:
    """Return the data set of a run; a subset is named whole[train=..., test=..., seed=0]."""
    whole, bracket, _ = spec.data.name.partition("[")
    dataset = data.load(whole, size=spec.data.size)
    if bracket:
        train = None if "train=all" in spec.data.name else spec.data.train
        test = None if "test=all" in spec.data.name else spec.data.test
        dataset = data.take(dataset, train, test, seed=0)
    return dataset


def _clean(dataset: Dataset, size: int, block: int = 100) -> Protocol:
    """Return the protocol that shows a data set's test images as they are."""
    test = TestSet(
        name=dataset.name,
        sha256=dataset.whole_sha256,
        size=size,
        classes=dataset.classes,
        images=len(dataset.test.labels),
    )
    return Protocol(test=test, corruptions=(), severities=(), block=block)


def of_model(path: str, source: str, size: int, device: str = "cpu") -> Network:
    """Return the network that MODULE:FUNCTION makes, with the test images of a data set. It is measured as it comes.

    Modules of the current folder are found, as `python -m` would. Raises `UserError` with what their code raised, and if
    the outputs for two test images are not logits.
    """
    made = _made(path).to(device)
    dataset = data.load(source, size=size)
    images = torch.from_numpy(dataset.test.images[:2].copy()).permute(0, 3, 1, 2).float().to(device) / 255
    try:
        with torch.no_grad():
            out = made(images)
    except (Exception, SystemExit) as error:  # their code may raise anything
        first = str(error).partition("\n")[0]
        shape = tuple(images.shape)
        raise UserError(f"--model {path} does not take images {shape}: {type(error).__name__}: {first}") from error
    if not isinstance(out, Tensor) or out.ndim != 2 or len(out) != len(images) or out.shape[1] < 2:
        what = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
        raise UserError(f"--model {path} gives {what} for {len(images)} images, not logits ({len(images)}, classes)")
    if (out >= 0).all() and (out.sum(1) - 1).abs().max() <= 1e-4:
        raise UserError(f"--model {path} gives probabilities, and logits are needed: leave its softmax out")
    digest = hashlib.sha256()
    for key, tensor in sorted(made.state_dict().items()):
        digest.update(key.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    module = path.partition(":")[0]
    subject = Subject(external=External(name=path, weights_sha256=digest.hexdigest()))
    looked = Looked(made, subject, digest.hexdigest(), (module,))
    return Network(path, None, looked, dataset, _clean(dataset, size))


def _made(path: str) -> nn.Module:
    """Return what the function at MODULE:FUNCTION makes."""
    module, colon, function = path.partition(":")
    takes = "--model takes MODULE:FUNCTION, a function without arguments that returns a torch module"
    if not (module and colon and function):
        raise UserError(f"{takes}, not '{path}'")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        make = getattr(importlib.import_module(module), function)
        if isinstance(make, nn.Module):
            raise UserError(f"{takes}; '{path}' is the module itself")
        if not callable(make) or _needs(make):
            what = f"needs arguments: {', '.join(_needs(make))}" if callable(make) else "is no function"
            raise UserError(f"{takes}; '{path}' {what}")
        made = make()
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # their code may raise anything
        missing = isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}.")
        hint = ": modules of the current folder and of PYTHONPATH are found" if missing else ""
        first = str(error).partition("\n")[0]
        raise UserError(f"--model {path}: {type(error).__name__}: {first}{hint}") from error
    if not isinstance(made, nn.Module):
        raise UserError(f"{takes}; '{path}' returns {type(made).__name__}")
    return made


def _needs(make: Callable[..., Any]) -> list[str]:
    """Return the arguments without which a function cannot be called."""
    try:
        given = inspect.signature(make).parameters.values()
    except ValueError:  # some functions of C tell nothing about theirs
        return []
    optional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in given if p.default is p.empty and p.kind not in optional]
