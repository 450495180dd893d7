"""ReSTE: a power function between the identity and the sign gives the gradient of weights and activations.

Wu, Zheng, Liu, Zheng 2023, "Estimator Meets Equilibrium Perspective: A Rectified Straight Through Estimator for Binary
Neural Networks Training", arXiv 2308.06689, ICCV 2023, as in its code (DravenALG/ReSTE).

    forward:   E = mean|w|                                 one number a layer, differentiated
               y = E conv(sign(x), sign(w))                x (N, C_in, H, W), w (C_out, C_in, k, k)
    gradient:  dS/dz = (1/o) |z|^((1-o)/o) for .1 < |z| <= 1.5;  .1^(1/o) / .1 for |z| <= .1;  0 beyond;  z = x and w
               o = 1 + (1 - cos(pi p / 2)) (o_end - 1), p the progress in [0, 1)

    block:     conv -> ReLU -> batch norm [-> + shortcut], pools after the batch norm    (block = "released", as in the code)
               conv -> batch norm [-> + shortcut] -> Hardtanh, pools before the batch norm      (block = "shared")

"shared" is the block of most other methods here: with it ReSTE differs from them in the estimator alone. No published number
is one of it. Deviations: o is set at each step rather than at each epoch. The code trains by SGD with plain momentum, not
Nesterov's, and weight decay 1e-4 on all parameters, batch norms included.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from lcrbench.models import api
from lcrbench.models.binary import BinaryConv2d
from lcrbench.models.estimators import power, set_progress
from lcrbench.models.methods._recipes import CIFAR


class Binarizer(api.Binarizer):
    """w to (sign(w), E)."""

    def __init__(self, o_end: float) -> None:
        super().__init__()
        self.estimator = power.Estimator(o_end)

    def forward(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return the signs (C_out, C_in, k, k) and the scale E (1)."""
        return self.estimator(weight), weight.abs().mean().view(1)


@dataclass(frozen=True)
class Method(api.Method):
    """Options: `o_end` >= 1, the power's root at the end of training (1 is the straight-through estimator); `block`.

    `block` is "released", as in the code, or "shared", that of most other methods.
    """

    o_end: float = 3.0
    block: str = "released"

    weight_bits: ClassVar[int] = 1
    activation_bits: ClassVar[int] = 1
    capturable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.o_end >= 1:
            raise ValueError(f"needs o_end >= 1, not {self.o_end}")
        if self.block not in ("released", "shared"):
            raise ValueError(f"block is 'released' or 'shared', not '{self.block}'")

    @property
    def order(self) -> api.Order:
        """Return the order of the block's parts."""
        return "activation-norm" if self.block == "released" else "norm-activation"

    def recipe(self, backbone: str) -> Mapping[str, Any]:
        """Return the released code's on CIFAR-10 (DravenALG/ReSTE): 1,000 epochs, 5 of them warm-up.

        On ResNet-18 it is 2,000 epochs in batches of 96.
        """
        if backbone == "resnet18":
            return CIFAR | {"batch": 96, "warmup": 0.0025}
        return CIFAR | {"batch": 256, "warmup": 0.005}

    def conv(self, in_channels: int, out_channels: int, kernel_size: int, stride: int, padding: int) -> nn.Module:
        """Return a binary convolution with one scale a layer."""
        return BinaryConv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            sign=power.Estimator(self.o_end),
            binarizer=Binarizer(self.o_end),
        )

    def activation(self, channels: int) -> nn.Module:
        """Return ReLU, or Hardtanh for the shared block."""
        return nn.ReLU() if self.block == "released" else nn.Hardtanh()

    def on_progress(self, network: nn.Module, t: float) -> None:
        """Move the estimators from the identity toward the sign for progress t in [0, 1)."""
        set_progress(network, t)
