"""Adam (Kingma and Ba 2015); weight decay is part of the gradient, g + wd w.

    m <- b1 m + (1 - b1) g;   v <- b2 v + (1 - b2) g^2;   w <- w - lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)

b1 is the recipe's momentum.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lcrbench.bench.records.budget import Recipe
from lcrbench.bench.training import api


@dataclass(frozen=True)
class Optimizer(api.Optimizer):
    """torch's Adam; `beta2` in [0, 1) is the decay rate of the second moment, `eps` > 0 is added to its root."""

    beta2: float = 0.999
    eps: float = 1e-8

    def __post_init__(self) -> None:
        if not 0 <= self.beta2 < 1 or self.eps <= 0:
            raise ValueError(f"beta2 is in [0, 1) and eps above 0, not {self.beta2:g} and {self.eps:g}")

    def make(self, groups: list[api.Group], recipe: Recipe) -> torch.optim.Optimizer:
        """Return Adam with the recipe's rate, and its momentum as b1."""
        betas, rate = (recipe.momentum, self.beta2), api.rate(groups, recipe)
        there = isinstance(rate, torch.Tensor)
        return torch.optim.Adam(groups, lr=rate, betas=betas, eps=self.eps, fused=there or None, capturable=there)
