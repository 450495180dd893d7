"""ReCU: weights far from zero are clamped to a quantile that moves outward, so that they can flip again.

Xu, Lin, Liu, Chen, Shao, Gao, Tian, Ji 2021, "ReCU: Reviving the Dead Weights in Binary Neural Networks", arXiv 2103.12369,
as in its code (z-hXu/ReCU).

    forward:   w1 = 2 sqrt(2) (w - mean(w)) / sqrt(var(w) + 1e-5)            per output channel, unbiased, over (C_in, k, k);
                                                           x (N, C_in, H, W), w (C_out, C_in, k, k)
               Q  = -mean|w1| ln(2 - 2 tau)                one number a layer, held fixed in the gradient
               y  = alpha conv(sign(x), sign(clip(w1, -Q, Q)))               alpha (C_out) learnable
    gradient:  dS/dx = max(0, 2 - 2 |x / std(x)|) / std(x) in training, std of each image over (C, H, W), differentiated;
               dS/dw1 = 1 if |w1| <= Q else 0;   the standardization is differentiated
    schedule:  tau = A e^p + B, from tau_min to tau_max for the progress p in [0, 1)

Dividing x by its deviation changes no sign; it is done in training only, as in that code. Blocks end in Hardtanh.
Deviations: alpha starts at 1/2 in each channel, the mean of that code's draw from U(0, 1); tau is set at each step. The code
trains by SGD with plain momentum, not Nesterov's, and weight decay 5e-4 on all parameters, alpha and batch norms included.
Its ResNet-18 for CIFAR has no activation behind the stem (`resnet18:stem_activation=false`), and the shortcut `pool-pad`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lcrbench.models import api
from lcrbench.models.binary import BinaryConv2d
from lcrbench.models.estimators import identity, polynomial, set_progress, sign
from lcrbench.models.fused import Fused, centred
from lcrbench.models.methods._recipes import CIFAR
from lcrbench.models.precision import at_least_float32


class ClampedSign(api.Estimator):
    """w1 to sign(clip(w1, -Q, Q)), dS/dw1 = 1 if |w1| <= Q else 0; Q follows from mean|w1| and the progress."""

    def __init__(self, tau_min: float, tau_max: float) -> None:
        super().__init__()
        self.identity = identity.Estimator()
        self.tau_min, self.tau_max = tau_min, tau_max
        self.set_progress(0.0)

    def set_progress(self, progress: float) -> None:
        """Set tau for `progress` in [0, 1]."""
        a = (self.tau_max - self.tau_min) / (math.e - 1)
        self.tau = a * math.exp(progress) + self.tau_min - a
        self.numbers = (-math.log(2 - 2 * self.tau),)

    def forward(self, w1: Tensor) -> Tensor:
        """Return the signs."""
        (quantile,) = self.numbers
        bound = w1.detach().abs().mean() * quantile
        return self.identity(torch.clamp(w1, -bound, bound))  # type: ignore[no-any-return]


class Binarizer(api.Binarizer):
    """w to (sign(clip(w1, -Q, Q)), alpha)."""

    def __init__(self, channels: int, tau_min: float, tau_max: float) -> None:
        super().__init__()
        self.estimator = ClampedSign(tau_min, tau_max)
        self.alpha = nn.Parameter(torch.full((channels,), 0.5))

    def forward(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return the signs (C_out, C_in, k, k) and the scale (C_out)."""
        var, mean = torch.var_mean(weight, dim=(1, 2, 3), keepdim=True)
        return self.estimator((weight - mean) / ((var + 1e-5).sqrt() / (2 * math.sqrt(2)))), self.alpha


class ScaledSign(api.Sign):
    """x to sign(x), whose surrogate sees x / std(x) of each image in training."""

    def __init__(self) -> None:
        super().__init__()
        self.estimator = polynomial.Estimator()

    def forward(self, x: Tensor) -> Tensor:
        """Return the signs of (N, C, H, W)."""
        if self.training:
            return Fused(self._plain, sign, self._gradient)(at_least_float32(x))
        return self.estimator(x)  # type: ignore[no-any-return]

    def _plain(self, x: Tensor) -> Tensor:
        return self.estimator(x / (x.var(dim=(1, 2, 3), keepdim=True) + 1e-5).sqrt())  # type: ignore[no-any-return]

    @staticmethod
    def _gradient(grad: Tensor, x: Tensor) -> tuple[Tensor]:
        """Return that through z = x / s, s^2 = v + 1e-5: g / s - (x - mean) sum(g z) / (s^2 (n - 1)), g that of z."""
        distance, std = centred(x)
        square = std.square() + 1e-5
        z = x / square.sqrt()
        of_x = polynomial.gradient(grad, z)
        share = torch.mul(of_x, z, out=z).sum(dim=(1, 2, 3), keepdim=True) / (square * (x[0].numel() - 1))
        return (of_x.div_(square.sqrt()).sub_(distance.mul_(share)),)


@dataclass(frozen=True)
class Method(api.Method):
    """Options: `tau_min` and `tau_max`, between which the quantile of the clamp rises over the training."""

    tau_min: float = 0.85
    tau_max: float = 0.99

    weight_bits: ClassVar[int] = 1
    activation_bits: ClassVar[int] = 1
    capturable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0.5 < self.tau_min <= self.tau_max < 1:
            raise ValueError(f"needs 0.5 < tau_min <= tau_max < 1, not tau_min={self.tau_min}, tau_max={self.tau_max}")

    def recipe(self, backbone: str) -> Mapping[str, Any]:
        """Return the released code's on CIFAR-10 (z-hXu/ReCU): 600 epochs, 5 of them warm-up."""
        return CIFAR | {"batch": 256, "weight_decay": 5e-4, "warmup": 0.0083}

    def conv(self, in_channels: int, out_channels: int, kernel_size: int, stride: int, padding: int) -> nn.Module:
        """Return a binary convolution with rectified clamp weights."""
        return BinaryConv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            sign=ScaledSign(),
            binarizer=Binarizer(out_channels, self.tau_min, self.tau_max),
        )

    def activation(self, channels: int) -> nn.Module:
        """Return Hardtanh."""
        return nn.Hardtanh()

    def on_progress(self, network: nn.Module, t: float) -> None:
        """Move the quantile for progress t in [0, 1)."""
        set_progress(network, t)
