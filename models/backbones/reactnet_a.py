"""ReActNet-A: MobileNet's thirteen blocks of a 3x3 and a 1x1 convolution, 32 to 1024 channels, without depthwise layers.

Liu, Shen, Savvides, Cheng 2020, "ReActNet", arXiv 2003.03488, in the form of its code (liuzechun/ReActNet@a6cd08d,
mobilenet/), after MobileNet (Howard et al. 2017, arXiv 1704.04861). A block from C to C' channels with stride s is

    u = activation( norm(conv3x3(x)) + shortcut(x) )                  C channels; the shortcut is the identity, or a 2x2
                                                                      average pool where s = 2
    z = activation( norm(conv1x1(u)) + u )                            C' = C
    z = activation( [norm(conv1x1(u)) + u, norm(conv1x1(u)) + u] )    C' = 2 C: two convolutions, one after the other in z

    stem    conv 3x3, 3 -> 32 (real), stride 2, batch norm                       H/2
    blocks  32 -> 64;  -> 128 (s = 2);  128;  -> 256 (2);  256;  -> 512 (2);  512 five times;  -> 1024 (2);  1024    H/32
    head    global average pool, linear 1024 -> classes (real)

There is no activation after the stem and no batch norm before the linear layer. Option `stem`: "imagenet", as described;
"cifar", with stride 1, for small images; "auto", by the size: ImageNet's from 128 px. Operations of one image at 224 px
(binary multiply-accumulates count 1/64): 0.87e8, as its README says. Deviation: where a block doubles the channels, each of
its two 1x1 convolutions has thresholds of its own, if the method has any; the code's share them.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from lcrbench.models.api import Backbone, Method
from lcrbench.models.backbones._head import GlobalPool

WIDTHS = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)


class Block(nn.Module):
    """A 3x3 convolution and one or two 1x1 convolutions side by side, each with its batch norm and shortcut."""

    def __init__(self, method: Method, in_channels: int, out_channels: int, stride: int, size: int) -> None:
        super().__init__()
        self.conv = method.conv(in_channels, in_channels, 3, stride, 1)
        self.norm = nn.BatchNorm2d(in_channels)
        # At an odd size the edge cuts the last windows off, so that the map is as large as the convolution's.
        self.shortcut = nn.AvgPool2d(2, ceil_mode=bool(size % 2)) if stride == 2 else nn.Identity()
        self.inner = method.activation(in_channels)
        self.points = nn.ModuleList(
            nn.Sequential(method.conv(in_channels, in_channels, 1, 1, 0), nn.BatchNorm2d(in_channels))
            for _ in range(out_channels // in_channels)
        )
        self.activation = method.activation(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's activation."""
        u = self.inner(self.norm(self.conv(x)) + self.shortcut(x))
        parts = [point(u) + u for point in self.points]
        out: Tensor = self.activation(torch.cat(parts, 1) if len(parts) > 1 else parts[0])
        return out


class MobileNet(Backbone):
    """Normalized images (N, 3, H, W) to logits (N, classes)."""

    capturable = True

    def __init__(self, method: Method, classes: int, size: int, stride: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, WIDTHS[0], 3, stride, 1, bias=False), nn.BatchNorm2d(WIDTHS[0]))
        pairs = [*pairwise(WIDTHS)]
        strides = [2 if to > of and of > WIDTHS[0] else 1 for of, to in pairs]
        blocks, side = [], -(-size // stride)
        for (of, to), step in zip(pairs, strides, strict=True):
            blocks.append(Block(method, of, to, step, side))
            side = -(-side // step)
        self.blocks = nn.Sequential(*blocks)
        # A stage ends before each block that halves the map, and with the last one.
        self._ends = [k - 1 for k, step in enumerate(strides) if step == 2] + [len(pairs) - 1]
        self.head = nn.Sequential(GlobalPool(), nn.Flatten(), nn.Linear(WIDTHS[-1], classes))

    def stages(self) -> list[nn.Module]:
        """Return the last block of each size of the map."""
        return [self.blocks[k] for k in self._ends]

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.head(self.blocks(self.stem(x)))
        return logits


def build(method: Method, classes: int, size: int, *, stem: str = "auto") -> Backbone:
    """Return the body for images of any size; raises `ValueError` for a method whose block has another order."""
    if method.order != "norm-activation":
        raise ValueError("reactnet_a's blocks put the batch norm before the activation, and this method's do not")
    if stem not in ("auto", "cifar", "imagenet"):
        raise ValueError(f"stem is auto, cifar or imagenet, not '{stem}'")
    stride = 2 if stem == "imagenet" or (stem == "auto" and size >= 128) else 1
    return MobileNet(method, classes, size, stride)
