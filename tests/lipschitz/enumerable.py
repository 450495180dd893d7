"""Networks whose every answer can be enumerated: their logits depend on the signs of few affine functions of the image.

    f(x) = rest(affine(x)),    rest(z) = rest(sign(z)),    sign(0) = +1

All of them take images (N, 3, H, W) of a few pixels in [0, 1] and compute in float64, so that rounding decides no sign.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import torch
from torch import Tensor, nn

from lcrbench.models import network as networks
from lcrbench.models.estimators import clip, identity, sign

Size = tuple[int, int]


class Blind(nn.Module):
    """sign(x) without any gradient, sign(0) = +1."""

    def forward(self, x: Tensor) -> Tensor:
        return sign(x)


SIGNS: dict[str, type[nn.Module]] = {"clip": clip.Estimator, "identity": identity.Estimator, "blind": Blind}


class Enumerable(nn.Module):
    """f(x) = rest(affine(x)) for images (N, 3, H, W); `rest` depends on the signs of the affine units alone."""

    def __init__(self, affine: nn.Module, rest: nn.Module, size: Size) -> None:
        super().__init__()
        self.affine, self.rest, self.size = affine.double(), rest.double(), size
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.rest(self.affine(x.double()))
        return y

    @torch.no_grad()
    def first(self) -> tuple[np.ndarray, np.ndarray]:
        """Return W (units, 3HW) and b (units), for images flattened from (H, W, 3), by probing the affine part."""
        d = 3 * math.prod(self.size)
        probes = torch.cat([torch.zeros(1, d), torch.eye(d)]).double()
        z = self.affine(probes.view(-1, *self.size, 3).permute(0, 3, 1, 2)).flatten(1)
        return (z[1:] - z[0]).T.numpy(), z[0].numpy()

    @torch.no_grad()
    def cells(self) -> tuple[np.ndarray, np.ndarray]:
        """Return every pattern (2^units, units) of -1 and +1, and the logits there (2^units, classes)."""
        like = self.affine(torch.zeros(1, 3, *self.size).double())
        units = like.numel()
        assert units <= 12, "too many patterns"
        patterns = 2.0 * ((np.arange(2**units)[:, None] >> np.arange(units)) & 1) - 1
        return patterns, self.rest(torch.from_numpy(patterns).view(-1, *like.shape[1:])).numpy()


def sign_mlp(
    hidden: tuple[int, ...], size: Size = (2, 2), classes: int = 3, seed: int = 0, by: str = "clip"
) -> Enumerable:
    """Return A sign(... sign(W x + b)), each plane of the first layer through a point near the middle of the box."""
    draw = np.random.default_rng([seed, len(hidden), *hidden])
    d = 3 * math.prod(size)

    def linear(weight: np.ndarray, bias: np.ndarray) -> nn.Linear:
        layer = nn.Linear(weight.shape[1], weight.shape[0]).double()
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(weight))
            layer.bias.copy_(torch.from_numpy(bias))
        return layer

    w = draw.standard_normal((hidden[0], d))
    affine = nn.Sequential(nn.Flatten(), linear(w, -(w * draw.uniform(0.2, 0.8, (hidden[0], d))).sum(1)))
    parts: list[nn.Module] = [SIGNS[by]()]
    for into, out in itertools.pairwise(hidden):
        parts += [linear(draw.standard_normal((out, into)), 0.5 * draw.standard_normal(out)), SIGNS[by]()]
    parts.append(linear(draw.standard_normal((classes, hidden[-1])), 0.3 * draw.standard_normal(classes)))
    return Enumerable(affine, nn.Sequential(*parts), size)


def binary_conv(method: str = "irnet", size: Size = (2, 2), seed: int = 0, classes: int = 4) -> Enumerable:
    """Return a small VGG of the suite's own layers, whose first signs are 3 channels of 2 x 2 units.

    2 x 2 images get a stem of stride 1, and 4 x 4 images one of stride 2.
    """
    made = networks.choose(method).method
    torch.manual_seed(seed)
    affine = nn.Sequential(nn.Conv2d(3, 3, 3, size[0] // 2, 1, bias=False), nn.BatchNorm2d(3))
    rest = nn.Sequential(
        made.activation(3),
        made.conv(3, 8, 3, 1, 1),
        nn.BatchNorm2d(8),
        made.activation(8),
        made.conv(8, 8, 3, 1, 1),
        nn.MaxPool2d(2),
        nn.BatchNorm2d(8),
        made.activation(8),
        nn.Flatten(),
        nn.BatchNorm1d(8),
        nn.Linear(8, classes),
    )
    network = Enumerable(affine, rest, size)
    with torch.no_grad():
        for m in network.modules():
            if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d)):
                m.momentum = None
                m.weight.uniform_(0.5, 1.5)
                m.bias.uniform_(-0.2, 0.2)
        network.train()
        network(torch.rand(256, 3, *size))
    return network.eval()


class Layer(nn.Module):
    """f(x) = A g(W x + b) + c for flattened images (H, W, 3), g the identity or hardtanh, in float64."""

    def __init__(self, w: np.ndarray, b: np.ndarray, a: np.ndarray, c: np.ndarray, clipped: bool) -> None:
        super().__init__()
        self.w, self.b, self.a, self.c = (nn.Parameter(torch.from_numpy(v), requires_grad=False) for v in (w, b, a, c))
        self.g: nn.Module = nn.Hardtanh() if clipped else nn.Identity()
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        flat = x.permute(0, 2, 3, 1).flatten(1).double()
        return torch.as_tensor(self.g(flat @ self.w.T + self.b) @ self.a.T + self.c)


def linear(seed: int = 0, classes: int = 4, d: int = 12) -> Layer:
    """Return a random linear map."""
    draw = np.random.default_rng(seed)
    w = draw.standard_normal((classes, d))
    return Layer(w, -w.sum(1) / 2, np.eye(classes), 0.5 * draw.standard_normal(classes), clipped=False)


def hardtanh(seed: int = 0, classes: int = 5, units: int = 4, d: int = 12, gain: float = 6.0) -> Layer:
    """Return a hardtanh layer whose units see different pixels, and whose outputs add up at right angles.

    The rows of W have length `gain` and disjoint supports, and the columns of A are orthogonal: see `truth.Hardtanh`.
    """
    draw = np.random.default_rng(seed)
    w = np.zeros((units, d))
    for unit, support in enumerate(np.array_split(draw.permutation(d), units)):
        w[unit, support] = draw.standard_normal(len(support))
    w *= gain / np.linalg.norm(w, axis=1, keepdims=True)
    a = np.linalg.qr(draw.standard_normal((classes, units)))[0] * draw.uniform(0.5, 2, units)
    return Layer(w, -w.sum(1) / 2, a, 0.5 * draw.standard_normal(classes), clipped=True)
