"""BiPer: weights are the signs of a sine of the latent weight, after a stage in which they are the sine itself.

Vargas, Correa, Hinojosa, Arguello 2024, "BiPer: Binary Neural Networks using a Periodic Function", CVPR 2024, arXiv
2404.01278, as in its code (edmav4/BiPer@0c07fdd, cifar10/).

    forward:   y = alpha conv(sign(x), sign(sin(f w)))     second stage; alpha (C_out) learnable
               y = alpha conv(sign(x), sin(f w))           first stage, real weights
                                                           x (N, C_in, H, W), w (C_out, C_in, k, k)
    gradient:  dS/dx = max(0, 2 - 2 |x / std(x)|) / std(x) in training, std of each image over (C, H, W), differentiated;
               d sign(sin(f w))/dw = f cos(f w), as if the sign were the identity
               and in each step the gradient of tau sum_layers mean(sin(f w)^2) by w:  tau f sin(2 f w) / numbers of a layer

tau is `tau_real` in the first stage and `tau_binary` in the second. It drives the sine toward 0, as the code has it, and is
no part of the loss that is logged. Dividing x by its deviation changes no sign; it is done in training only, as in that
code. Blocks end in Hardtanh. Each stage has half of the budget and a whole schedule; a training in stages is a budget class
of its own. Deviations: the code trains 600 and 300 epochs and starts the second stage from the best epoch of the first, by
the test images; it has a learning rate of 0.021 and weight decay of 1.6e-3, then 0.0037 and 1.6e-4 (plain momentum), where
the harness has one recipe for both; alpha starts at 1/2 in each channel, the mean of the code's draw from U(0, 1); f, tau
are those of its scripts for ResNet-18, where the defaults of its options are 30 and 0.001; its ImageNet code has no tau.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lcrbench.models import api
from lcrbench.models.binary import BinaryConv2d, binary_layers
from lcrbench.models.estimators import identity
from lcrbench.models.methods._recipes import CIFAR
from lcrbench.models.methods.recu import ScaledSign


class Binarizer(api.Binarizer):
    """w to (sign(sin(f w)), alpha); to (sin(f w), alpha) while `smooth` is set."""

    def __init__(self, channels: int, frequency: float) -> None:
        super().__init__()
        self.estimator = identity.Estimator()
        self.frequency, self.smooth = frequency, False
        self.alpha = nn.Parameter(torch.full((channels,), 0.5))

    def forward(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return the signs (C_out, C_in, k, k), or the sine, and the scale (C_out)."""
        wave = torch.sin(self.frequency * weight)
        return wave if self.smooth else self.estimator(wave), self.alpha

    @property
    def binary(self) -> bool:
        """Return whether it makes signs now, and not the sine."""
        return not self.smooth

    def drawn(self) -> api.Sign:
        """Return the sign of the sine, of weights in units of pi / f."""
        return SignOfSine()


class SignOfSine(api.Sign):
    """w, in units of pi / f, to sign(sin(pi w))."""

    def __init__(self) -> None:
        super().__init__()
        self.estimator = identity.Estimator()

    def forward(self, w: Tensor) -> Tensor:
        """Return the signs."""
        return self.estimator(torch.sin(math.pi * w))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Method(api.Method):
    """Options: `frequency` f, and tau: `tau_real` in the stage with real weights, `tau_binary` in the other."""

    frequency: float = 20.0
    tau_real: float = 0.037
    tau_binary: float = 0.0468

    weight_bits: ClassVar[int] = 1
    activation_bits: ClassVar[int] = 1
    capturable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.frequency > 0 or not min(self.tau_real, self.tau_binary) >= 0:
            raise ValueError(
                f"needs frequency > 0, tau_real >= 0 and tau_binary >= 0, not frequency={self.frequency}, "
                f"tau_real={self.tau_real}, tau_binary={self.tau_binary}"
            )

    @property
    def stages(self) -> tuple[str, ...]:
        """Return the names of the training's stages."""
        return "real weights", "binary weights"

    def recipe(self, backbone: str) -> Mapping[str, Any]:
        """Return that of the released code's script for ResNet-18 on CIFAR-10 (edmav4/BiPer, cifar10/run_stg1.sh).

        It is the first stage's: 600 epochs, 5 of them warm-up. The second stage has 300 epochs, a rate of 0.0037 and a decay
        of 1.6e-4 there; here it has the first one's. The settings of other networks stand in files that were not read.
        """
        return CIFAR | {"batch": 256, "lr": 0.021, "weight_decay": 1.6e-3, "warmup": 0.0083}

    def conv(self, in_channels: int, out_channels: int, kernel_size: int, stride: int, padding: int) -> nn.Module:
        """Return a binary convolution with periodic weights."""
        sign, binarizer = ScaledSign(), Binarizer(out_channels, self.frequency)
        return BinaryConv2d(in_channels, out_channels, kernel_size, stride, padding, sign=sign, binarizer=binarizer)

    def activation(self, channels: int) -> nn.Module:
        """Return Hardtanh."""
        return nn.Hardtanh()

    def on_stage(self, network: nn.Module, stage: int) -> None:
        """Choose between the sine and its sign."""
        for _, part in _layers(network):
            part.smooth = stage == 0

    @torch.no_grad()
    def on_gradient(self, network: nn.Module) -> None:
        """Add the gradient of tau mean(sin(f w)^2)."""
        for layer, part in _layers(network):
            tau = self.tau_real if part.smooth else self.tau_binary
            if tau > 0 and layer.weight.grad is not None:
                wave = torch.sin(2 * self.frequency * layer.weight)
                layer.weight.grad.add_(wave, alpha=tau * self.frequency / wave.numel())


def _layers(network: nn.Module) -> Iterator[tuple[BinaryConv2d, Binarizer]]:
    """Return the layers with this method's binarizers, which a regularizer may have wrapped."""
    for layer in binary_layers(network).values():
        for part in layer.binarizer.modules():
            if isinstance(part, Binarizer):
                yield layer, part
