"""The clipped straight-through estimator: the gradient passes the sign within [-1, 1].

Hubara, Courbariaux, Soudry, El-Yaniv, Bengio 2016, arXiv 1602.02830.

    dS/dx = 1 if |x| <= 1 else 0
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
        ctx.save_for_backward(x.abs().le_(1))
        return sign(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (mask,) = ctx.saved_tensors
        masked: Tensor = grad * mask
        return masked


class Estimator(api.Estimator):
    """No options."""

    def forward(self, x: Tensor) -> Tensor:
        """Return sign(x)."""
        out: Tensor = _Function.apply(x)
        return out
