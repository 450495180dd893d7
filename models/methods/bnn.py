"""BNN: signs of weights and activations, no scale, clipped straight-through gradients.

Hubara, Courbariaux, Soudry, El-Yaniv, Bengio 2016, "Binarized Neural Networks", arXiv 1602.02830; its PyTorch code is
itayhubara/BinaryNet.pytorch.

    forward:   y = conv(sign(x), sign(w))                  x (N, C_in, H, W), w (C_out, C_in, k, k); scale 1
    gradient:  dS/dx = 1 if |x| <= 1 else 0;   dS/dw = 1 if |w| <= 1 else 0

Blocks end in Hardtanh. Deviations: the paper clips the latent weights to [-1, 1] after each step, where here the mask on
|w| <= 1 stops their growth; the first convolution and the last linear layer stay real, as in every method here, so that
methods differ in the blocks alone. The code passes gradients through both signs unmasked: the Hardtanh before an input's
sign masks it, and latent weights are clipped in two of its three training scripts, not in that for CIFAR. It binarizes first
and last layers too; its ResNet adds the shortcut before the block's last batch norm, and has a binary one where the map
shrinks. It trains by Adam, from 5e-3 in steps, without weight decay.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from lcrbench.models import api
from lcrbench.models.binary import BinaryConv2d
from lcrbench.models.estimators import clip
from lcrbench.models.methods._recipes import ADAM


class Binarizer(api.Binarizer):
    """w to (sign(w), no scale)."""

    def __init__(self) -> None:
        super().__init__()
        self.estimator = clip.Estimator()

    def forward(self, weight: Tensor) -> tuple[Tensor, None]:
        """Return the signs, and None for a scale of 1."""
        return self.estimator(weight), None


@dataclass(frozen=True)
class Method(api.Method):
    """No options."""

    weight_bits: ClassVar[int] = 1
    activation_bits: ClassVar[int] = 1
    capturable: ClassVar[bool] = True

    def recipe(self, backbone: str) -> Mapping[str, Any]:
        """Return the released code's (itayhubara/BinaryNet.pytorch, models/resnet_binary.py): Adam, no decay.

        Rates 5e-3, 1e-3, 5e-4, 1e-4 and 1e-5 from epochs 0, 101, 142, 184 and 220. The code's 2,500 epochs change nothing
        after that, so the shares are of 250 epochs; that is our reading.
        """
        shares = "step:at=(0.404,0.568,0.736,0.88),factors=(0.2,0.1,0.02,0.002)"
        return ADAM | {"batch": 256, "lr": 5e-3, "schedule": shares}

    def conv(self, in_channels: int, out_channels: int, kernel_size: int, stride: int, padding: int) -> nn.Module:
        """Return a binary convolution without scale."""
        return BinaryConv2d(
            in_channels, out_channels, kernel_size, stride, padding, sign=clip.Estimator(), binarizer=Binarizer()
        )

    def activation(self, channels: int) -> nn.Module:
        """Return Hardtanh."""
        return nn.Hardtanh()
