"""ResNet-20 for small images: eighteen 3x3 convolutions of 16, 32 and 64 channels in three stages.

He et al. 2016, arXiv 1512.03385, section 4.2, with the shortcut of Bi-Real Net (Liu et al. 2018, arXiv 1808.00278) around
each convolution, and no parameters where the map shrinks: every second position, and zeros for the new channels (option A).
Options: `shortcut`, "pad" as described, or "pool-pad", "real", "pool-real", "binary"; `convs`, 1 or 2 convolutions a
shortcut (published numbers of "ResNet-20" have either); `stem_activation` and `head_norm`, false for a stem without
activation and a head without batch norm (see _resnet.py).

Real stem and linear head; the head is global average pooling, batch norm and a linear layer, as IR-Net's code has it for
this network. Multiply-accumulates at 32 px: 4.055e7 in all, of which 4.011e7 in the 18 convolutions.
"""

from __future__ import annotations

from lcrbench.models.api import Backbone, Method
from lcrbench.models.backbones._resnet import ResNet, small_stem


def build(
    method: Method,
    classes: int,
    size: int,
    *,
    shortcut: str = "pad",
    convs: int = 1,
    stem_activation: bool = True,
    head_norm: bool = True,
) -> Backbone:
    """Return the body of a network for images of any size."""
    stem = small_stem(method, 16, stem_activation)
    return ResNet(method, classes, stem, (16, 32, 64), (6, 6, 6), shortcut=shortcut, convs=convs, head_norm=head_norm)
