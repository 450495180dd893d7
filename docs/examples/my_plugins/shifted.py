"""Signs around a threshold.

forward:   y = conv(sign(x - shift), sign(w))        x (N, C_in, H, W), w (C_out, C_in, k, k)
gradient:  d sign(z)/dz = 1 if |z| <= 1 else 0
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from lcrbench.models import api
from lcrbench.models.binary import BinaryConv2d
from lcrbench.models.estimators import clip


class Shifted(clip.Estimator):
    """The sign of what lies above `shift`."""

    def __init__(self, shift):
        super().__init__()
        self.shift = shift

    def forward(self, x):
        """Return the sign of x - shift."""
        return super().forward(x - self.shift)


class Signs(api.Binarizer):
    """w to sign(w), without a scale."""

    def __init__(self):
        super().__init__()
        self.estimator = clip.Estimator()

    def forward(self, weight):
        """Return the signs, and no scale."""
        return self.estimator(weight), None


@dataclass(frozen=True)
class Method(api.Method):
    """Options: `shift`, the threshold of the activations."""

    weight_bits: ClassVar[int] = 1
    activation_bits: ClassVar[int] = 1
    shift: float = 0.5

    def conv(self, in_channels, out_channels, kernel_size, stride, padding):
        """Return a binary convolution whose inputs are signs around the threshold."""
        return BinaryConv2d(
            in_channels, out_channels, kernel_size, stride, padding, sign=Shifted(self.shift), binarizer=Signs()
        )

    def activation(self, channels):
        """Return the nonlinearity of each block."""
        return nn.Hardtanh()
