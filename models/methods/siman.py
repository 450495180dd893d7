"""SiMaN: a weight is +1 where its magnitude is above the median of its filter, and -1 elsewhere; its sign does not count.

Lin, Ji, Xu, Zhang, Chao, Lin, Shao 2022, "SiMaN: Sign-to-Magnitude Network Binarization", TPAMI, arXiv 2102.07981, as in its
code (lmbxmu/SiMaN@998669a).

    forward:   w1 = w - mean(w)                            per output channel, over (C_in, k, k);
                                                           x (N, C_in, H, W), w (C_out, C_in, k, k)
               w' = sign(w1) clip(|w1|, L, H)              L and H the q-th and (100 - q)-th percentiles of a layer's |w1|
               w2 = (w' - mean(w')) / sqrt(var(w') + 1e-5)           per output channel, unbiased
               b  = +1 if |w2| > median|w2| else -1        the lower median of each filter
               y  = alpha conv(sign((x - mean(x)) / sqrt(var(x) + 1e-5)), b)     of each image over (C, H, W), in training
                                                           and inference; alpha (C_out) learnable, mean|w| at first
    gradient:  dS/dx = max(0, 2 - 2 |x^|), x^ the standardized input;   db/d|w2| = 1;   standardizations are differentiated
               w' takes the place of w before each step of the optimizer, which so acts on w'
    schedule:  q = 15 (1 - p), p the progress in [0, 1)

The paper writes b in {0, +1}; its code convolves with -1 and +1, as here. Blocks end in PReLU, one slope a channel from
1/4, as in the code's ResNet-20, VGG-Small and ImageNet networks, or in Hardtanh, as in its ResNet-18 for CIFAR
(`nonlinearity`). Deviations: inference binarizes the weights as they are, where the code keeps the b of the last training
pass, one step old; the code has no weight decay on binary weights, plain momentum and 5e-4 on all else; q is set at each
step rather than at each epoch; batch norms start at scale 1, not at 1e-8 as in its ImageNet networks; ResNet-20's stem ends
in ReLU there.
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
from lcrbench.models.fused import Fused, centred, centred_sign, of_standardized
from lcrbench.models.methods._recipes import CIFAR
from lcrbench.models.precision import at_least_float32


class Binarizer(api.Binarizer):
    """w to (b, alpha). The percentile is a buffer, because the signs depend on it."""

    def __init__(self, channels: int, percent: float) -> None:
        super().__init__()
        self.estimator = identity.Estimator()
        self.alpha = nn.Parameter(torch.ones(channels))
        self.percent: Tensor
        self.register_buffer("percent", torch.tensor(percent))
        self.made: tuple[Tensor, int, Tensor] | None = None

    def start(self, weight: Tensor) -> None:
        """Set alpha from the initial latent weight."""
        with torch.no_grad():
            self.alpha.copy_(weight.abs().mean(dim=(1, 2, 3)))

    def forward(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return the signs (C_out, C_in, k, k) and the scale (C_out)."""
        clipped = self.clipped(weight)
        self.made = (weight, weight._version, clipped) if self.training else None
        # The clipped weight's values, exactly, and the latent weight's gradient.
        w = clipped + (weight - weight.detach())
        var, mean = torch.var_mean(w, dim=(1, 2, 3), keepdim=True)
        return above_median((w - mean) / (var + 1e-5).sqrt(), self.estimator), self.alpha

    def drawn(self) -> api.Sign:
        """Return the sign of one filter's standardized weights (n) by their magnitudes."""
        return ByMagnitude()

    @torch.no_grad()
    def clip(self, weight: Tensor) -> None:
        """Put w' in the place of a latent weight; the w' of the pass before, if the weight is as it was then."""
        if self.made and self.made[0] is weight and self.made[1] == weight._version:
            weight.copy_(self.made[2])
        else:
            weight.copy_(self.clipped(weight))
        self.made = None

    @torch.no_grad()
    def clipped(self, weight: Tensor) -> Tensor:
        """Return w', the centred weight with its magnitudes between the two percentiles of the layer."""
        centred = weight - weight.mean(dim=(1, 2, 3), keepdim=True)
        magnitude = centred.abs()
        share = (self.percent / 100).to(weight.dtype)
        low, high = torch.quantile(magnitude.flatten(), torch.stack([share, 1 - share]))
        return magnitude.clamp(low, high).mul_(centred.sign())


