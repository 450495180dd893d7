"""What the VGG backbones share: their blocks, and the way from images to logits."""

from __future__ import annotations

from torch import Tensor, nn

from lcrbench.models.api import Backbone, Method


class Vgg(Backbone):
    """Normalized images (N, 3, H, W) to logits (N, classes): stem, blocks, head, one after the other."""

    def __init__(self, stem: nn.Module, blocks: nn.Sequential, head: nn.Module) -> None:
        super().__init__()
        self.stem, self.blocks, self.head = stem, blocks, head

    def stages(self) -> list[nn.Module]:
        """Return the blocks."""
        return list(self.blocks)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.head(self.blocks(self.stem(x)))
        return logits


def block(method: Method, in_channels: int, out_channels: int, *, pool: bool) -> nn.Sequential:
    """Return a 3x3 convolution, [2x2 max-pool], batch norm and activation."""
    parts = [method.conv(in_channels, out_channels, 3, 1, 1)]
    if pool:
        parts.append(nn.MaxPool2d(2))
    return nn.Sequential(*parts, nn.BatchNorm2d(out_channels), method.activation(out_channels))


def check_size(name: str, size: int) -> None:
    """Raise `ValueError` if 8 does not divide the size."""
    if size % 8:
        raise ValueError(f"{name} takes images whose size 8 divides, not {size}")
