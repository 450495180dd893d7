"""Bi-Real Net: a quadratic surrogate for the sign, filters scaled by their mean magnitude, no other nonlinearity.

Liu, Wu, Luo, Yang, Liu, Cheng 2018, "Bi-Real Net", arXiv 1808.00278, as in its PyTorch code (liuzechun/Bi-Real-net).

    forward:   alpha = mean|w|                             per output channel, held fixed in the gradient
               y = alpha conv(sign(x), sign(w))            x (N, C_in, H, W), w (C_out, C_in, k, k)
    gradient:  dS/dx = max(0, 2 - 2 |x|);   d(alpha sign(w))/dw = 1 if |w| <= 1 else 0

Blocks have no nonlinearity but the next sign. The shortcut around each convolution is the backbone's: it has it by default
where the backbone is a ResNet. Deviations: the paper's magnitude-aware weight gradient and its start from a real network
with clipped activations are left out, as in that code; latent weights start as for every method, not at rand()/1000,
which has no negative value. The code trains by Adam, from 1e-3 linearly to 0, without weight decay and with label smoothing
0.1. Its networks have no batch norm in the head (`head_norm=false`) and the shortcut `pool-real`. It has no recipe for
CIFAR.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from lcrbench.models import api
from lcrbench.models.binary import BinaryConv2d
from lcrbench.models.estimators import clip, polynomial, without_scale
from lcrbench.models.methods._recipes import ADAM


class Binarizer(api.Binarizer):
    """w to (sign(w), mean|w|)."""

    def __init__(self) -> None:
        super().__init__()
        self.estimator = clip.Estimator()

    def forward(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return the signs (C_out, C_in, k, k) and the scale (C_out)."""
        scale = weight.detach().abs().mean(dim=(1, 2, 3)).clamp_min(1e-12)
        return without_scale(self.estimator(weight), scale.view(-1, 1, 1, 1)), scale


@dataclass(frozen=True)
class Method(api.Method):
    """No options."""

    weight_bits: ClassVar[int] = 1
    activation_bits: ClassVar[int] = 1
    capturable: ClassVar[bool] = True

    def recipe(self, backbone: str) -> Mapping[str, Any]:
        """Return the released PyTorch code's on ImageNet (liuzechun/Bi-Real-net), 256 epochs; there is none for CIFAR-10."""
        return ADAM | {"batch": 512, "lr": 1e-3, "schedule": "linear", "label_smoothing": 0.1}

    def conv(self, in_channels: int, out_channels: int, kernel_size: int, stride: int, padding: int) -> nn.Module:
        """Return a binary convolution with Bi-Real Net's weights."""
        return BinaryConv2d(
            in_channels, out_channels, kernel_size, stride, padding, sign=polynomial.Estimator(), binarizer=Binarizer()
        )

    def activation(self, channels: int) -> nn.Module:
        """Return the identity."""
        return nn.Identity()