def above_median(w: Tensor, estimator: api.Estimator) -> Tensor:
    """Return the signs of filters (C_out, ...) of standardized weights: +1 where |w| is above the filter's lower median."""
    magnitude = w.abs()
    rows = magnitude.detach().flatten(1)
    # Of equal numbers, an accelerator's median may return the index of any, which torch then refuses to compute.
    medians = rows.sort(dim=1).values[:, (rows.shape[1] - 1) // 2] if rows.is_cuda else rows.median(dim=1).values
    median = medians.view(-1, *[1] * (w.dim() - 1))
    # Not sign(magnitude - median), because the median itself is -1.
    signs: Tensor = -estimator(median - magnitude)
    return signs


class ByMagnitude(api.Sign):
    """The weights (n) of one filter to their signs."""

    def __init__(self) -> None:
        super().__init__()
        self.estimator = identity.Estimator()

    def forward(self, w: Tensor) -> Tensor:
        """Return the signs (n)."""
        return above_median(w.unsqueeze(0), self.estimator).squeeze(0)


class StandardizedSign(api.Sign):
    """x to the sign of x standardized by image: the threshold is the image's mean."""

    def __init__(self) -> None:
        super().__init__()
        self.estimator = polynomial.Estimator()

    def forward(self, x: Tensor) -> Tensor:
        """Return the signs of (N, C, H, W), standardized in float32 at least."""
        x = at_least_float32(x)
        if self.training:
            return Fused(self._plain, centred_sign, _of_standardized_sign)(x)
        return self._plain(x)

    def _plain(self, x: Tensor) -> Tensor:
        z, std = centred(x)
        return self.estimator(z / (std.square() + 1e-5).sqrt())  # type: ignore[no-any-return]


def _of_standardized_sign(grad: Tensor, x: Tensor) -> tuple[Tensor]:
    z, std = centred(x)
    std = (std.square() + 1e-5).sqrt()
    of_z = polynomial.gradient(grad, z.div_(std))
    return (of_standardized(of_z, z, std),)


@dataclass(frozen=True)
class Method(api.Method):
    """Options: `percent`, where q starts, and `nonlinearity`, "prelu" or "hardtanh"."""

    percent: float = 15.0
    nonlinearity: str = "prelu"

    weight_bits: ClassVar[int] = 1
    activation_bits: ClassVar[int] = 1
    capturable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 <= self.percent < 50:
            raise ValueError(f"needs 0 <= percent < 50, not {self.percent}")
        if self.nonlinearity not in ("prelu", "hardtanh"):
            raise ValueError(f"nonlinearity is 'prelu' or 'hardtanh', not '{self.nonlinearity}'")

    def recipe(self, backbone: str) -> Mapping[str, Any]:
        """Return the released code's on CIFAR-10 (lmbxmu/SiMaN, README and cifar/main.py): 400 epochs, 5 of them warm-up.

        There the binary layers' weights and scales do not decay, and all else does; here neither do batch norms and slopes.
        """
        return CIFAR | {"batch": 256, "weight_decay": 5e-4, "decay": "real_weights", "warmup": 0.0125}

    def conv(self, in_channels: int, out_channels: int, kernel_size: int, stride: int, padding: int) -> nn.Module:
        """Return a binary convolution with weights by magnitude."""
        sign, binarizer = StandardizedSign(), Binarizer(out_channels, self.percent)
        return BinaryConv2d(in_channels, out_channels, kernel_size, stride, padding, sign=sign, binarizer=binarizer)

    def activation(self, channels: int) -> nn.Module:
        """Return PReLU, or Hardtanh."""
        return nn.PReLU(channels) if self.nonlinearity == "prelu" else nn.Hardtanh()

    def on_progress(self, network: nn.Module, t: float) -> None:
        """Move the percentiles outward for progress t in [0, 1)."""
        for part in network.modules():
            if isinstance(part, Binarizer):
                part.percent.fill_(self.percent * (1 - t))

    def on_gradient(self, network: nn.Module) -> None:
        """Put w' in the place of the latent weights."""
        for layer in binary_layers(network).values():
            for part in layer.binarizer.modules():  # a regularizer may have wrapped it
                if isinstance(part, Binarizer):
                    part.clip(layer.weight)
