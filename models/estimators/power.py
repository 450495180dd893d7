"""The rectified power function's derivative: from the identity toward the sign over the training.

ReSTE: Wu, Zheng, Liu, Zheng 2023, "Estimator Meets Equilibrium Perspective", arXiv 2308.06689.

    dS/dx = (1/o) |x|^((1-o)/o) for .1 < |x| <= 1.5;  the chord .1^(1/o) / .1 for |x| <= .1;  0 beyond 1.5

o = 1 + (1 - cos(pi p / 2)) (o_end - 1) for the progress p of the training.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from lcrbench.models import api
from lcrbench.models.estimators import sign


class _Function(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, o: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.o = o
        return sign(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        with torch.no_grad():
            size = x.abs()
            slope = size.clamp_min(0.1).pow_((1 - ctx.o) / ctx.o).div_(ctx.o)
            slope = slope.masked_fill_(size <= 0.1, 0.1 ** (1 / ctx.o) / 0.1).masked_fill_(size > 1.5, 0)
        return slope * grad, None


class Estimator(api.Estimator):
    """Options: `o_end` >= 1, the power's root at the end of the training."""

    def __init__(self, o_end: float = 3.0) -> None:
        super().__init__()
        self.o_end = o_end
        self.set_progress(0.0)

    def set_progress(self, progress: float) -> None:
        """Set o for `progress` in [0, 1]."""
        self.o = 1.0 + (1.0 - math.cos(math.pi * progress / 2)) * (self.o_end - 1.0)

    def forward(self, x: Tensor) -> Tensor:
        """Return sign(x)."""
        out: Tensor = _Function.apply(x, self.o)
        return out
