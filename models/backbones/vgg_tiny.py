"""VGG-tiny: five 3x3 convolutions of 16 to 64 channels, small enough for the quick preset on a laptop.

    stem    conv 3 -> 16 (real), pool, batch norm, activation                    H/2
    blocks  conv 16 -> 32;  32 -> 32, pool;  32 -> 64;  64 -> 64, pool           H/8
    head    global average pool, batch norm, linear 64 -> classes (real)

Each block is conv, [2x2 max-pool], batch norm, activation, in the order of VGG-Small as the binary literature trains it.
For images of any size divisible by 8; made for 32.
"""

from __future__ import annotations

from torch import nn

from lcrbench.models.api import Backbone, Method
from lcrbench.models.backbones._head import head
from lcrbench.models.backbones._vgg import Vgg, block, check_size


def build(method: Method, classes: int, size: int) -> Backbone:
    """Return the body of a network for size x size images; raises `ValueError` if 8 does not divide the size."""
    check_size("vgg_tiny", size)
    stem = nn.Sequential(
        nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.MaxPool2d(2), nn.BatchNorm2d(16), method.activation(16)
    )
    blocks = nn.Sequential(
        block(method, 16, 32, pool=False),
        block(method, 32, 32, pool=True),
        block(method, 32, 64, pool=False),
        block(method, 64, 64, pool=True),
    )
    return Vgg(stem, blocks, head(64, classes))
