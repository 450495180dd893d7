"""Gradients of a network of signs, three ways. None of them bounds it: they are estimates, and say where gradients mislead.

    true            the derivative almost everywhere: zero through every sign, so only real shortcuts carry it
    straight        that of training, with the estimators' pseudo-derivatives in place of the signs'
    surrogate       that of the surrogate network, with hardtanh in place of the signs in the forward pass too

For each, the Jacobian J (classes, d) of the logits in pixel space at an image, and its norm ||J||_2 (l2 to l2).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lcrbench.bench.lipschitz.foreign import differentiated, gradient, in_float64, in_parts, ran
from lcrbench.models.binary import binary_layers
from lcrbench.models.estimators import sign
from lcrbench.models.spectral import SIGNS

Kind = Literal["true", "straight", "surrogate"]
KINDS: tuple[Kind, ...] = ("true", "straight", "surrogate")
BLOCK = 25
"""Images a pass: one forward and a backward pass a class, which is fastest on a small batch."""


@contextmanager
def derivative(network: nn.Module, kind: Kind) -> Iterator[None]:
    """Make the signs of a network's activations behave as `kind` says inside; weights stay binary."""

    def replace(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        (x,) = inputs
        if kind == "surrogate":
            return F.hardtanh(x)
        if kind == "true" or not output.requires_grad:
            return sign(x.detach())
        # An estimator works its slope out anew in each backward pass; a Jacobian takes one for every class.
        (slope,) = torch.autograd.grad(output, x, torch.ones_like(output), retain_graph=True)
        return cast(Tensor, _Slope.apply(x, output.detach(), slope))

    handles: list[Any] = []
    for layer in binary_layers(network).values():
        signs = [m for m in layer.sign.modules() if isinstance(m, SIGNS)]
        handles += [m.register_forward_hook(replace) for m in signs]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Slope(torch.autograd.Function):
    """Given values with a given elementwise slope."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, value: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(slope)
        return value

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (slope,) = ctx.saved_tensors
        return slope * grad, None, None


def jacobians(
    network: nn.Module, points: Tensor, kind: Kind, device: str = "cpu", weights: Tensor | None = None
) -> Tensor:
    """Return the Jacobian of the logits at points (N, C, H, W): (N, classes, C H W), float32.

    With `weights` (m, classes) it is that of the m weighted sums of logits. One forward pass, and one backward pass a row
    for the whole batch, or for parts of it where memory does not suffice. Zero where no gradient comes back.
    """
    network.eval()

    def rows(part: Tensor) -> Tensor:
        with derivative(network, kind):
            of = differentiated(network, part.to(device))
            found = []
            for row in torch.eye(of.out.shape[1]) if weights is None else weights:
                g = gradient(of, row.to(of.out).expand_as(of.out))
                found.append((torch.zeros_like(part, device=device) if g is None else g).flatten(1))
        return torch.stack(found, dim=1).detach().cpu()

    return torch.cat(in_parts(rows, points))


def jacobian_norms(network: nn.Module, points: Tensor, kind: Kind, device: str = "cpu") -> np.ndarray:
    """Return ||J||_2 at each point (N), from the Gram matrix of the classes in float64."""
    found = []
    for start in range(0, len(points), BLOCK):
        j = jacobians(network, points[start : start + BLOCK], kind, device).double()
        top = torch.linalg.eigvalsh(j @ j.mT)[:, -1]
        found.append(top.clamp_min(0).sqrt().numpy())
    return np.concatenate(found)


STEPS = (0.01, 0.001)
"""Distances in l2 pixel units over which a derivative is compared with the change of the outputs; one must agree."""


def is_true(network: nn.Module, points: Tensor, device: str = "cpu") -> bool:
    """Tell whether what a network differentiates to is its derivative, and not a pseudo-gradient through jumps.

    At points (N, C, H, W), with a random direction u of the logits: the central difference of <u, f> along its gradient
    must agree with the gradient's norm within 10 %, in the median over the points with a gradient. A little noise lies on
    the points: in an even patch of an image all places of a pool are its largest, and there is no derivative.
    """
    # In float64, where the difference of two outputs is not lost in their size; as it is where it runs in no other type.
    draw = torch.Generator().manual_seed(0)
    points = 0.98 * points + 0.02 * torch.rand(points.shape, generator=draw)
    network, points = in_float64(network, points.to(device))
    points = points.cpu()

    def outputs(x: Tensor) -> Tensor:
        with torch.no_grad():
            return torch.cat(in_parts(lambda part: ran(network, part.to(device)).double().cpu(), x))

    u = torch.randn(1, outputs(points[:1]).shape[1], generator=draw, dtype=torch.float64)
    u /= u.norm()
    g = jacobians(network, points, "straight", device, weights=u)[:, 0].double()
    length = g.norm(dim=1)
    has = length > 0
    if not bool(has.any()):
        return True
    v = (g / length.clamp_min(1e-300).unsqueeze(1)).view(points.shape).to(points)
    for step in STEPS:
        ends = [outputs(points + s * v) for s in (step, -step)]
        slope = ((ends[0] - ends[1]) @ u.T).squeeze(1) / (2 * step)
        if float(((slope - length).abs() / length.clamp_min(1e-300))[has].median()) <= 0.1:
            return True
    return False


def surrogate_agreement(network: nn.Module, points: Tensor, predicted: np.ndarray, device: str = "cpu") -> np.ndarray:
    """Tell at which points the surrogate predicts the class that the deployed network predicts (N)."""
    network.eval()
    with derivative(network, "surrogate"), torch.no_grad():
        starts = range(0, len(points), 100)
        parts = [ran(network, points[k : k + 100].to(device)).argmax(1).cpu() for k in starts]
    return np.asarray(torch.cat(parts).numpy() == predicted)
