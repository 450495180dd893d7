"""Bop: flips binary weights by a moving average of their gradient, without latent weights (Helwegen et al. 2019).

Helwegen, Widdicombe, Geiger, Liu, Cheng, Nusselder 2019, "Latent Weights Do Not Exist: Rethinking Binarized Neural Network
Optimization", arXiv 1906.02107, algorithm 1. For each weight w in {-1, +1} of a binary layer, with gradient g,

    m <- (1 - gamma) m + gamma g                                                    m starts at 0
    w <- -w  if |m| > threshold and sign(m) = sign(w),  else w

All other parameters are trained by `inner`, with the recipe's rate, momentum and weight decay. Binary weights start at the
signs of the latent weights that every method starts from; they do not decay.

gamma is a rate: with `follow` it is multiplied by the recipe's schedule, gamma_t = gamma lr_t / lr, as the paper lets it
decay. Defaults are the paper's of section 5.2 on CIFAR-10, as in its code (gamma 1e-4, a tenth of it every 100 epochs,
threshold 1e-8, inner Adam at 0.01, batch 50); for shorter trainings that code has 1e-3 and 1e-6.

Only a method that uses a binary weight as it is can be trained so: it must map w in {-1, +1} to the weight w itself, and
pass the gradient of the binary weight on unchanged. Where a method standardizes weights, scales them by what is
differentiated, or has an estimator of another slope than 1 at |w| = 1, m would be another quantity: planning refuses it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from lcrbench.bench.records.budget import Recipe
from lcrbench.bench.training import api
from lcrbench.models.estimators import sign

INNER = ("adam", "sgd")


class _Bop(torch.optim.Optimizer):
    """Flips the groups marked "flips", and leaves the others to another optimizer, which shares groups and state."""

    def __init__(self, groups: list[api.Group], inner: torch.optim.Optimizer, **defaults: float) -> None:
        super().__init__(groups, defaults)
        self.inner = inner

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Make one step; there is no closure."""
        # A restored state and its groups are new objects.
        self.inner.state, self.inner.param_groups = self.state, [g for g in self.param_groups if not g.get("flips")]
        if self.inner.param_groups:
            self.inner.step()
        for group in self.param_groups:
            if not group.get("flips"):
                continue
            gamma = group["gamma"] * (group["lr"] / group["peak"] if group["follow"] else 1.0)
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["average"] = torch.zeros_like(weight)
                average = state["average"].mul_(1 - gamma).add_(weight.grad, alpha=gamma)
                # Of a weight of -1 or 1: the average has its sign, and is larger than the threshold.
                weight.copy_(torch.where(average * weight > group["threshold"], -weight, weight))


@dataclass(frozen=True)
class Optimizer(api.Optimizer):
    """Options: `gamma` in (0, 1], `threshold` >= 0, `inner` "adam" or "sgd", `follow` (gamma follows the schedule)."""

    gamma: float = 1e-4
    threshold: float = 1e-8
    inner: str = "adam"
    follow: bool = True

    flips: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 < self.gamma <= 1 or self.threshold < 0:
            raise ValueError(f"gamma is in (0, 1] and threshold at least 0, not {self.gamma:g} and {self.threshold:g}")
        if self.inner not in INNER:
            raise ValueError(f"inner is {' or '.join(INNER)}, not '{self.inner}'")

    def make(self, groups: list[api.Group], recipe: Recipe) -> torch.optim.Optimizer:
        """Return Bop; weights of binary layers are set to their signs."""
        binary = [g for g in groups if g.get("flips")]
        real = [g for g in groups if not g.get("flips")]
        with torch.no_grad():
            for weight in (w for group in binary for w in group["params"]):
                weight.copy_(sign(weight))
        inner: Any
        if self.inner == "adam":
            inner = torch.optim.Adam(real, lr=recipe.lr, betas=(recipe.momentum, 0.999))
        else:
            inner = torch.optim.SGD(real, lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.momentum > 0)
        own = {"lr": recipe.lr, "peak": recipe.lr, "gamma": self.gamma, "threshold": self.threshold}
        return _Bop([*inner.param_groups, *({**g, **own, "follow": self.follow} for g in binary)], inner)
