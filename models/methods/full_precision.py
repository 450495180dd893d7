"""Full precision: the same topology with real weights and activations.

Forward: y = conv(x, w), no binarization anywhere. It is the reference that binary methods are compared with, not a
competitor: 32 bits a weight. Nonlinearity by option: ReLU (as usual), or Hardtanh as in the binary methods.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from lcrbench.models import api
from lcrbench.models.methods._recipes import CIFAR


@dataclass(frozen=True)
class Method(api.Method):
    """Options: `nonlinearity`, "relu" or "hardtanh"."""

    nonlinearity: str = "relu"

    weight_bits: ClassVar[int] = 32
    activation_bits: ClassVar[int] = 32
    capturable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.nonlinearity not in ("relu", "hardtanh"):
            raise ValueError(f"nonlinearity is 'relu' or 'hardtanh', not '{self.nonlinearity}'")

    def recipe(self, backbone: str) -> Mapping[str, Any]:
        """Return that of He et al. 2016, arXiv 1512.03385, section 4.2, for ResNets on CIFAR-10.

        The rate falls to a tenth at 32,000 and 48,000 of 64,000 steps.
        """
        return CIFAR | {"schedule": "step"}

    def conv(self, in_channels: int, out_channels: int, kernel_size: int, stride: int, padding: int) -> nn.Module:
        """Return an ordinary convolution without bias."""
        return nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, bias=False)

    def activation(self, channels: int) -> nn.Module:
        """Return the nonlinearity at the end of a block."""
        return nn.ReLU() if self.nonlinearity == "relu" else nn.Hardtanh()
