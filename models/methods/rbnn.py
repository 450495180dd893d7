"""RBNN: weights rotated toward their signs, with a training-aware surrogate and learnable output scales.

Lin, Ji, Xu, Zhang, Wang, Wu, Huang, Lin 2020, "Rotated Binary Neural Network", arXiv 2009.13055, as in its code
(lmbxmu/RBNN).

    forward:   w^ = (w - mean(w)) / std(w)                 per output channel, unbiased, over (C_in, k, k);
                                                           x (N, C_in, H, W), w (C_out, C_in, k, k)
               W  = w^ as a matrix (a, b) for each filter, a b = C_in k^2, a <= b as near to one another as they can be
               w3 = w^ + |sin theta| (R1^T W R2 - W)       theta (C_out)
               y  = alpha conv(sign((x - mean(x)) / std(x)), sign(w3))       mean and std of each image over (C, H, W),
                                                           in training and inference; alpha (C_out) learnable
    gradient:  dS/dz = k max(0, sqrt(2) t - t^2 |z|),   t log-linear from t_min to t_max, k = max(1/t, 1);
               on activations t is at least 1 and k is 1;   standardizations are differentiated;
               dw3/dtheta = sign(sin theta) cos theta (R1^T W R2 - W);   R1^T W R2 is held fixed for w, and
               dw3/dw^ = 1 - |sin theta|  (gradient = "released", as in the code)  or  1  (gradient = "straight")
    rotation:  at `rotations` evenly spaced steps, three rounds of   B = sign(R1^T W R2);
               R1 = U V^T of svd(sum_filters W R2 B^T);   R2 = U V^T of svd(sum_filters W^T R1 B)
               which never lower sum tr(B^T R1^T W R2)

theta starts at pi/2, alpha at mean|w| of the initial latent weights. Blocks end in Hardtanh.

At theta = pi/2 both dw3/dw^ and dw3/dtheta of the released form are 0: nothing reaches the latent weights, and theta leaves
pi/2 through weight decay alone. So theta decays under every recipe in this form, also where only weights do; by SGD without
weight decay the binary weights are never trained. (Adam enlarges even float32's cos(pi/2), which is -4e-8.) The code's 1000
epochs give the decay time. A short training does not: on 20,000 images of clothes at the rate 0.1, 0 % of the latent signs
flip (3 of 69,000; "straight": 22 %), rotations alone change the deployed ones, and accuracy ends at 45 %, against 74 %.
"straight" is a form of ours, not of the paper: it passes all of the gradient, and its theta decays as the recipe says. No
published number is one of it.

Deviations: the rotations start from the identity, where the code draws orthogonal matrices ("straight", from such ones, did
not learn in a short training: 43 to 55 % on 20,000 images of clothes, against 76 %). Rotations are counted over the whole
training rather than once an epoch; batch norms start at scale 1, not 1e-8; a filter whose weights are all equal gets 1e-12
for its standard deviation. The code trains by SGD with plain momentum, not Nesterov's, and weight decay 1e-4 on all
parameters. Its ResNet-18 for CIFAR has no activation behind the stem (`resnet18:stem_activation=false`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lcrbench.models import api
from lcrbench.models.binary import BinaryConv2d, binary_layers
from lcrbench.models.estimators import set_progress, sign, tent
from lcrbench.models.fused import Fused, centred, centred_sign, of_standardized
from lcrbench.models.methods._recipes import CIFAR
from lcrbench.models.precision import at_least_float32


class Binarizer(api.Binarizer):
    """w to (sign(w3), alpha)."""

    def __init__(self, channels: int, numbers: int, t_min: float, t_max: float, gradient: str) -> None:
        super().__init__()
        a = max(i for i in range(1, math.isqrt(numbers) + 1) if numbers % i == 0)
        self.estimator = tent.Estimator(t_min, t_max)
        self.released = gradient == "released"
        self.decays = ("theta",) if self.released else ()
        self.theta = nn.Parameter(torch.full((channels,), math.pi / 2))
        self.alpha = nn.Parameter(torch.ones(channels))
        self.left: Tensor
        self.right: Tensor
        self.done: Tensor
        self.register_buffer("left", torch.eye(a))
        self.register_buffer("right", torch.eye(numbers // a))
        self.register_buffer("done", torch.zeros((), dtype=torch.int64))
        self._count: int | None = None

    def start(self, weight: Tensor) -> None:
        """Set alpha from the initial latent weight."""
        with torch.no_grad():
            self.alpha.copy_(weight.abs().mean(dim=(1, 2, 3)))

    def forward(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return the signs (C_out, C_in, k, k) and the scale (C_out)."""
        flat = _standardized(weight)
        matrices = flat.detach().reshape(-1, len(self.left), len(self.right))
        target = (self.left.T @ matrices @ self.right).flatten(1)
        turn = target - (flat if self.released else flat.detach())
        rotated = flat + self.theta.sin().abs().unsqueeze(1) * turn
        return self.estimator(rotated).reshape(weight.shape), self.alpha

    @torch.no_grad()
    def rotate(self, weight: Tensor) -> None:
        """Turn both matrices toward the signs of the rotated weights."""
        w = _standardized(weight).reshape(-1, len(self.left), len(self.right))
        for _ in range(3):
            b = sign(self.left.T @ w @ self.right)
            u, _, v = torch.linalg.svd((w @ self.right @ b.transpose(1, 2)).sum(0))
            self.left.copy_(u @ v)
            u, _, v = torch.linalg.svd((w.transpose(1, 2) @ self.left @ b).sum(0))
            self.right.copy_(u @ v)
        self._count = self.count() + 1
        self.done += 1

    def count(self) -> int:
        """Return how often the matrices were turned; the device is asked once, and after a state was put in."""
        if self._count is None:
            self._count = int(self.done)
        return self._count

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self._count = None
        super()._load_from_state_dict(*args, **kwargs)


