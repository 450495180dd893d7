"""Keeps logits small: loss = weight * mean of f_k(x)^2 over images and classes."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from lcrbench.models import api


class Term(api.Term):
    """The term at work; it reads the step's logits and watches no layer."""

    def __init__(self, weight: float) -> None:
        self.weight = weight
        self.value: Tensor | None = None

    def loss(self, context: api.Context) -> Tensor | None:
        """Return the weighted mean; None with weight 0."""
        self.value = context.logits.square().mean()
        return self.weight * self.value if self.weight > 0 else None

    def figures(self) -> dict[str, float]:
        """Return the unweighted mean."""
        return {} if self.value is None else {"weight": self.weight, "loss": float(self.value.detach())}


@dataclass(frozen=True)
class Regularizer(api.Regularizer):
    """Options: `weight` >= 0."""

    weight: float = 1e-3

    def __post_init__(self) -> None:
        if not self.weight >= 0:
            raise ValueError("needs weight >= 0")

    def attach(self, network: nn.Module, teacher: nn.Module | None = None) -> Term:
        """Return the term."""
        return Term(self.weight)
