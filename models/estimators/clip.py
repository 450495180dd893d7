"""The clipped straight-through estimator: the gradient passes the sign within [-1, 1].

Hubara, Courbariaux, Soudry, El-Yaniv, Bengio 2016, arXiv 1602.02830.

    dS/dx = 1 if |x| <= 1 else 0
"""

from __future__ import annotations

import torch
from torch import Tensor

from lcrbench.models import api
from lcrbench.models.estimators import Surrogate


def gradient(grad: Tensor, z: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Return grad dS/dz, in `out` if it is given."""
    end = 1 + torch.finfo(z.dtype).eps  # the next number after 1: the operation's own ends are open
    if out is None:
        return torch.ops.aten.hardtanh_backward(grad, z, -end, end)  # type: ignore[no-any-return]
    return torch.ops.aten.hardtanh_backward.grad_input(grad, z, -end, end, grad_input=out)  # type: ignore[no-any-return]


class Estimator(api.Estimator):
    """No options."""

    def forward(self, x: Tensor) -> Tensor:
        """Return sign(x)."""
        out: Tensor = Surrogate.apply(x, gradient)
        return out
