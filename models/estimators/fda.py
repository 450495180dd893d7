"""Frequency domain approximation: the derivative of the first terms of a square wave's Fourier series.

Xu, Han, Xu, Tang, Xu, Wang 2021, "Learning Frequency Domain Approximation for Binary Neural Networks", arXiv 2103.00841, as
in BiBench's code (htqin/BiBench@5a04a6d, bibench/models/layers/fda.py).

    dS/dx = 4 omega / pi  sum_{i=0}^{n} cos((2 i + 1) omega x)  for |x| <= 1,  0 beyond
          = 2 omega / pi  sin(2 (n + 1) omega x) / sin(omega x)

n rises with the progress p of the training, from `n_start` to `n_end` in whole steps: n = n_start + floor(p (n_end -
n_start)). The slope at 0 is 4 omega (n + 1) / pi, 1.3 at first and 2.4 at the end, where it falls below 0 as |x| passes
0.83. Deviation: n is set at each step rather than at each epoch.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lcrbench.models import api
from lcrbench.models.api import Number
from lcrbench.models.estimators import Surrogate, clip, times


def gradient(grad: Tensor, z: Tensor, omega: float, twice: Number) -> Tensor:
    """Return grad dS/dz, with `twice` 2 (n + 1)."""
    with torch.no_grad():
        # Not 0, where the quotient is 0 / 0 and every cosine is 1: so near to it, it is their number to rounding.
        angle = z.abs().mul_(omega).clamp_min_(1e-12)
        slope = torch.sin(angle * twice).div_(angle.sin_().mul_(2)).mul_(4 * omega / math.pi)
    return clip.gradient(times(slope, grad), z)


class Estimator(api.Estimator):
    """Options: `omega`, the lowest frequency, and `n_start` and `n_end`, between which n rises."""

    def __init__(self, omega: float = 0.1, n_start: int = 9, n_end: int = 18) -> None:
        super().__init__()
        self.omega, self.n_start, self.n_end = omega, n_start, n_end
        self.set_progress(0.0)

    def set_progress(self, progress: float) -> None:
        """Set n for `progress` in [0, 1]."""
        self.n = self.n_start + int(progress * (self.n_end - self.n_start))
        self.numbers = (2.0 * (self.n + 1),)

    def forward(self, x: Tensor) -> Tensor:
        """Return sign(x)."""
        out: Tensor = Surrogate.apply(x, gradient, self.omega, *self.numbers)
        return out
