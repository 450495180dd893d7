"""VGG-tiny: five 3x3 convolutions of 16 to 64 channels, small enough for the quick preset on a laptop.

    stem    conv 3 -> 16 (real), pool, batch norm, activation                    H/2
    blocks  conv 16 -> 32;  32 -> 32, pool;  32 -> 64;  64 -> 64, pool           H/8
    head    linear 64 (H/8)^2 -> classes (real)

Each block is conv, [2x2 max-pool], batch norm, activation, in the order of VGG-Small as the binary literature trains it.
For images of any size divisible by 8; made for 32.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class VggTiny(nn.Module):
    """Normalized images (N, 3, size, size) to logits (N, classes)."""

    def __init__(self, method: Any, classes: int, size: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.MaxPool2d(2), nn.BatchNorm2d(16), method.activation(16)
        )
        self.blocks = nn.Sequential(
            _block(method, 16, 32, pool=False),
            _block(method, 32, 32, pool=True),
            _block(method, 32, 64, pool=False),
            _block(method, 64, 64, pool=True),
        )
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, classes))

    def stages(self) -> list[nn.Module]:
        """Return the blocks."""
        return list(self.blocks)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.head(self.blocks(self.stem(x)))
        return logits


def _block(method: Any, in_channels: int, out_channels: int, *, pool: bool) -> nn.Sequential:
    parts = [method.conv(in_channels, out_channels, 3, 1, 1)]
    if pool:
        parts.append(nn.MaxPool2d(2))
    return nn.Sequential(*parts, nn.BatchNorm2d(out_channels), method.activation(out_channels))


def build(method: Any, classes: int, size: int) -> nn.Module:
    """Return the body of a network for size x size images; raises `ValueError` if 8 does not divide the size."""
    if size % 8:
        raise ValueError(f"vgg_tiny takes images whose size 8 divides, not {size}")
    return VggTiny(method, classes, size)
