"""DoReFa-Net at one bit: activations 0 or 1, weights with one scale a layer.

Zhou, Wu, Ni, Zhou, Wen, Zou 2016, "DoReFa-Net", arXiv 1606.06160, with 1-bit weights and 1-bit activations.

    forward:   E = mean|w|                                 one number a layer, held fixed in the gradient
               q(x) = round(clip(x, 0, 1)) = (1 + sign(2x - 1)) / 2          0 or 1
               y = E conv(q(x), sign(w))                   x (N, C_in, H, W), w (C_out, C_in, k, k)
    gradient:  dq/dx = 1 if 0 <= x <= 1 else 0;   d(E sign(w))/dw = 1

Blocks end in Hardtanh. Deviations: x = 1/2 gives 1 (rounding to even would give 0). The form is that of larq's quantizers
(larq/larq); the authors' own code, which is not for PyTorch, was not compared, its recipe included. Benchmarks that use -1
and +1 for this method's activations measure another one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from lcrbench.models import api
from lcrbench.models.binary import BinaryConv2d
from lcrbench.models.estimators import clip, identity, sign, without_scale
from lcrbench.models.fused import Fused


class Binarizer(api.Binarizer):
    """w to (sign(w), E)."""

    def __init__(self) -> None:
        super().__init__()
        self.estimator = identity.Estimator()

    def forward(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return the signs (C_out, C_in, k, k) and the scale E (1)."""
        scale = weight.detach().abs().mean().clamp_min(1e-12)
        return without_scale(self.estimator(weight), scale), scale.view(1)


class UnitSign(api.Sign):
    """x to sign(2x - 1), which stands for 0 or 1: (s + 1) / 2."""

    def __init__(self) -> None:
        super().__init__()
        self.estimator = clip.Estimator()

    def forward(self, x: Tensor) -> Tensor:
        """Return the signs."""
        return Fused(self._plain, _unit_sign, _of_unit_sign)(x) if self.training else self._plain(x)

    def _plain(self, x: Tensor) -> Tensor:
        return self.estimator(2 * x - 1)  # type: ignore[no-any-return]

    def levels(self) -> tuple[float, float]:
        """Return the scale and offset of the values that the signs stand for."""
        return 0.5, 0.5


def _unit_sign(x: Tensor) -> Tensor:
    z = (2 * x).sub_(1)
    return sign(z, out=z)


def _of_unit_sign(grad: Tensor, x: Tensor) -> tuple[Tensor]:
    z = (2 * x).sub_(1)
    return (clip.gradient(grad, z, out=z).mul_(2),)


@dataclass(frozen=True)
class Method(api.Method):
    """No options."""

    weight_bits: ClassVar[int] = 1
    activation_bits: ClassVar[int] = 1
    capturable: ClassVar[bool] = True

    def recipe(self, backbone: str) -> Mapping[str, Any]:
        """Return none: the form is larq's, which has no training of it, and the authors' code is not for PyTorch."""
        return {}

    def conv(self, in_channels: int, out_channels: int, kernel_size: int, stride: int, padding: int) -> nn.Module:
        """Return a binary convolution of zeros and ones."""
        return BinaryConv2d(
            in_channels, out_channels, kernel_size, stride, padding, sign=UnitSign(), binarizer=Binarizer()
        )

    def activation(self, channels: int) -> nn.Module:
        """Return Hardtanh."""
        return nn.Hardtanh()
