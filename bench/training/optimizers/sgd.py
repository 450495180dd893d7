"""Stochastic gradient descent with momentum m, by default Nesterov's.

v <- m v + g + wd w;    w <- w - lr (g + wd w + m v)     with nesterov, and w <- w - lr v without
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lcrbench.bench.records.budget import Recipe
from lcrbench.bench.training import api


@dataclass(frozen=True)
class Optimizer(api.Optimizer):
    """torch's SGD; with momentum 0 there is nothing that Nesterov's form could change."""

    nesterov: bool = True

    def make(self, groups: list[api.Group], recipe: Recipe) -> torch.optim.Optimizer:
        """Return SGD with the recipe's rate and momentum."""
        m, rate = recipe.momentum, api.rate(groups, recipe)
        fused = isinstance(rate, torch.Tensor) or None
        return torch.optim.SGD(groups, lr=rate, momentum=m, nesterov=self.nesterov and m > 0, fused=fused)
