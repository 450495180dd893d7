"""The plain straight-through estimator: the gradient passes the sign unchanged.

Bengio, Léonard, Courville 2013, arXiv 1308.3432.

    dS/dx = 1
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lcrbench.models import api
from lcrbench.models.estimators import sign


class _Function(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return sign(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad


class Estimator(api.Estimator):
    """No options."""

    def forward(self, x: Tensor) -> Tensor:
        """Return sign(x)."""
        out: Tensor = _Function.apply(x)
        return out
