"""Jacobian penalty: the squared gradient of the logits with respect to the pixels, in random directions.

Hoffman, Roberts, Yaida 2019, "Robust Learning with Jacobian Regularization", arXiv 1908.02729. With f (C) the logits of an
image x in [0, 1]^(3 H W) and v uniform on the unit sphere of R^C, one for each image and step,

    loss = weight / 2 * C mean_images || d(v . f)/dx ||^2        an unbiased estimate of weight / 2 mean || J ||_F^2

A sign has no derivative: what is penalized is the surrogate that training uses, its slopes held fixed in the second
derivative. The directions come from a generator of their own, seeded by `seed`. Both passes more,
back to the pixels and through that one, are charged: together they cost about as much as three forward ones.
Deviation: pixels are taken before the normalization, in [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lcrbench.models import api


@dataclass(frozen=True)
class Regularizer(api.Regularizer):
    """Options: `weight`, and the `seed` of the random directions."""

    weight: float = 1e-3
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.weight >= 0:
            raise ValueError("needs weight >= 0")

    def attach(self, network: nn.Module, teacher: nn.Module | None = None) -> Term:
        """Return the term; it fits any network."""
        return Term(self)


class Term(api.Term):
    """The regularizer at work on one network."""

    def __init__(self, options: Regularizer) -> None:
        self.options = options
        self.value: Tensor | None = None
        self.generator = torch.Generator().manual_seed(options.seed)

    def reseed(self, seed: int) -> None:
        """Draw by this seed, and the option."""
        # An odd factor maps seeds one to one onto seeds.
        self.generator.manual_seed((seed + self.options.seed * 0x9E3779B97F4A7C15) % 2**63)

    def begin(self, measure: bool) -> None:
        """Ask for the images' gradient where the step needs it: it costs the backward pass more."""
        self.image_gradient = self.options.weight > 0 or measure

    @property
    def passes(self) -> dict[str, tuple[float, float]]:
        """Return the pass back to the pixels, and the one through it: two backward passes more."""
        return {"student": (0.0, 2.0)} if self.options.weight > 0 else {}

    def loss(self, context: api.Context) -> Tensor | None:
        """Return the weighted term; None with weight 0, after measuring if asked to."""
        self.value = None
        optimized = self.options.weight > 0
        if not (optimized or context.measure):
            return None
        images, logits = context.images, context.logits
        classes = logits.shape[1]
        drawn = torch.randn(logits.shape, generator=self.generator).to(logits)
        v = F.normalize(drawn, dim=1)
        (slope,) = torch.autograd.grad((v * logits).sum(), images, create_graph=optimized, retain_graph=True)
        self.value = 0.5 * classes * slope.square().sum((1, 2, 3)).mean()
        return self.options.weight * self.value if optimized else None

    def figures(self) -> dict[str, float]:
        """Return the weight and the unweighted term."""
        return {} if self.value is None else {"weight": self.options.weight, "loss": float(self.value.detach())}

    def state(self) -> dict[str, Tensor]:
        """Return the generator's state."""
        return {"generator": self.generator.get_state()}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Set the generator's state."""
        self.generator.set_state(tensors["generator"])
