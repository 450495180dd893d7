"""The sign function with sign(0) = +1, and the pseudo-gradients that train through it.

Every estimator here has the same forward pass,

    sign(x) = +1 if x >= 0 else -1        (so sign(-0.0) = +1 as well, and there is no third value),

and differs in what it puts in the place of the derivative, written dS/dx. Shapes are arbitrary; the output has the
input's shape and dtype. A slope counts as a constant when a gradient is itself differentiated (Jacobian penalties).
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
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad


class _Clip(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x.abs().le_(1))
        return sign(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (mask,) = ctx.saved_tensors
        masked: Tensor = grad * mask
        return masked


class _Ede(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, t: float, k: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.t, ctx.k = t, k
        return sign(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        with torch.no_grad():
            slope = torch.tanh(x * ctx.t).square_().neg_().add_(1).mul_(ctx.k * ctx.t)
        return slope * grad, None, None


class _Polynomial(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return sign(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        with torch.no_grad():
            slope: Tensor = x.abs().neg_().add_(1).mul_(2).clamp_min_(0)
        return slope * grad


class _Tent(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, t: float, k: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.t, ctx.k = t, k
        return sign(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        with torch.no_grad():
            slope = x.abs().mul_(-(ctx.t**2)).add_(math.sqrt(2) * ctx.t).clamp_min_(0).mul_(ctx.k)
        return slope * grad, None, None


class _Power(torch.autograd.Function):
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


class SignIdentity(nn.Module):
    """The plain straight-through estimator, dS/dx = 1 (Bengio et al. 2013, arXiv 1308.3432)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return sign(x)."""
        out: Tensor = _Identity.apply(x)
        return out


class SignClip(nn.Module):
    """The clipped straight-through estimator, dS/dx = 1 if |x| <= 1 else 0 (Hubara et al. 2016, arXiv 1602.02830)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return sign(x)."""
        out: Tensor = _Clip.apply(x)
        return out


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
        out: Tensor = _Ede.apply(x, self.t, self.k)
        return out


class SignPolynomial(nn.Module):
    """The derivative of a piecewise quadratic, dS/dx = max(0, 2 - 2 |x|) (Liu et al. 2018, arXiv 1808.00278)."""

    def forward(self, x: Tensor) -> Tensor:
        """Return sign(x)."""
        out: Tensor = _Polynomial.apply(x)
        return out


class SignTent(nn.Module):
    """The training-aware tent, dS/dx = k max(0, sqrt(2) t - t^2 |x|) (Lin et al. 2020, arXiv 2009.13055).

    t rises log-linearly with the progress of training from t_min to t_max and k = max(1/t, 1); with `floor`, as it is
    used on activations, t is at least 1 and k is 1. The state follows from the progress alone.
    """

    def __init__(self, t_min: float, t_max: float, *, floor: bool = False) -> None:
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

    def forward(self, x: Tensor) -> Tensor:
        """Return sign(x)."""
        out: Tensor = _Tent.apply(x, self.t, self.k)
        return out


class SignPower(nn.Module):
    """The rectified power function's derivative (ReSTE, Wu et al. 2023, "Estimator Meets Equilibrium", ICCV).

    dS/dx = (1/o) |x|^((1-o)/o) for .1 < |x| <= 1.5;  the chord .1^(1/o) / .1 for |x| <= .1;  0 beyond 1.5.
    o = 1 + (1 - cos(pi p / 2)) (o_end - 1) for the progress p of training: from the identity toward the sign.
    """

    def __init__(self, o_end: float) -> None:
        super().__init__()
        self.o_end = o_end
        self.set_progress(0.0)

    def set_progress(self, progress: float) -> None:
        """Set o for `progress` in [0, 1]."""
        self.o = 1.0 + (1.0 - math.cos(math.pi * progress / 2)) * (self.o_end - 1.0)

    def forward(self, x: Tensor) -> Tensor:
        """Return sign(x)."""
        out: Tensor = _Power.apply(x, self.o)
        return out


def without_scale(signs: Tensor, scale: Tensor) -> Tensor:
    """Return the signs, with their gradient divided by a scale (that broadcasts) which multiplies after the convolution.

    The gradient of scale * signs is then the estimator's alone.
    """
    return signs.detach() + (signs - signs.detach()) / scale


def set_progress(network: nn.Module, progress: float) -> None:
    """Tell every part of the network that follows a schedule how far training is, from 0 to 1."""
    for module in network.modules():
        if callable(follow := getattr(module, "set_progress", None)):
            follow(progress)
