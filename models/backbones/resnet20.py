"""ResNet-20 for small images, with a shortcut around each convolution.

He et al. 2016, arXiv 1512.03385, section 4.2 (widths 16, 32, 64; 18 convolutions in three stages, a real stem and a
linear head), with the shortcut of Bi-Real Net (Liu et al. 2018, arXiv 1808.00278): one around each convolution,

    a_k = activation( BN( conv_k(a_{k-1}) ) + shortcut(a_{k-1}) ).

Where the map shrinks the shortcut has no parameters: every second position, and zeros for the new channels (option A).
The head is global average pooling, batch norm and a linear layer, as IR-Net's code has it for this network.
Multiply-accumulates at 32 px: 4.055e7 in all, of which 4.011e7 in the 18 convolutions.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F


class Block(nn.Module):
    """One convolution with its batch norm, shortcut and activation."""

    def __init__(self, method: Any, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv = method.conv(in_channels, out_channels, 3, stride, 1)
        self.norm = nn.BatchNorm2d(out_channels)
        self.activation = method.activation(out_channels)
        self.stride = stride
        self.new_channels = out_channels - in_channels

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's activation."""
        y = self.norm(self.conv(x))
        if self.stride > 1 or self.new_channels:
            half = self.new_channels // 2
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, half, self.new_channels - half))
        out: Tensor = self.activation(y + x)
        return out


class ResNet20(nn.Module):
    """Normalized images (N, 3, H, W) to logits (N, classes)."""

    def __init__(self, method: Any, classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), method.activation(16))
        blocks = []
        width = 16
        for stage, channels in enumerate((16, 32, 64)):
            for k in range(6):
                blocks.append(Block(method, width, channels, 2 if stage and k == 0 else 1))
                width = channels
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, classes))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.head(self.blocks(self.stem(x)))
        return logits


def build(method: Any, classes: int, size: int) -> nn.Module:
    """Return the body of a network for images of any size."""
    return ResNet20(method, classes)
