"""VGG-tiny: five 3x3 convolutions of 16 to 64 channels, small enough for the quick preset on a laptop.

    stem    conv 3 -> 16 (real), pool, batch norm, activation                    H/2
    blocks  conv 16 -> 32;  32 -> 32, pool;  32 -> 64;  64 -> 64, pool           H/8
    head    global average pool, batch norm, linear 64 -> classes (real)

Each block is conv, [2x2 max-pool], batch norm, activation, in the order of VGG-Small as the binary literature trains it;
or conv, activation, batch norm, [pool] for a method whose order that is (ReSTE). For images of any size divisible by 8;
made for 32. Options: `stem_activation` and `head_norm`, false for a stem without activation and a head without batch norm.
"""

from __future__ import annotations

from torch import nn

from lcrbench.models.api import Backbone, Method
from lcrbench.models.backbones._head import head
from lcrbench.models.backbones._vgg import Vgg, block, check_size, stem


def build(method: Method, classes: int, size: int, *, stem_activation: bool = True, head_norm: bool = True) -> Backbone:
    """Return the body of a network for size x size images; raises `ValueError` if 8 does not divide the size."""
    check_size("vgg_tiny", size)
    first = stem(method, 16, pool=True, activation=stem_activation)
    blocks = nn.Sequential(
        block(method, 16, 32, pool=False),
        block(method, 32, 32, pool=True),
        block(method, 32, 64, pool=False),
        block(method, 64, 64, pool=True),
    )
    return Vgg(first, blocks, head(64, classes, norm=head_norm))
