"""Trained networks, back from their store: built from the spec, with the kept weights, and the modules of their code."""

from __future__ import annotations

from importlib.metadata import entry_points

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn

from lcrbench import registry
from lcrbench.bench.evaluation.run import Looked
from lcrbench.bench.records.record import Training
from lcrbench.bench.records.shelf import REDO, Damaged
from lcrbench.bench.records.spec import MethodId, Subject, TrainSpec
from lcrbench.errors import UserError
from lcrbench.models import estimators, parse
from lcrbench.models import network as networks


def modules_of(spec: TrainSpec) -> tuple[str, ...]:
    """Return the modules in which a network's forward pass is written: composition, method, regularizers, backbone."""
    parts = [("backbone", spec.backbone_name), ("method", spec.method.name)]
    parts += [("regularizer", name) for name in spec.method.regularizers]
    return ("lcrbench.models.network", *(registry.module_name(kind, name) for kind, name in parts))


def restored(training: Training, weights: bytes, *, trust_plugins: bool = False, device: str = "cpu") -> Looked:
    """Return the network of a training with its kept `weights` (the bytes of the file), in evaluation mode, on a device.

    Code is run that the record names: our own, that of installed entry points, and with `trust_plugins` import paths.
    Raises `UserError` for one without, and `Damaged` if the weights are not what was written.
    """
    spec = training.spec
    if not trust_plugins:
        check_trust(spec.backbone, spec.method)
    network = built(spec)
    try:
        network.load_state_dict(safetensors.torch.load(weights))
    except (RuntimeError, SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        first = str(error).partition("\n")[0]
        raise Damaged(
            f"the weights of training {training.train_id} do not fit its network ({first}): {REDO}"
        ) from error
    # Estimators sharpen over the training; their state at its end is a function of the progress alone.
    steps, progress = training.ledger.steps, training.ledger.progress
    estimators.set_progress(network, (steps - 0.5) / steps if progress is None else progress)
    network = network.to(device).eval()
    return Looked(network, Subject(training=training.train_id), training.weights_sha256, modules_of(spec), spec)


def built(spec: TrainSpec) -> nn.Module:
    """Return the network of a training, whose weights and buffers are still to be put in."""
    zeros, ones = [0.0] * 3, [1.0] * 3

    def generator(name: str) -> torch.Generator:
        return torch.Generator().manual_seed(0)

    choice, classes = networks.choose(spec.method.text), len(spec.data.classes)
    network = networks.build(choice, spec.backbone, classes, spec.data.size, zeros, ones, generator)
    return network.to(memory_format=torch.channels_last)


def check_trust(backbone: str, method: MethodId) -> None:
    """Raise `UserError` for an import path that is only read from a record: to load it would run somebody's code."""
    names = {"method": [method.name], "regularizer": [*method.regularizers], "backbone": [parse.read(backbone)[0].name]}
    for kind, found in names.items():
        installed = {e.name for e in entry_points(group=f"lcrbench.{kind}")}
        for name in found:
            if "." in name and name not in installed:
                raise UserError(
                    f"the record names the {kind} '{name}', an import path whose code would be run: pass --trust-plugins "
                    "(in Python trust_plugins=True) if you trust it"
                )
