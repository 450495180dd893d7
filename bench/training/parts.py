"""The parts that a recipe names, loaded from the registry: optimizer, schedule and augmentation."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lcrbench import registry
from lcrbench.bench.records.budget import Recipe
from lcrbench.bench.training import api
from lcrbench.errors import UserError
from lcrbench.models import parse
from lcrbench.models.binary import binary_layers
from lcrbench.models.definitions import checked
from lcrbench.models.network import latent_weights, must_decay

KINDS: dict[str, tuple[str, type[Any]]] = {
    "optimizer": ("optimizer", api.Optimizer),
    "schedule": ("schedule", api.Schedule),
    "augmentation": ("transform", api.Transform),
}
"""The registry's kind and the contract, by field of the recipe."""


@dataclass(frozen=True)
class Parts:
    """What a recipe's texts stand for."""

    optimizer: api.Optimizer
    schedule: api.Schedule
    augmentation: api.Transform


def load(recipe: Recipe) -> Parts:
    """Return a recipe's parts; raises `UserError` for a name or an option that does not exist, or a broken entry."""
    return Parts(**{field: _read(field, getattr(recipe, field))[1] for field in KINDS})


def settled(recipe: Recipe) -> Recipe:
    """Return the recipe with each part written in one form only: options at their default left out, the others in order.

    Raises `UserError` as `load` does. So `sgd` and `sgd:nesterov=true` are one recipe.
    """
    texts = {}
    for field in KINDS:
        name, part = _read(field, getattr(recipe, field))
        options = parse.changed(dataclasses.asdict(part), _defaults(type(part)))
        texts[field] = parse.write([parse.Part(name, options)])
    return recipe.model_copy(update=texts)


def make_optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return the recipe's optimizer over the network's parameters, of which those decay that the recipe's `decay` names.

    What the method declares in `decays` decays in any case.
    """
    optimizer = load(recipe).optimizer
    binary = [layer.weight for layer in binary_layers(network).values()]
    flipped = ids_of(binary) if optimizer.flips else set()
    kept = [p for p in network.parameters() if id(p) not in flipped]
    decaying = ids_of(network.parameters() if recipe.decay == "all" else latent_weights(network).values())
    if recipe.decay == "real_weights":
        decaying -= ids_of(binary)
    decaying |= ids_of(must_decay(network))
    groups: list[api.Group] = [
        {"params": [p for p in kept if id(p) in decaying], "weight_decay": recipe.weight_decay},
        {"params": [p for p in kept if id(p) not in decaying], "weight_decay": 0.0},
    ]
    if flipped:
        groups.append({"params": binary, "weight_decay": 0.0, "flips": True})
    return optimizer.make(groups, recipe)


def ids_of(parameters: Iterable[Tensor]) -> set[int]:
    """Return the identities of parameters."""
    return {id(p) for p in parameters}


def learning_rate(recipe: Recipe, schedule: api.Schedule, progress: float) -> float:
    """Return the rate at `progress` in [0, 1]: linear warm-up from 0 to `lr`, then lr times the schedule's factor."""
    if progress < recipe.warmup:
        return recipe.lr * progress / recipe.warmup
    return recipe.lr * schedule.factor(progress, recipe.warmup)


def _read(field: str, text: str) -> tuple[str, Any]:
    """Return the public name of the part that a field's text names, and the part with its options."""
    kind, contract = KINDS[field]
    read = parse.read(text, what=f"recipe.{field}")
    if len(read) != 1:
        raise UserError(f"recipe.{field} names one {kind}, not '{text}'")
    name = read[0].name
    found = checked(registry.load(kind, name), contract, kind, name)
    options = parse.typed(name, read[0].options, _defaults(found))
    try:
        part = found(**options)
    except ValueError as error:
        raise UserError(f"recipe.{field} = '{text}': {error}") from error
    return registry.public(kind, name), part


def _defaults(part: type[Any]) -> dict[str, Any]:
    return {f.name: f.default for f in dataclasses.fields(part)}
