"""VGG-Small: six 3x3 convolutions of 128 to 512 channels and one linear layer, as the binary literature trains it.

Zhang et al. 2018, LQ-Nets, arXiv 1807.10029, in the form of IR-Net's code (htqin/IR-Net):

    stem    conv 3 -> 128 (real), batch norm, activation                                        H
    blocks  conv 128 -> 128, pool;  -> 256;  -> 256, pool;  -> 512;  -> 512, pool               H/8
    head    linear 512 (H/8)^2 -> classes (real)

Each block is conv, [2x2 max-pool], batch norm, activation; or conv, activation, batch norm, [pool] for a method whose order
that is (ReSTE). The codes of IR-Net, RBNN, ReCU and ReSTE agree in the activation behind the stem and in a head without
batch norm. For images of any size divisible by 8. Operations of one image at 32 px (binary multiply-accumulates count 1/64):
1.306e7.
"""

from __future__ import annotations

from torch import nn

from lcrbench.models.api import Backbone, Method
from lcrbench.models.backbones._vgg import Vgg, block, check_size, stem


def build(method: Method, classes: int, size: int) -> Backbone:
    """Return the body of a network for size x size images; raises `ValueError` if 8 does not divide the size."""
    check_size("vgg_small", size)
    first = stem(method, 128, pool=False, activation=True)
    blocks = nn.Sequential(
        block(method, 128, 128, pool=True),
        block(method, 128, 256, pool=False),
        block(method, 256, 256, pool=True),
        block(method, 256, 512, pool=False),
        block(method, 512, 512, pool=True),
    )
    head = nn.Sequential(nn.Flatten(), nn.Linear(512 * (size // 8) ** 2, classes))
    return Vgg(first, blocks, head)
