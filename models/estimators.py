"""The sign function with sign(0) = +1, and the pseudo-gradients that train through it.

Every estimator here has the same forward pass,

    sign(x) = +1 if x >= 0 else -1        (so sign(-0.0) = +1 as well, and there is no third value),

and differs in what it puts in the place of the derivative, written dS/dx. Shapes are arbitrary; the output has the
input's shape and dtype.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn


def sign(x: Tensor) -> Tensor:
    """Return +1 where x >= 0 and -1 elsewhere, in x's dtype. Not differentiable: use an estimator to train through it."""
    return x.ge(0).to(x.dtype).mul_(2).sub_(1)


class _Identity(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return sign(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        return grad


class _Clip(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x.abs().le_(1))
        return sign(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        return grad * ctx.saved_tensors[0]


class _Ede(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, t: float, k: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.t, ctx.k = t, k
        return sign(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        slope = torch.tanh(x * ctx.t).square_().neg_().add_(1).mul_(ctx.k * ctx.t)
        return slope.mul_(grad), None, None


class SignIdentity(nn.Module):
    """The plain straight-through estimator, dS/dx = 1 (Bengio et al. 2013, arXiv 1308.3432)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return sign(x)."""
        return _Identity.apply(x)  # type: ignore[no-any-return, no-untyped-call]


class SignClip(nn.Module):
    """The clipped straight-through estimator, dS/dx = 1 if |x| <= 1 else 0 (Hubara et al. 2016, arXiv 1602.02830)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return sign(x)."""
        return _Clip.apply(x)  # type: ignore[no-any-return, no-untyped-call]


class SignEde(nn.Module):
    """The error decay estimator, dS/dx = k t (1 - tanh(t x)^2) (Qin et al. 2020, arXiv 1909.10788).

    t rises log-linearly with the progress of training from t_min to t_max, and k = max(1/t, 1): the slope at 0 is
    max(1, t), so that the surrogate goes from the identity to the sign. The state follows from the progress alone.
    """

    def __init__(self, t_min: float, t_max: float) -> None:
        super().__init__()
        self.t_min, self.t_max = t_min, t_max
        self.set_progress(0.0)

    def set_progress(self, progress: float) -> None:
        """Set t and k for `progress` in [0, 1]."""
        low, high = math.log10(self.t_min), math.log10(self.t_max)
        self.t = 10.0 ** (low + (high - low) * progress)
        self.k = max(1.0 / self.t, 1.0)

    def forward(self, x: Tensor) -> Tensor:
        """Return sign(x)."""
        return _Ede.apply(x, self.t, self.k)  # type: ignore[no-any-return, no-untyped-call]
