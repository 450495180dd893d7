"""ResNet-18 for small images or ImageNet: sixteen 3x3 convolutions of 64 to 512 channels.

He et al. 2016, arXiv 1512.03385, table 1. Options, all of which change what a published number of "ResNet-18" means:

- `stem`: "cifar", a 3x3 convolution; "imagenet", a 7x7 one with stride 2 and a 3x3 max-pool; "auto", by the size: ImageNet's
  from 128 px;
- `shortcut`, where the map shrinks: "real" (1x1 with stride), "pool-real", "binary", "pool-pad", "pad" (see _resnet.py);
- `convs`: 1 or 2 convolutions a shortcut;
- `stem_activation`: false for a stem without activation; `head_norm`: false for a head without batch norm (see _resnet.py).

Real stem and linear head; the head is global average pooling, [batch norm] and a linear layer. Operations of one image
(binary multiply-accumulates count 1/64): 1.640e8 at 224 px and 1.662e7 at 32 px with the real shortcut (10 classes there).
"""

from __future__ import annotations

from lcrbench.models.api import Backbone, Method
from lcrbench.models.backbones._resnet import large_or_small


def build(
    method: Method,
    classes: int,
    size: int,
    *,
    stem: str = "auto",
    shortcut: str = "real",
    convs: int = 1,
    stem_activation: bool = True,
    head_norm: bool = True,
) -> Backbone:
    """Return the body of a network for images of any size."""
    return large_or_small(
        method,
        classes,
        size,
        (4, 4, 4, 4),
        stem=stem,
        shortcut=shortcut,
        convs=convs,
        stem_activation=stem_activation,
        head_norm=head_norm,
    )
