"""Fine-tuning: the training starts from a real network of the same topology that was trained beforehand.

BiBench starts each of its binarized trainings so (Qin et al. 2023, "BiBench", arXiv 2301.11233; htqin/BiBench@5a04a6d,
`init_cfg=dict(type='Pretrained', ...)`), and ReCU's README (arXiv 2103.12369; z-hXu/ReCU@9a73bed) prints accuracies of a
"finetune" beside those of a "vanilla" training. With the trained network's weights, batch norms and their statistics r,

    w_0   = r for every tensor of the state that both networks have, by name and shape;   else the method's own start
    loss  = cross-entropy, unchanged

A binarizer's constants follow from the weights that it starts with. The real network is trained by the same recipe under the
same budget, and charged: the run is a budget class of its own, "started from full_precision". `weight` is 1, or 0 for no
such start. Deviations: neither code says how its real network was trained; ReCU's has no line that reads one for CIFAR, so
that what its README calls "finetune" is our reading; the real network has ReLU where most binary methods have Hardtanh.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from lcrbench.models import api
from lcrbench.models.binary import binary_layers


@dataclass(frozen=True)
class Regularizer(api.Regularizer):
    """Options: `weight`, 1 or 0."""

    weight: float = 1.0

    teacher: ClassVar[str] = "full_precision"

    def __post_init__(self) -> None:
        if self.weight not in (0, 1):
            raise ValueError(f"weight is 1, or 0 for no start from a real network, not {self.weight}")

    @torch.no_grad()
    def start(self, network: nn.Module, teacher: nn.Module) -> bool:
        """Copy the teacher's state to where the network has the like; return False with weight 0."""
        if self.weight == 0:
            return False
        own = network.state_dict()
        for name, value in teacher.state_dict().items():
            if name in own and own[name].shape == value.shape:
                own[name].copy_(value)
        for layer in binary_layers(network).values():
            layer.binarizer.start(layer.weight)
        return True

    def attach(self, network: nn.Module, teacher: nn.Module | None = None) -> Term:
        """Return a term that adds nothing; it fits any network."""
        return Term(self.weight)


class Term(api.Term):
    """Nothing to add to the loss: the start is all."""

    capturable = True

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def figures(self) -> dict[str, float]:
        """Return the weight."""
        return {"weight": self.weight}
