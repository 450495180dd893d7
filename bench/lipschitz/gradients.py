"""Gradients of a network of signs, three ways. None of them bounds it: they are estimates, and say where gradients mislead.

    true            the derivative almost everywhere: zero through every sign, so only real shortcuts carry it
    straight        that of training, with the estimators' pseudo-derivatives in place of the signs'
    surrogate       that of the surrogate network, with hardtanh in place of the signs in the forward pass too

For each, the Jacobian J (classes, d) of the logits in pixel space at an image, and its norm ||J||_2 (l2 to l2).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

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
        return F.hardtanh(inputs[0]) if kind == "surrogate" else sign(inputs[0].detach())

    handles: list[Any] = []
    if kind != "straight":
        for layer in binary_layers(network).values():
            signs = [m for m in layer.sign.modules() if isinstance(m, SIGNS)]
            handles += [m.register_forward_hook(replace) for m in signs]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def jacobians(network: nn.Module, points: Tensor, kind: Kind, device: str = "cpu") -> Tensor:
    """Return the Jacobian of the logits at points (N, C, H, W): (N, classes, C H W), float32.

    One forward pass, and one backward pass a class for the whole batch.
    """
    network.eval()
    with derivative(network, kind), torch.enable_grad():
        x = points.detach().to(device).requires_grad_()
        out = network(x)
        rows = []
        for k in range(out.shape[1]):
            if not out.requires_grad:
                rows.append(torch.zeros_like(x).flatten(1))
                continue
            (g,) = torch.autograd.grad(out[:, k].sum(), x, retain_graph=k + 1 < out.shape[1], allow_unused=True)
            rows.append((torch.zeros_like(x) if g is None else g).flatten(1))
    return torch.stack(rows, dim=1).detach().cpu()


def jacobian_norms(network: nn.Module, points: Tensor, kind: Kind, device: str = "cpu") -> np.ndarray:
    """Return ||J||_2 at each point (N), from the Gram matrix of the classes in float64."""
    found = []
    for start in range(0, len(points), BLOCK):
        j = jacobians(network, points[start : start + BLOCK], kind, device).double()
        top = torch.linalg.eigvalsh(j @ j.mT)[:, -1]
        found.append(top.clamp_min(0).sqrt().numpy())
    return np.concatenate(found)


def surrogate_agreement(network: nn.Module, points: Tensor, predicted: np.ndarray, device: str = "cpu") -> np.ndarray:
    """Tell at which points the surrogate predicts the class that the deployed network predicts (N)."""
    network.eval()
    with derivative(network, "surrogate"), torch.no_grad():
        starts = range(0, len(points), 100)
        parts = [network(points[k : k + 100].to(device)).argmax(1).cpu() for k in starts]
    return np.asarray(torch.cat(parts).numpy() == predicted)
