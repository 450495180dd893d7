"""ResNet-34 for small images or ImageNet: thirty-two 3x3 convolutions of 64 to 512 channels.

He et al. 2016, arXiv 1512.03385, table 1. Options as in ResNet-18. Operations of one image
(binary multiply-accumulates count 1/64): 1.929e8 at 224 px with the real shortcut.
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
        (6, 8, 12, 6),
        stem=stem,
        shortcut=shortcut,
        convs=convs,
        stem_activation=stem_activation,
        head_norm=head_norm,
    )
