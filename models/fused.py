"""Functions of several operations with one backward pass written by hand, which keep nothing but their inputs.

Left to autograd, each elementwise operation of a formula keeps a tensor of the activations' size, and makes another in the
backward pass: most of a binary network's training step beyond its convolutions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import Proxy

from lcrbench.models.estimators import sign


@dataclass(frozen=True)
class Fused:
    """A differentiable function of tensors: `Fused(plain, value, gradients)(*inputs)`; an input may be None.

    `plain(*inputs)` is the formula in operations that autograd differentiates; `value(*inputs)` equals it, and may work in
    place on what it makes itself; `gradients(grad, *inputs)` returns one gradient for each input, of the inputs' shapes. A
    gradient that is itself differentiated (Jacobian penalties) is that of `plain`, and `plain` is what a tracer follows.
    """

    plain: Callable[..., Tensor]
    value: Callable[..., Tensor]
    gradients: Callable[..., tuple[Tensor | None, ...]]

    def __call__(self, *inputs: Tensor | None) -> Tensor:
        """Return the value."""
        if any(isinstance(x, Proxy) for x in inputs):
            return self.plain(*inputs)
        out: Tensor = _Function.apply(self, *inputs)
        return out


class _Function(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, function: Fused, *inputs: Tensor | None) -> Tensor:
        ctx.function = function
        ctx.save_for_backward(*inputs)
        return function.value(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        inputs = ctx.saved_tensors
        if not torch.is_grad_enabled():
            return None, *ctx.function.gradients(grad, *inputs)
        return None, *_by_autograd(ctx.function.plain, inputs, ctx.needs_input_grad[1:], grad)


def _by_autograd(
    plain: Callable[..., Tensor], inputs: Sequence[Tensor | None], needed: Sequence[bool], grad: Tensor
) -> list[Tensor | None]:
    # Views, so that an input that was made from another one is a separate variable here.
    own = [None if x is None else x.view_as(x) for x in inputs]
    wanted = [x for x, need in zip(own, needed, strict=True) if x is not None and need]
    found = iter(torch.autograd.grad(plain(*own), wanted, grad, create_graph=True))
    return [next(found) if need else None for need in needed]


def by_channel(values: Tensor) -> Tensor:
    """Return (C) as (1, C, 1, 1)."""
    return values.view(1, -1, 1, 1)


def sum_by_channel(x: Tensor) -> Tensor:
    """Return the sums (C) of (N, C, H, W), added up in the order of autograd's gradient of a broadcast."""
    return x.sum((0, 2, 3), keepdim=True).flatten()


def of_standardized(of_z: Tensor, z: Tensor, std: Tensor) -> Tensor:
    """Return the gradient of x through z = (x - mean) / std of each image, in the place of that of z; z is spent.

        (g - mean(g) - z sum(g z) / (n - 1)) / std        g that of z, n numbers an image

    std^2 is the unbiased variance, or that and a constant.
    """
    share = (of_z * z).sum(dim=(1, 2, 3), keepdim=True) / (z[0].numel() - 1)
    return of_z.sub_(of_z.mean(dim=(1, 2, 3), keepdim=True)).sub_(z.mul_(share)).div_(std)


def centred(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return (N, C, H, W) less each image's mean, and the unbiased standard deviations (N, 1, 1, 1).

    In two passes, each of which takes a small part of the time of `torch.std_mean`.
    """
    distance = x - x.mean(dim=(1, 2, 3), keepdim=True)
    norm: Tensor = torch.linalg.vector_norm(distance, dim=(1, 2, 3), keepdim=True)
    return distance, norm / math.sqrt(x[0].numel() - 1)


def centred_sign(x: Tensor) -> Tensor:
    """Return the signs of (N, C, H, W) less each image's mean."""
    z = x - x.mean(dim=(1, 2, 3), keepdim=True)
    return sign(z, out=z)
