"""Surrogate slopes of the signs to search along: windows around the thresholds, as wide as the layer's input has moved.

A sign's derivative is zero, so a search needs something in its place. Far from an image the training's pseudo-gradient
will do. Near it, few signs can turn at all: those whose input z lies within reach of its threshold. A window puts

    dS/dz = max(0, 1 - |z| / w)        w = clip(width * rms(z(y) - z(x)), 1e-3, 1), rms over the units of a layer and image

for the signs of a layer at a point y near the image x: the width follows the movement of the layer's own input, so it
falls with the radius, in each layer and image on its own. `deep` fixes w of all layers but the first, whose signs turn
by jumps of the first. At the image itself, where nothing has moved, w = 0.3. A window is at least twice as wide as the
nearest |z| of its layer, so that some sign is inside. Values stay those of the deployed network.

Only this suite's estimators have windows; of other networks there is the gradient that they give.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lcrbench.models.binary import binary_layers
from lcrbench.models.estimators import sign
from lcrbench.models.spectral import SIGNS

NARROWEST, WIDEST, UNMOVED = 1e-3, 1.0, 0.3


@dataclass(frozen=True)
class Window:
    """A window's `width` in root mean squares of the movement, and the width `deep` of all layers but the first."""

    width: float
    deep: float | None = None


Surrogate = Window | None
"""A window, or None for the network's own pseudo-gradient."""


class Inputs:
    """What the signs of a network see at the images (N), layer by layer: what windows measure movement from."""

    def __init__(self, network: nn.Module) -> None:
        # A binarizer's estimators see weights, not the image.
        weights = {m for layer in binary_layers(network).values() for m in layer.binarizer.modules()}
        self.signs: list[nn.Module] = [m for m in network.modules() if isinstance(m, SIGNS) and m not in weights]
        self.seen: list[list[Tensor]] = [[] for _ in self.signs]
        self.first = -1

    @contextmanager
    def recording(self, rows: int) -> Iterator[None]:
        """Record what a forward pass shows to the signs; of each block the first `rows` are images."""

        def keep(k: int) -> Any:
            def see(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
                self.first = k if self.first < 0 else self.first
                self.seen[k].append(given[0][:rows].detach().clone())

            return see

        with _hooked(self.signs, keep):
            yield

    def close(self) -> None:
        """End the recording: one tensor a layer."""
        self.seen = [[torch.cat(parts)] if parts else [] for parts in self.seen]

    @contextmanager
    def first_seen(self) -> Iterator[list[Tensor]]:
        """Yield a list that takes what the first signs see in a forward pass, with its graph."""
        seen: list[Tensor] = []
        with _hooked([self.signs[self.first]], lambda k: lambda module, given, output: seen.append(given[0])):
            yield seen

    @contextmanager
    def through(self, window: Surrogate, rows: Tensor) -> Iterator[None]:
        """Differentiate through a window inside; `rows` (n) are the images' numbers of a block's first n points."""
        if window is None or not self.signs:
            yield
            return

        def replace(k: int) -> Any:
            def hook(module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> Tensor:
                (z,) = given
                width = torch.full((len(z),), UNMOVED, dtype=z.dtype, device=z.device)
                units = tuple(range(1, z.ndim))
                if k and window.deep is not None:
                    width[:] = window.deep
                else:
                    moved = z.detach()[: len(rows)] - self.seen[k][0][rows]
                    length = torch.linalg.vector_norm(moved, dim=units) / z[0].numel() ** 0.5
                    scaled = (window.width * length).clamp(NARROWEST, WIDEST)
                    width[: len(rows)] = torch.where(length > 0, scaled, width[: len(rows)])
                # Some sign is always inside: a window around none shows no direction.
                width = torch.maximum(width, 2 * z.detach().abs().amin(units))
                out: Tensor = _Windowed.apply(z, width.view(-1, *[1] * (z.ndim - 1)))
                return out

            return hook

        with _hooked(self.signs, replace):
            yield


class _Windowed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, width: Tensor) -> Tensor:
        ctx.save_for_backward(z, width)
        return sign(z)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        z, width = ctx.saved_tensors
        return z.abs().div_(width).neg_().add_(1).clamp_min_(0).mul_(grad), None


@contextmanager
def _hooked(signs: list[nn.Module], make: Any) -> Iterator[None]:
    handles = [m.register_forward_hook(make(k)) for k, m in enumerate(signs)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
