"""Jacobian penalty: the squared gradient of the logits with respect to the pixels, in random directions.

Hoffman, Roberts, Yaida 2019, "Robust Learning with Jacobian Regularization", arXiv 1908.02729. With f (C) the logits of an
image x in [0, 1]^(3 H W) and v uniform on the unit sphere of R^C, one for each image and step,

    loss = weight / 2 * C mean_images || d(v . f)/dx ||^2        an unbiased estimate of weight / 2 mean || J ||_F^2

A sign has no derivative: what is penalized is the surrogate that training uses, its slopes held fixed in the second
derivative. The directions come from a generator of their own, seeded by `seed`. The extra backward pass is charged.
Deviation: pixels are taken before the normalization, in [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Regularizer:
    """Options: `weight`, and the `seed` of the random directions."""

    weight: float = 1e-3
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.weight >= 0:
            raise ValueError("needs weight >= 0")

    def attach(self, network: nn.Module) -> Term:
        """Hook the network's input and output."""
        return Term(self, network)


class Term:
    """The regularizer at work on one network."""

    def __init__(self, options: Regularizer, network: nn.Module) -> None:
        self.options = options
        self.on = self.recording = False
        self.images: Tensor | None = None
        self.logits: Tensor | None = None
        self.value: Tensor | None = None
        self.generator = torch.Generator().manual_seed(options.seed)
        self.handles = [network.register_forward_pre_hook(self._enter), network.register_forward_hook(self._leave)]

    @property
    def passes(self) -> dict[str, tuple[float, float, float]]:
        """Return the pass back to the pixels, and the one through it: two backward passes more."""
        return {"student": (0.0, 2.0, 1.0)} if self.options.weight > 0 else {}

    def _enter(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if not self.recording:
            return None
        self.images = inputs[0].detach().requires_grad_()
        return (self.images,)

    def _leave(self, module: nn.Module, inputs: Any, logits: Tensor) -> None:
        if self.recording:
            self.logits, self.recording = logits, False

    def begin(self, measure: bool) -> None:
        """Get ready for a forward pass; with weight 0 nothing is kept unless `measure`."""
        self.value = self.images = self.logits = None
        self.on = self.recording = self.options.weight > 0 or measure

    def loss(self) -> Tensor | None:
        """Return the weighted term of the pass since `begin`; None with weight 0, after measuring if asked to."""
        if not self.on or self.logits is None or self.images is None:
            return None
        optimized = self.options.weight > 0
        classes = self.logits.shape[1]
        drawn = torch.randn(self.logits.shape, generator=self.generator).to(self.logits)
        v = F.normalize(drawn, dim=1)
        (slope,) = torch.autograd.grad((v * self.logits).sum(), self.images, create_graph=optimized, retain_graph=True)
        self.value = 0.5 * classes * slope.square().sum((1, 2, 3)).mean()
        self.logits = self.images = None
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

    def detach(self) -> None:
        """Remove the hooks."""
        for handle in self.handles:
            handle.remove()
