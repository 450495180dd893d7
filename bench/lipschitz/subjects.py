"""Networks to measure: those of finished runs, rebuilt from spec and weights, and modules from elsewhere."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from lcrbench.bench import data, worker
from lcrbench.bench.evaluation.inference import Subject
from lcrbench.bench.records.record import Record
from lcrbench.bench.records.spec import Evaluation
from lcrbench.bench.records.store import WEIGHTS, Store
from lcrbench.errors import UserError
from lcrbench.models import estimators
from lcrbench.models import network as networks


def of_run(store: str, prefix: str, source: str | None = None, device: str = "cpu") -> tuple[Record, Subject]:
    """Return a run's record and its trained network on its own test images, or on those of `source`.

    Raises `UserError` if there is no such run, if it failed, or if the data are not those it was trained with.
    """
    found = Store(store)
    record = found.record(found.find(prefix))
    spec = record.spec
    if record.status != "finished":
        raise UserError(
            f"run {record.run_id} failed: {record.failure.message if record.failure else 'no reason is known'}"
        )
    whole, bracket, _ = spec.data.name.partition("[")  # a subset is named whole[train=..., test=..., seed=0]
    dataset = data.load(source or whole, size=spec.data.size)
    if source is None and bracket:
        dataset = data.take(dataset, spec.data.train, spec.data.test, seed=0)
    if source is None and dataset.sha256 != spec.data.sha256:
        raise UserError(
            f"the images named '{spec.data.name}' are not those of run {record.run_id}: name them with --data"
        )
    choice = networks.choose(worker.choice_text(spec))

    def generator(name: str) -> torch.Generator:
        return torch.Generator().manual_seed(0)  # the weights are replaced below

    mean, std = (list(map(float, v)) for v in (dataset.mean, dataset.std))
    classes = len(spec.data.classes)
    network = networks.build(choice, spec.backbone, classes, spec.data.size, mean, std, generator)
    path = found.folder(record.run_id) / WEIGHTS
    try:
        network.load_state_dict(load_file(path))
    except (OSError, RuntimeError) as error:
        raise UserError(f"the weights at {path} cannot be read: {str(error).partition(chr(10))[0]}") from error
    # Estimators sharpen over the training; their state at its end is a function of the progress alone.
    steps = record.ledger.steps if record.ledger else 1
    estimators.set_progress(network, (steps - 0.5) / steps)
    network = network.to(memory_format=torch.channels_last)
    return record, Subject(network.to(device).eval(), dataset.test, {}, spec, device)


class _Bare:
    """Stands for the spec of a network that no run trained: a measurement reads the block's size alone."""

    evaluation = Evaluation()


def of_model(path: str, source: str, size: int, device: str = "cpu") -> Subject:
    """Return the network that MODULE:FUNCTION makes, with the test images of a data set. It is measured as it comes.

    Modules of the current folder are found, as `python -m` would. Raises `UserError` with what their code raised, and if
    the outputs for two test images are not logits.
    """
    made = _made(path).to(device)
    test = data.load(source, size=size).test
    images = torch.from_numpy(test.images[:2].copy()).permute(0, 3, 1, 2).float().to(device) / 255
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
    spec: Any = _Bare()
    return Subject(made, test, {}, spec, device)


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
