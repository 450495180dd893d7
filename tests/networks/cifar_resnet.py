"""The ResNet of 6n + 2 layers for 32 px images (He et al. 2016, arXiv 1512.03385), shortcuts without parameters.

Names of layers are those of published checkpoints: conv1, bn1, layer1.0.conv1, ..., linear.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Block(nn.Module):
    def __init__(self, wide: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(wide, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.stride, self.more = stride, out - wide

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        if self.more or self.stride > 1:
            # Every second pixel, and channels of zeros on both sides.
            x = functional.pad(
                x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.more // 2, self.more - self.more // 2)
            )
        return functional.relu(y + x)


class CifarResNet(nn.Module):
    def __init__(self, n: int = 3, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        wide = 16
        for k, out in enumerate((16, 32, 64), 1):
            blocks = []
            for i in range(n):
                blocks.append(Block(wide, out, 2 if k > 1 and i == 0 else 1))
                wide = out
            setattr(self, f"layer{k}", nn.Sequential(*blocks))
        self.linear = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return torch.as_tensor(self.linear(x.mean((2, 3))))


def make(n: int = 3, classes: int = 10) -> nn.Module:
    return CifarResNet(n, classes).eval()
