"""AdaBin: two values for each filter and each layer's input that are learnt or fitted, instead of -1 and +1.

Tu, Chen, Ren, Wang 2022, "AdaBin: Improving Binary Neural Networks with Adaptive Binary Sets", arXiv 2208.08084, as in its
code (huawei-noah/Efficient-Computing, BinaryNetworks/AdaBin).

    forward:   beta = mean(w), alpha = sqrt(mean (w - beta)^2)     per output channel, over (C_in, k, k), differentiated
               w_b = alpha sign((w - beta) / alpha) + beta
               x_b = a s + c,  s = sign((x - b) / a)       a, b one learnable number a layer, from 1 and 0
                               c = a b (levels = "released") or b (levels = "paper")
               y = conv(x_b, w_b)                          x (N, C_in, H, W), w (C_out, C_in, k, k)
               Maxout(y) = p max(y, 0) - n max(-y, 0)      p, n (C_out) learnable, from 1 and 1/4
    gradient:  dS/dz = max(0, 2 - 2 |z|) on activations;   k t (1 - tanh(t z)^2) on weights,
               t log-linear from t_min to t_max, k = max(1/t, 1)

The convolution is computed by whole numbers (see `BinaryConv2d`) and is the same one. Deviations: the paper has
{b - a, b + a} for the input's values, the code a (s + b): both are here; t is set at each step; without its flag
`--progressive` the code has no schedule, and keeps t = 0.1 and k = 10. |a| and alpha are at least 1e-12. The code trains
by SGD with plain momentum, not Nesterov's, and weight decay 1e-4 (1e-5 on ImageNet).
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
from lcrbench.models.estimators import ede, polynomial, set_progress, sign
from lcrbench.models.fused import Fused, by_channel, sum_by_channel
from lcrbench.models.methods._recipes import CIFAR


class Binarizer(api.Binarizer):
    """w to (sign((w - beta) / alpha), alpha), with the offset beta."""

    def __init__(self, t_min: float, t_max: float) -> None:
        super().__init__()
        self.estimator = ede.Estimator(t_min, t_max)

    def forward(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return the signs (C_out, C_in, k, k) and the scale (C_out)."""
        centred = weight - weight.mean(dim=(1, 2, 3), keepdim=True)
        alpha = centred.square().mean(dim=(1, 2, 3)).clamp_min(1e-24).sqrt()
        return self.estimator(centred / alpha.view(-1, 1, 1, 1)), alpha

    def offset(self, weight: Tensor) -> Tensor:
        """Return beta (C_out)."""
        return weight.mean(dim=(1, 2, 3))


class AdaptiveSign(api.Sign):
    """x to s = sign((x - b) / a), which stands for a s + c."""

    def __init__(self, levels: str) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.shift = nn.Parameter(torch.zeros(()))
        self.form = levels
        self.estimator = polynomial.Estimator()

    def _scale(self) -> Tensor:
        return torch.where(self.scale < 0, self.scale.clamp_max(-1e-12), self.scale.clamp_min(1e-12))

    def forward(self, x: Tensor) -> Tensor:
        """Return the signs, compared in the threshold's own precision."""
        if self.training:
            return Fused(self._plain, _adaptive_sign, _of_adaptive_sign)(x, self.shift, self._scale())
        return self._plain(x, self.shift, self._scale())

    def _plain(self, x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        return self.estimator((x.to(shift.dtype) - shift) / scale)  # type: ignore[no-any-return]

    def levels(self) -> tuple[Tensor, Tensor]:
        """Return the scale and offset of the values that the signs stand for."""
        scale = self._scale()
        return scale, scale * self.shift if self.form == "released" else self.shift


def _adaptive_sign(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    z = (x.to(shift.dtype) - shift).div_(scale)
    return sign(z, out=z)


def _of_adaptive_sign(grad: Tensor, x: Tensor, shift: Tensor, scale: Tensor) -> tuple[Tensor, ...]:
    z = (x.to(shift.dtype) - shift).div_(scale)
    of_x = polynomial.gradient(grad, z).div_(scale)
    return of_x, -of_x.sum(), -z.mul_(of_x).sum()


class Maxout(nn.Module):
    """y to p max(y, 0) - n max(-y, 0), by channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.positive = nn.Parameter(torch.ones(channels))
        self.negative = nn.Parameter(torch.full((channels,), 0.25))

    def forward(self, y: Tensor) -> Tensor:
        """Return (N, C, H, W)."""
        return Fused(_maxout, _maxout_in_place, _of_maxout)(y.to(self.positive.dtype), self.positive, self.negative)


def _maxout(y: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    return by_channel(positive) * y.relu() - by_channel(negative) * (-y).relu()


def _maxout_in_place(y: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    below = y.clamp_max(0).mul_(by_channel(negative))
    return y.clamp_min(0).mul_(by_channel(positive)).add_(below)


def _of_maxout(grad: Tensor, y: Tensor, positive: Tensor, negative: Tensor) -> tuple[Tensor, ...]:
    above = torch.ops.aten.threshold_backward(grad, y, 0)
    below = torch.ops.aten.hardtanh_backward(grad, y, -math.inf, 0)
    product = above * y
    of_positive = sum_by_channel(product)
    of_negative = sum_by_channel(torch.mul(below, y, out=product))
    return above.mul_(by_channel(positive)).add_(below.mul_(by_channel(negative))), of_positive, of_negative


@dataclass(frozen=True)
class Method(api.Method):
    """Options: `t_min`, `t_max` of the weights' surrogate; `levels` of the activations, "released" or "paper"."""

    t_min: float = 1e-3
    t_max: float = 10.0
    levels: str = "released"

    weight_bits: ClassVar[int] = 1
    activation_bits: ClassVar[int] = 1
    capturable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 < self.t_min <= self.t_max:
            raise ValueError(f"needs 0 < t_min <= t_max, not t_min={self.t_min}, t_max={self.t_max}")
        if self.levels not in ("released", "paper"):
            raise ValueError(f"levels is 'released' or 'paper', not '{self.levels}'")

    def recipe(self, backbone: str) -> Mapping[str, Any]:
        """Return the released code's on CIFAR-10 (huawei-noah/Efficient-Computing, BinaryNetworks/AdaBin): 400 epochs."""
        return dict(CIFAR)

    def conv(self, in_channels: int, out_channels: int, kernel_size: int, stride: int, padding: int) -> nn.Module:
        """Return a binary convolution with adaptive values."""
        return BinaryConv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            sign=AdaptiveSign(self.levels),
            binarizer=Binarizer(self.t_min, self.t_max),
        )

    def activation(self, channels: int) -> nn.Module:
        """Return Maxout."""
        return Maxout(channels)

    def on_progress(self, network: nn.Module, t: float) -> None:
        """Sharpen the weights' surrogates for progress t in [0, 1)."""
        set_progress(network, t)
