"""What the VGG backbones share: their blocks, and the way from images to logits."""

from __future__ import annotations

from torch import Tensor, nn

from lcrbench.models.api import Backbone, Method, ordered


class Vgg(Backbone):
    """Normalized images (N, 3, H, W) to logits (N, classes): stem, blocks, head, one after the other."""

    capturable = True

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


def stem(method: Method, channels: int, *, pool: bool, activation: bool) -> nn.Sequential:
    """Return the first block, whose 3x3 convolution of the image is real."""
    return _behind(method, nn.Conv2d(3, channels, 3, 1, 1, bias=False), channels, pool, activation)


def block(method: Method, in_channels: int, out_channels: int, *, pool: bool) -> nn.Sequential:
    """Return a 3x3 convolution by the method, [2x2 max-pool], batch norm and activation, in the method's order."""
    return _behind(method, method.conv(in_channels, out_channels, 3, 1, 1), out_channels, pool)


def _behind(method: Method, conv: nn.Module, channels: int, pool: bool, activation: bool = True) -> nn.Sequential:
    pooled = nn.MaxPool2d(2) if pool else None
    return nn.Sequential(*ordered(method, conv, channels, pool=pooled, activation=activation))


def check_size(name: str, size: int) -> None:
    """Raise `ValueError` if 8 does not divide the size."""
    if size % 8:
        raise ValueError(f"{name} takes images whose size 8 divides, not {size}")
