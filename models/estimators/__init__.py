"""Estimators, one file each: sign(x) with sign(0) = +1, and the pseudo-gradient dS/dx that trains through it.

Every estimator has the same forward pass,

    sign(x) = +1 if x >= 0 else -1        (so sign(-0.0) = +1 as well, and there is no third value),

and differs in what it puts in the place of the derivative. Its file holds a class `Estimator` (`models.api.Estimator`).
Shapes are arbitrary; the output has the input's shape and dtype. A slope counts as a constant when a gradient is itself
differentiated (Jacobian penalties).

Ours also hold a function `gradient(grad, z, ...)`, grad dS/dz, which `Surrogate` and fused functions call. None makes a
mask: on a processor, operations on booleans take several times as long as those on floating-point numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from lcrbench.models.api import Estimator


def sign(x: Tensor, *, out: Tensor | None = None) -> Tensor:
    """Return +1 where x >= 0 and -1 elsewhere, in x's dtype and layout, in `out` if it is given (it may be x).

    Not differentiable: use an estimator to train through it.
    """
    x = x.detach()
    return torch.threshold_(torch.ge(x, 0, out=torch.empty_like(x) if out is None else out), 0.5, -1.0)


class Surrogate(torch.autograd.Function):
    """sign(x), whose gradient is `gradient(grad, x, *constants)`: `Surrogate.apply(x, gradient, *constants)`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gradient: Callable[..., Tensor], *constants: float) -> Tensor:
        """Return sign(x)."""
        ctx.save_for_backward(x)
        ctx.gradient, ctx.constants = gradient, constants
        return sign(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradient of x."""
        (x,) = ctx.saved_tensors
        return ctx.gradient(grad, x.detach(), *ctx.constants), *(None for _ in ("gradient", *ctx.constants))


def times(slope: Tensor, grad: Tensor) -> Tensor:
    """Return slope * grad, in the slope's place unless the gradient is differentiated itself."""
    return slope * grad if torch.is_grad_enabled() else slope.mul_(grad)


def without_scale(signs: Tensor, scale: Tensor) -> Tensor:
    """Return the signs, with their gradient divided by a scale (that broadcasts) which multiplies after the convolution.

    The gradient of scale * signs is then the estimator's alone.
    """
    return signs.detach() + (signs - signs.detach()) / scale


def set_progress(network: nn.Module, progress: float) -> None:
    """Set the progress of the training, from 0 to 1, in every estimator of the network."""
    for module in network.modules():
        if isinstance(module, Estimator):
            module.set_progress(progress)
