"""RMSprop (Tieleman and Hinton 2012): v <- a v + (1 - a) g^2; w <- w - lr g / (sqrt(v) + 1e-8)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lcrbench.bench.records.budget import Recipe
from lcrbench.bench.training import api


@dataclass(frozen=True)
class Optimizer(api.Optimizer):
    """torch's RMSprop; `alpha` in [0, 1) is the decay rate a."""

    alpha: float = 0.99

    def make(self, groups: list[api.Group], recipe: Recipe) -> torch.optim.Optimizer:
        """Return RMSprop with the recipe's rate and momentum."""
        return torch.optim.RMSprop(groups, lr=recipe.lr, alpha=self.alpha, momentum=recipe.momentum)
