"""The parts that a recipe names, loaded from the registry: optimizer, schedule and augmentation."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lcrbench import registry
from lcrbench.bench.records.budget import Recipe
from lcrbench.bench.training import api
from lcrbench.errors import UserError
from lcrbench.models import parse
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
    """Return the recipe's optimizer: latent weights decay, or all parameters, as the recipe's `decay` says.

    What the method declares in `decays` decays in either case.
    """
    decayed = list(latent_weights(network).values() if recipe.decay == "weights" else network.parameters())
    ids = {id(p) for p in decayed}
    decayed += [p for p in must_decay(network) if id(p) not in ids]
    ids = {id(p) for p in decayed}
    rest = [p for p in network.parameters() if id(p) not in ids]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": rest, "weight_decay": 0.0}]
    return load(recipe).optimizer.make(groups, recipe)


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
