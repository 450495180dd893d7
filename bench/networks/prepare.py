"""The preparation of pixels, as part of the network that is evaluated."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from lcrbench.bench.records.external import Outputs, Preprocess

SMALLEST = 1e-7
"""Probabilities below this count as this: float32's next to 1, and less than half a step of 8 bits."""


class Prepared(nn.Module):
    """A network of pixels (N, 3, H, W) in [0, 1] that gives logits (N, classes) in the order of the data's classes.

    `columns` are the outputs that are the data's classes, in their order; None takes all as they are. The logarithm of
    outputs that are probabilities are logits: their softmax gives the probabilities again.
    """

    def __init__(
        self, network: nn.Module, how: Preprocess, columns: Sequence[int] | None = None, outputs: Outputs = "logits"
    ) -> None:
        super().__init__()
        self.network, self.how, self.outputs = network, how, outputs
        self.mean: Tensor
        self.std: Tensor
        self.columns: Tensor | None
        for name, values in (("mean", how.mean), ("std", how.std)):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32).view(1, 3, 1, 1), persistent=False)
        chosen = None if columns is None else torch.tensor(list(columns), dtype=torch.long)
        self.register_buffer("columns", chosen, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Prepare pixels, ask the network, and put its outputs into the order of the classes."""
        out: Tensor = self.network(self.prepared(images))
        if not isinstance(out, Tensor) or out.ndim != 2:
            return out
        if self.columns is not None:
            out = out[:, self.columns]
        return out.clamp_min(SMALLEST).log() if self.outputs == "probabilities" else out

    def prepared(self, images: Tensor) -> Tensor:
        """Return what the network takes for pixels (N, 3, H, W) in [0, 1]."""
        x, how = images, self.how
        if how.size is not None and x.shape[-2:] != (how.size, how.size):
            smooth = how.interpolation != "nearest"
            x = functional.interpolate(
                x,
                (how.size, how.size),
                mode=how.interpolation,
                align_corners=False if smooth else None,
                antialias=smooth and how.antialias,
            )
            if how.interpolation == "bicubic":
                x = x.clamp(0, 1)
        if how.channels == "BGR":
            x = x.flip(1)
        low, high = how.range
        if how.range != (0.0, 1.0):
            x = x * (high - low) + low
        if any(how.mean) or how.std != (1.0, 1.0, 1.0):
            x = (x - self.mean) / self.std
        return x.permute(0, 2, 3, 1) if how.layout == "NHWC" else x


def prepared(
    network: nn.Module, how: Preprocess, columns: Sequence[int] | None = None, outputs: Outputs = "logits"
) -> nn.Module:
    """Return a network of pixels; the network itself where nothing is to be done, so that its layers keep their names."""
    if not how.facts and columns is None and outputs == "logits":
        return network
    return Prepared(network, how, columns, outputs)
