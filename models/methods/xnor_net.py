"""XNOR-Net: signs of centred weights, scaled by the mean magnitude of each filter.

Rastegari, Ordonez, Redmon, Farhadi 2016, "XNOR-Net", arXiv 1603.05279, in the form of the public PyTorch code
(jiecaoyu/XNOR-Net-PyTorch), which is unofficial.

    forward:   w~ = clip(w - mean_{C_in}(w), -1, 1)        mean over the input channels at each place of the kernel
               alpha = mean|w~|                            per output channel, over (C_in, k, k)
               y = alpha conv(sign(x), sign(w~))           x (N, C_in, H, W), w (C_out, C_in, k, k)
    gradient:  dS/dx = 1 if |x| <= 1 else 0
               g_w = alpha 1[|w~| <= 1] g + sign(w~) mean_{filter}(sign(w~) g),   g that of alpha sign(w~);
               centring and clipping pass it straight through

Blocks end in Hardtanh. Deviations: that code also multiplies g_w by (1 - 1/C_in) C_in k^2, a constant step size that Adam
cancels and SGD would not; it writes the centred, clipped w~ back into w, where here w itself is kept; its block normalizes
before the sign and ends in ReLU, which topologies that put a sign straight after the block cannot have; its binary
convolutions have a bias, and its batch norms a scale of at least 0.01; it trains by Adam, 0.01 in steps, with weight decay
1e-5. The map K of input magnitudes is left out, as in that code, which computes it and does not use it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from lcrbench.models import api
from lcrbench.models.binary import BinaryConv2d
from lcrbench.models.estimators import clip
from lcrbench.models.methods._recipes import CIFAR


class Binarizer(api.Binarizer):
    """w to (sign(w~), mean|w~|)."""

    def __init__(self) -> None:
        super().__init__()
        self.estimator = clip.Estimator()

    def forward(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return the signs (C_out, C_in, k, k) and the scale (C_out), both differentiated."""
        centred = (weight - weight.mean(1, keepdim=True)).clamp(-1, 1)
        # The value is exactly `centred`: weight - weight.detach() is 0, and carries the gradient.
        centred = centred.detach() + (weight - weight.detach())
        return self.estimator(centred), centred.abs().mean(dim=(1, 2, 3))


@dataclass(frozen=True)
class Method(api.Method):
    """No options."""

    weight_bits: ClassVar[int] = 1
    activation_bits: ClassVar[int] = 1
    capturable: ClassVar[bool] = True

    def recipe(self, backbone: str) -> Mapping[str, Any]:
        """Return the unofficial code's (jiecaoyu/XNOR-Net-PyTorch, CIFAR-10, its network NIN): Adam, 320 epochs.

        The rate falls to a tenth at epochs 120, 200, 240 and 280.
        """
        return CIFAR | {
            "optimizer": "adam",
            "lr": 0.01,
            "weight_decay": 1e-5,
            "schedule": "step:at=(0.375,0.625,0.75,0.875)",
        }

    def conv(self, in_channels: int, out_channels: int, kernel_size: int, stride: int, padding: int) -> nn.Module:
        """Return a binary convolution with XNOR-Net's weights."""
        return BinaryConv2d(
            in_channels, out_channels, kernel_size, stride, padding, sign=clip.Estimator(), binarizer=Binarizer()
        )

    def activation(self, channels: int) -> nn.Module:
        """Return Hardtanh."""
        return nn.Hardtanh()
