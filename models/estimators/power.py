"""The rectified power function's derivative: from the identity toward the sign over the training.

ReSTE: Wu, Zheng, Liu, Zheng 2023, "Estimator Meets Equilibrium Perspective", arXiv 2308.06689.

    dS/dx = (1/o) |x|^((1-o)/o) for .1 < |x| <= 1.5;  the chord .1^(1/o) / .1 for |x| <= .1;  0 beyond 1.5

o = 1 + (1 - cos(pi p / 2)) (o_end - 1) for the progress p of the training.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lcrbench.models import api
from lcrbench.models.api import Number
from lcrbench.models.estimators import Surrogate, times


def gradient(grad: Tensor, z: Tensor, chord: Number, exponent: Number, o: Number) -> Tensor:
    """Return grad dS/dz, with the chord's slope and the exponent (1 - o) / o."""
    with torch.no_grad():
        size = z.abs()
        slope = torch.le(size, 0.1, out=torch.empty_like(size)).mul_(chord)
        # By logarithm and exponential: half of the time of `pow`, and exact to 3e-7.
        power = size.clamp_min(0.1).log2_().mul_(exponent).exp2_().div_(o)
        # What lies within the ends, which are open: the upper one is the next number after 1.5.
        end = 1.5 + torch.finfo(size.dtype).eps
        slope.add_(torch.ops.aten.hardtanh_backward.grad_input(power, size, 0.1, end, grad_input=power))
    return times(slope, grad)


class Estimator(api.Estimator):
    """Options: `o_end` >= 1, the power's root at the end of the training."""

    def __init__(self, o_end: float = 3.0) -> None:
        super().__init__()
        self.o_end = o_end
        self.set_progress(0.0)

    def set_progress(self, progress: float) -> None:
        """Set o for `progress` in [0, 1]."""
        self.o = 1.0 + (1.0 - math.cos(math.pi * progress / 2)) * (self.o_end - 1.0)
        self.numbers = 0.1 ** (1 / self.o) / 0.1, (1 - self.o) / self.o, self.o

    def forward(self, x: Tensor) -> Tensor:
        """Return sign(x)."""
        out: Tensor = Surrogate.apply(x, gradient, *self.numbers)
        return out