def _standardized(weight: Tensor) -> Tensor:
    # reshape, not view: under channels_last a filter's numbers do not lie in this order.
    flat = weight.reshape(len(weight), -1)
    std, mean = torch.std_mean(flat, dim=1, keepdim=True)
    return (flat - mean) / std.clamp_min(1e-12)


class CentredSign(api.Sign):
    """x to the sign of x standardized by image: the threshold is the image's mean."""

    def __init__(self, t_min: float, t_max: float) -> None:
        super().__init__()
        self.estimator = tent.Estimator(t_min, t_max, floor=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return the signs of (N, C, H, W), standardized in float32 at least."""
        x = at_least_float32(x)
        if self.training:
            of_x = partial(_of_centred_sign, numbers=self.estimator.numbers)
            return Fused(self._plain, centred_sign, of_x)(x)
        return self._plain(x)

    def _plain(self, x: Tensor) -> Tensor:
        z, std = centred(x)
        return self.estimator(z / std.clamp_min(1e-12))  # type: ignore[no-any-return]


def _of_centred_sign(grad: Tensor, x: Tensor, *, numbers: tuple[api.Number, ...]) -> tuple[Tensor]:
    z, std = centred(x)
    std = std.clamp_min(1e-12)
    of_z = tent.gradient(grad, z.div_(std), *numbers)
    return (of_standardized(of_z, z, std),)


@dataclass(frozen=True)
class Method(api.Method):
    """Options: `t_min` and `t_max` of the surrogate, the number of `rotations` over the training, and the `gradient`.

    `gradient` of the latent weights is "released", as in the code, or "straight", all of it.
    """

    t_min: float = 1e-2
    t_max: float = 10.0
    rotations: int = 20
    gradient: str = "released"

    weight_bits: ClassVar[int] = 1
    activation_bits: ClassVar[int] = 1
    capturable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 < self.t_min <= self.t_max or self.rotations < 0:
            raise ValueError(
                f"needs 0 < t_min <= t_max and rotations >= 0, not t_min={self.t_min}, t_max={self.t_max}, "
                f"rotations={self.rotations}"
            )
        if self.gradient not in ("released", "straight"):
            raise ValueError(f"gradient is 'released' or 'straight', not '{self.gradient}'")

    def recipe(self, backbone: str) -> Mapping[str, Any]:
        """Return the released code's on CIFAR-10 (lmbxmu/RBNN): 1,000 epochs, 5 of them warm-up."""
        return CIFAR | {"batch": 256, "warmup": 0.005}

    def conv(self, in_channels: int, out_channels: int, kernel_size: int, stride: int, padding: int) -> nn.Module:
        """Return a binary convolution with rotated weights."""
        return BinaryConv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            sign=CentredSign(self.t_min, self.t_max),
            binarizer=Binarizer(out_channels, in_channels * kernel_size**2, self.t_min, self.t_max, self.gradient),
        )

    def activation(self, channels: int) -> nn.Module:
        """Return Hardtanh."""
        return nn.Hardtanh()

    def on_progress(self, network: nn.Module, t: float) -> None:
        """Sharpen the surrogates for progress t in [0, 1), and rotate where it is due."""
        set_progress(network, t)
        for layer in binary_layers(network).values():
            for part in layer.binarizer.modules():  # a regularizer may have wrapped it
                # The count lies in the state: a resumed training neither repeats a rotation nor leaves one out.
                if isinstance(part, Binarizer) and t * self.rotations >= part.count() < self.rotations:
                    part.rotate(layer.weight)
