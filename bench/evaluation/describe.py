"""What the record says of a trained network: its size and cost, its topology, and the audit of its binary layers."""

from __future__ import annotations

import math
from dataclasses import asdict

import torch
from torch import nn

from lcrbench.bench.data.arrays import Split
from lcrbench.bench.records.record import Audit, LayerAudit, ModelInfo
from lcrbench.bench.records.spec import TrainSpec
from lcrbench.models import network as networks
from lcrbench.models.audit import audit
from lcrbench.models.binary import binary_layers

AUDITED = 4


def describe(network: nn.Module, choice: networks.Choice, spec: TrainSpec, test: Split) -> ModelInfo:
    """Return the figures of a trained network; its audit runs on the first test images."""
    binary = binary_layers(network)
    cost = networks.cost(network, spec.data.size)
    found = _audit(network, test) if binary else None
    passed = found is not None and found.passed
    return ModelInfo(
        parameters=sum(p.numel() for p in network.parameters()),
        binary_weights=sum(m.weight.numel() for m in binary.values()),
        binary_layers=tuple(binary),
        macs=cost.macs,
        binary_macs=cost.binary_macs,
        ops=cost.ops,
        memory_bits=networks.memory_bits(network),
        weight_bits=choice.method.weight_bits if passed else 32,
        activation_bits=choice.method.activation_bits if passed else 32,
        topology=networks.topology(spec.backbone)[1],
        options={choice.name: asdict(choice.method)} | {k: asdict(r) for k, r in choice.regularizers.items()},
        audit=found,
    )


def _audit(network: nn.Module, test: Split) -> Audit:
    images = torch.from_numpy(test.images[:AUDITED].copy()).permute(0, 3, 1, 2).float() / 255
    found = audit(network, images)
    difference = found.logit_difference
    return Audit(
        passed=found.passed,
        faults=found.faults,
        images=len(images),
        logit_difference=difference if math.isfinite(difference) else None,
        layers=tuple(LayerAudit(**vars(layer)) for layer in found.layers),
    )
