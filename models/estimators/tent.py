"""The training-aware tent: a triangle that narrows and rises over the training.

Lin, Ji, Xu, Zhang, Wang, Wu, Huang, Lin 2020, arXiv 2009.13055.

    dS/dx = k max(0, sqrt(2) t - t^2 |x|)

t rises log-linearly with the progress of the training from t_min to t_max and k = max(1/t, 1); with `floor`, as it is used
on activations, t is at least 1 and k is 1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lcrbench.models import api
from lcrbench.models.api import Number
from lcrbench.models.estimators import Surrogate, times


def gradient(grad: Tensor, z: Tensor, slope_of_size: Number, top: Number, k: Number) -> Tensor:
    """Return grad dS/dz, with -t^2 and sqrt(2) t."""
    with torch.no_grad():
        slope = z.abs().mul_(slope_of_size).add_(top).clamp_min_(0).mul_(k)
    return times(slope, grad)


class Estimator(api.Estimator):
    """Options: `t_min` and `t_max`, between which t rises, and `floor`."""

    def __init__(self, t_min: float = 1e-2, t_max: float = 10.0, *, floor: bool = False) -> None:
        super().__init__()
        self.t_min, self.t_max, self.floor = t_min, t_max, floor
        self.set_progress(0.0)

    def set_progress(self, progress: float) -> None:
        """Set t and k for `progress` in [0, 1]."""
        low, high = math.log10(self.t_min), math.log10(self.t_max)
        self.t = 10.0 ** (low + (high - low) * progress)
        self.k = max(1.0 / self.t, 1.0)
        if self.floor:
            self.t, self.k = max(self.t, 1.0), 1.0
        self.numbers = -(self.t**2), math.sqrt(2) * self.t, self.k

    def forward(self, x: Tensor) -> Tensor:
        """Return sign(x)."""
        out: Tensor = Surrogate.apply(x, gradient, *self.numbers)
        return out
