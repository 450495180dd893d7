"""The plain straight-through estimator: the gradient passes the sign unchanged.

Bengio, Léonard, Courville 2013, arXiv 1308.3432.

    dS/dx = 1
"""

from __future__ import annotations

from torch import Tensor

from lcrbench.models import api
from lcrbench.models.estimators import Surrogate


def gradient(grad: Tensor, z: Tensor) -> Tensor:
    """Return grad dS/dz."""
    return grad


class Estimator(api.Estimator):
    """No options."""

    def forward(self, x: Tensor) -> Tensor:
        """Return sign(x)."""
        out: Tensor = Surrogate.apply(x, gradient)
        return out
