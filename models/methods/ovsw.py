"""OvSW: gradients of filters that hardly move are enlarged, and weights whose signs never flip decay.

Xiang, Chen, Li, Wu, Liu 2024, "OvSW: Overcoming Silent Weights for Accurate Binary Neural Networks", ECCV 2024, arXiv
2407.05257, as in its code (JingyangXiang/OvSW@4043cb0).

    forward:   alpha = mean|w - mean(w)| / sqrt(var(w) + 1e-5)       per output channel, unbiased, over (C_in, k, k), held
                                                           fixed in the gradient; a constant shape of each filter
               y = alpha conv(sign(x), sign(w))            x (N, C_in, H, W), w (C_out, C_in, k, k)
    gradient:  dS/dx = max(0, 2 - 2 |x / std(x)|) / std(x) in training, std of each image over (C, H, W), held fixed;
               dS/dw = 1;   then, between the backward pass and the optimizer's step, for each filter
               g <- g max(1, delta |w| / |g|)              |g| at least 1e-6, |w| at least 1e-3; norms of the filter
               s <- m s + (1 - m) [sign(w) flipped since the step before]        s starts at 0
               g <- g + decay w  where s < threshold       the silent weights

Dividing x by its deviation changes no sign; it is done in training only, as in that code. Blocks end in Hardtanh. `delta`
and `decay` are those of its script for CIFAR-10; its ImageNet commands have 0.01 and 2e-5. Deviations: sign(0) = +1 where
flips are counted too; the last block of its VGG-Small ends in PReLU; plain momentum, weight decay 5e-4 on all parameters
and 600 epochs there, in half precision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lcrbench.models import api
from lcrbench.models.binary import BinaryConv2d, binary_layers
from lcrbench.models.estimators import identity, polynomial
from lcrbench.models.fused import centred
from lcrbench.models.methods import recu
from lcrbench.models.methods._recipes import CIFAR


class Binarizer(api.Binarizer):
    """w to (sign(w), alpha). It keeps, for each weight, the moving share of steps with a flip, and the sign before."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.estimator = identity.Estimator()
        self.flips: Tensor
        self.positive: Tensor
        self.register_buffer("flips", torch.zeros(shape))
        self.register_buffer("positive", torch.zeros(shape, dtype=torch.bool))

    def start(self, weight: Tensor) -> None:
        """Note the signs of the initial latent weight."""
        self.positive.copy_(weight.detach() >= 0)

    def forward(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return the signs (C_out, C_in, k, k) and the scale (C_out)."""
        with torch.no_grad():
            var, mean = torch.var_mean(weight, dim=(1, 2, 3), keepdim=True)
            scale = ((weight - mean) / (var + 1e-5).sqrt()).abs().mean(dim=(1, 2, 3))
        return self.estimator(weight), scale


class ScaledSign(recu.ScaledSign):
    """x to sign(x), whose surrogate sees x / std(x) of each image in training, with std held fixed."""

    def _plain(self, x: Tensor) -> Tensor:
        return self.estimator(x / _std(x.detach()))  # type: ignore[no-any-return]

    @staticmethod
    def _gradient(grad: Tensor, x: Tensor) -> tuple[Tensor]:
        std = _std(x)
        z = x / std
        return (polynomial.gradient(grad, z, out=z).div_(std),)


def _std(x: Tensor) -> Tensor:
    return (centred(x)[1].square() + 1e-5).sqrt()


@dataclass(frozen=True)
class Method(api.Method):
    """Options: `delta`, the least |g| / |w|; `decay` of silent weights; `momentum` m and `threshold` of s."""

    delta: float = 0.04
    decay: float = 9e-4
    momentum: float = 0.999
    threshold: float = 1e-4

    weight_bits: ClassVar[int] = 1
    activation_bits: ClassVar[int] = 1
    capturable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not min(self.delta, self.decay) >= 0 or not 0 <= self.momentum < 1:
            raise ValueError(
                f"needs delta >= 0, decay >= 0 and 0 <= momentum < 1, not delta={self.delta}, decay={self.decay}, "
                f"momentum={self.momentum}"
            )

    def recipe(self, backbone: str) -> Mapping[str, Any]:
        """Return the released code's on CIFAR-10 (JingyangXiang/OvSW, configs/smallscale): 600 epochs, 5 of them warm-up.

        Its steps are in half precision, which the recipe leaves out.
        """
        return CIFAR | {"batch": 256, "weight_decay": 5e-4, "warmup": 0.0083}

    def conv(self, in_channels: int, out_channels: int, kernel_size: int, stride: int, padding: int) -> nn.Module:
        """Return a binary convolution that counts the flips of its weights."""
        sign, binarizer = ScaledSign(), Binarizer((out_channels, in_channels, kernel_size, kernel_size))
        return BinaryConv2d(in_channels, out_channels, kernel_size, stride, padding, sign=sign, binarizer=binarizer)

    def activation(self, channels: int) -> nn.Module:
        """Return Hardtanh."""
        return nn.Hardtanh()

    @torch.no_grad()
    def on_gradient(self, network: nn.Module) -> None:
        """Enlarge small gradients, count flips, and let silent weights decay."""
        for layer in binary_layers(network).values():
            for part in layer.binarizer.modules():  # a regularizer may have wrapped it
                if isinstance(part, Binarizer) and layer.weight.grad is not None:
                    self._change(layer.weight, layer.weight.grad, part)

    def _change(self, weight: Tensor, grad: Tensor, part: Binarizer) -> None:
        g = grad.flatten(1).norm(dim=1).clamp_min(1e-6)
        w = weight.flatten(1).norm(dim=1).clamp_min(1e-3)
        factor = torch.where(g / w < self.delta, self.delta * w / g, torch.ones_like(g))
        grad.mul_(factor.view(-1, 1, 1, 1))
        positive = weight >= 0
        part.flips.mul_(self.momentum).add_((positive != part.positive).to(part.flips.dtype), alpha=1 - self.momentum)
        part.positive.copy_(positive)
        grad.add_(weight * (part.flips < self.threshold), alpha=self.decay)
