"""IR-Net: balanced, standardized weights with a power-of-two scale, and the error decay estimator.

Qin, Gong, Liu, Shen, Wei, Yu, Song 2020, "Forward and Backward Information Retention for Accurate Binary Neural
Networks", arXiv 1909.10788, as in its code (htqin/IR-Net).

    forward:   w^ = (w - mean(w)) / std(w)                 mean and unbiased std over (C_in, k, k) of each output channel
               s  = round(log2 mean|w^|)                   per output channel, held fixed in the gradient
               y  = 2^s conv(sign(x), sign(w^))            x (N, C_in, H, W), w (C_out, C_in, k, k)
    gradient:  dS/dz = k t (1 - tanh(t z)^2) for z = x and z = w^;   the standardization is differentiated
               t = 10^(log10 t_min + (log10 t_max - log10 t_min) p), k = max(1/t, 1), p the progress in [0, 1)

Blocks end in Hardtanh. Deviations: t is set at each step rather than at each epoch; a filter whose weights are all equal
gets 1e-12 in place of its standard deviation 0. The code's t_min is 0.001 for ResNet-20 and 0.1 for VGG-Small, where it also
trains at the rate 0.007 for 300 epochs: `irnet:t_min=0.1`. For CIFAR it trains by SGD with plain momentum, not Nesterov's,
no warm-up, and weight decay 1e-4 on all parameters, batch norms included. Its ResNet-18 for CIFAR has no activation behind
the stem (`resnet18:stem_activation=false`) and two convolutions a shortcut.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lcrbench.models import api
from lcrbench.models.binary import BinaryConv2d
from lcrbench.models.estimators import ede, set_progress
from lcrbench.models.methods._recipes import CIFAR


class Binarizer(api.Binarizer):
    """w to (sign(w^), 2^s)."""

    power_of_two = True
    of_weight_alone = True

    def __init__(self, t_min: float, t_max: float) -> None:
        super().__init__()
        self.estimator = ede.Estimator(t_min, t_max)

    def forward(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return the signs (C_out, C_in, k, k) and the scale (C_out)."""
        std, mean = torch.std_mean(weight, dim=(1, 2, 3), keepdim=True)
        standardized = (weight - mean) / std.clamp_min(1e-12)
        scale = standardized.detach().abs().mean(dim=(1, 2, 3)).clamp_min(1e-12).log2().round().exp2()
        return self.estimator(standardized), scale


@dataclass(frozen=True)
class Method(api.Method):
    """Options: `t_min` and `t_max`, between which the estimator's sharpness rises log-linearly over the training."""

    t_min: float = 1e-3
    t_max: float = 10.0

    weight_bits: ClassVar[int] = 1
    activation_bits: ClassVar[int] = 1
    capturable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 < self.t_min <= self.t_max:
            raise ValueError(f"needs 0 < t_min <= t_max, not t_min={self.t_min}, t_max={self.t_max}")

    def recipe(self, backbone: str) -> Mapping[str, Any]:
        """Return the released code's on CIFAR-10 (htqin/IR-Net): 400 epochs; on VGG-Small 300, with a rate of 0.007."""
        return CIFAR | ({"lr": 0.007} if backbone == "vgg_small" else {})

    def conv(self, in_channels: int, out_channels: int, kernel_size: int, stride: int, padding: int) -> nn.Module:
        """Return a binary convolution with IR-Net's weights."""
        return BinaryConv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            sign=ede.Estimator(self.t_min, self.t_max),
            binarizer=Binarizer(self.t_min, self.t_max),
        )

    def activation(self, channels: int) -> nn.Module:
        """Return Hardtanh."""
        return nn.Hardtanh()

    def on_progress(self, network: nn.Module, t: float) -> None:
        """Sharpen every estimator of the network for progress t in [0, 1)."""
        set_progress(network, t)
