"""ReActNet: learnable thresholds before the sign, and a PReLU with learnable shifts after the block.

Liu, Shen, Savvides, Cheng 2020, "ReActNet", arXiv 2003.03488, as in its code (liuzechun/ReActNet).

    forward:   alpha = mean|w|                             per output channel, held fixed in the gradient
               y = alpha conv(sign(x + b), sign(w))        b (C_in), x (N, C_in, H, W), w (C_out, C_in, k, k)
               RPReLU(y) = PReLU(y - g) + z                slope, g and z (C_out); the slope starts at 1/4, the rest at 0
    gradient:  dS/dx = max(0, 2 - 2 |x + b|);   d(alpha sign(w))/dw = 1 if |w| <= 1 else 0

A block is sign, convolution, batch norm, shortcut, RPReLU. With `two_step` the training has the paper's two stages: binary
inputs and real weights, y = conv(sign(x + b), w), then binary weights from where these ended, each with a whole schedule.
The paper's distributional loss is the regularizer `distill`: `reactnet:two_step=true+distill`. Both are a budget class of
their own, which each record names.

Deviations: latent weights start as for every method; the stages divide the run's budget between them, where the paper gives
each one a whole budget; the harness's optimizer and weight decay for both, where the code has Adam with a linear schedule,
weight decay 1e-5 in the first stage and 0 in the second, on convolutions alone; the teacher has the student's topology,
where the paper's is a ResNet-34. The code's ResNet-18 has no RPReLU behind the stem (`stem_activation=false`), no batch norm
in the head (`head_norm=false`) and the shortcut `pool-real`. It has no recipe for CIFAR.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lcrbench.models import api
from lcrbench.models.binary import BinaryConv2d, binary_layers
from lcrbench.models.estimators import polynomial, sign
from lcrbench.models.fused import Fused, by_channel, sum_by_channel
from lcrbench.models.methods._recipes import ADAM
from lcrbench.models.methods.bi_real import Binarizer


class RSign(api.Sign):
    """x to sign(x + b), with a threshold -b for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(channels))
        self.estimator = polynomial.Estimator()

    def forward(self, x: Tensor) -> Tensor:
        """Return the signs of (N, C, H, W), compared in the threshold's own precision."""
        if self.training:
            return Fused(self._plain, _shifted_sign, _of_shifted_sign)(x, self.shift)
        return self._plain(x, self.shift)

    def _plain(self, x: Tensor, shift: Tensor) -> Tensor:
        return self.estimator(_shifted(x, shift))  # type: ignore[no-any-return]


def _shifted(x: Tensor, shift: Tensor) -> Tensor:
    return x.to(shift.dtype) + by_channel(shift)


def _shifted_sign(x: Tensor, shift: Tensor) -> Tensor:
    z = _shifted(x, shift)
    return sign(z, out=z)


def _of_shifted_sign(grad: Tensor, x: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    z = _shifted(x, shift)
    of_z = polynomial.gradient(grad, z, out=z)
    return of_z, sum_by_channel(of_z)


class RPReLU(nn.Module):
    """y to PReLU(y - g) + z, all three by channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.before = nn.Parameter(torch.zeros(channels))
        self.slope = nn.Parameter(torch.full((channels,), 0.25))
        self.after = nn.Parameter(torch.zeros(channels))

    def forward(self, y: Tensor) -> Tensor:
        """Return (N, C, H, W)."""
        return Fused(_rprelu, _rprelu_in_place, _of_rprelu)(
            y.to(self.before.dtype), self.before, self.slope, self.after
        )


def _rprelu(y: Tensor, before: Tensor, slope: Tensor, after: Tensor) -> Tensor:
    return F.prelu(y - by_channel(before), slope) + by_channel(after)


def _rprelu_in_place(y: Tensor, before: Tensor, slope: Tensor, after: Tensor) -> Tensor:
    return F.prelu(y - by_channel(before), slope).add_(by_channel(after))


def _of_rprelu(grad: Tensor, y: Tensor, before: Tensor, slope: Tensor, after: Tensor) -> tuple[Tensor, ...]:
    z = y - by_channel(before)
    positive = torch.ops.aten.threshold_backward(grad, z, 0)
    negative = grad - positive
    of_slope = sum_by_channel(z.mul_(negative))
    of_y = positive.add_(negative.mul_(by_channel(slope)))
    return of_y, -sum_by_channel(of_y), of_slope, sum_by_channel(grad)


@dataclass(frozen=True)
class Method(api.Method):
    """Options: `two_step`, a first stage with real weights."""

    two_step: bool = False

    weight_bits: ClassVar[int] = 1
    activation_bits: ClassVar[int] = 1
    capturable: ClassVar[bool] = True

    @property
    def stages(self) -> tuple[str, ...]:
        """Return the names of the training's stages."""
        return ("real weights", "binary weights") if self.two_step else ()

    def recipe(self, backbone: str) -> Mapping[str, Any]:
        """Return the released code's on ImageNet (liuzechun/ReActNet, ResNet-18), 128 epochs a stage; none for CIFAR-10.

        Its first stage has a weight decay of 1e-5 and its second none; here no stage has any.
        """
        return ADAM | {"batch": 512, "lr": 2.5e-3, "schedule": "linear"}

    def conv(self, in_channels: int, out_channels: int, kernel_size: int, stride: int, padding: int) -> nn.Module:
        """Return a binary convolution behind learnable thresholds."""
        return BinaryConv2d(
            in_channels, out_channels, kernel_size, stride, padding, sign=RSign(in_channels), binarizer=Binarizer()
        )

    def activation(self, channels: int) -> nn.Module:
        """Return RPReLU."""
        return RPReLU(channels)

    def on_stage(self, network: nn.Module, stage: int) -> None:
        """Choose between real and binary weights."""
        for layer in binary_layers(network).values():
            layer.real_weights = self.two_step and stage == 0
