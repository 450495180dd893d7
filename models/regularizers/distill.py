"""Distillation: the network learns a teacher's probabilities, in the place of the labels.

ReActNet's distributional loss (Liu, Shen, Savvides, Cheng 2020, arXiv 2003.03488), after Hinton, Vinyals, Dean 2015, arXiv
1503.02531. For images i = 1 ... n with p_ic the teacher's probabilities and q_ic the network's, both by softmax,

    loss = (1 - weight) cross-entropy - weight / n sum_i sum_c p_ic log q_ic

whose second part is the divergence of q from p but for a constant. With weight 1, the default as in ReActNet's code, labels
are left out; there is no temperature. The gradient by the network's logits is weight (q - p) / n for that part. The teacher
is a real network of the same topology in evaluation mode, trained beforehand on as many images; its forward passes are
charged. Deviation: ReActNet's teacher is a larger network, a ResNet-34.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lcrbench.models import api
from lcrbench.models.precision import at_least_float32


@dataclass(frozen=True)
class Regularizer(api.Regularizer):
    """Options: `weight` in [0, 1], the share of the loss that comes from the teacher."""

    weight: float = 1.0

    teacher: ClassVar[str] = "full_precision"

    def __post_init__(self) -> None:
        if not 0 <= self.weight <= 1:
            raise ValueError(f"needs 0 <= weight <= 1, not {self.weight}")

    def attach(self, network: nn.Module, teacher: nn.Module | None = None) -> Term:
        """Return the term; it fits any network."""
        return Term(self, teacher)


class Term(api.Term):
    """The regularizer at work on one network."""

    capturable = True

    def __init__(self, options: Regularizer, teacher: nn.Module | None) -> None:
        self.options, self.teacher = options, teacher
        self.replaces = options.weight
        self.value: Tensor | None = None
        self.agreement: Tensor | None = None
        if teacher is not None:
            teacher.eval().requires_grad_(False)

    @property
    def passes(self) -> dict[str, tuple[float, float]]:
        """Return the teacher's forward pass for each training image."""
        return {"teacher": (1.0, 0.0)} if self.options.weight > 0 else {}

    def loss(self, context: api.Context) -> Tensor | None:
        """Return the weighted term; None with weight 0."""
        self.value = None
        if self.options.weight == 0:
            return None
        assert self.teacher is not None, "attached without a teacher"
        with torch.no_grad():
            guide = at_least_float32(self.teacher(context.images))
        self.value = F.cross_entropy(at_least_float32(context.logits), guide.softmax(1))
        self.agreement = (context.logits.detach().argmax(1) == guide.argmax(1)).float().mean()
        return self.options.weight * self.value

    def figures(self) -> dict[str, float]:
        """Return the weight, the unweighted term, and the share of images on which network and teacher agree."""
        if self.value is None or self.agreement is None:
            return {}
        loss = float(self.value.detach())
        return {"weight": self.options.weight, "loss": loss, "agreement": float(self.agreement)}
