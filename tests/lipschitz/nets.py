"""Small networks whose figures can be worked out by hand, and subjects made of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from lcrbench.bench.evaluation.subject import Subject
from lcrbench.models import network as networks
from lcrbench.models.estimators import clip as clipped
from lcrbench.models.estimators import identity


class Images(NamedTuple):
    """Test images as floats, which a data set's split does not hold."""

    images: np.ndarray
    labels: np.ndarray


def subject(network: nn.Module, images: np.ndarray, labels: np.ndarray | None = None, block: int = 8) -> Subject:
    labels = np.zeros(len(images), dtype=np.int64) if labels is None else labels
    test: Any = Images(images, labels)
    return Subject(network.eval(), test, block)


def grey(n: int, size: int = 4, seed: int = 0, low: float = 0.3, high: float = 0.7) -> np.ndarray:
    """Images (n, size, size, 3) float32 far from the walls of the box."""
    return np.random.default_rng(seed).uniform(low, high, (n, size, size, 3)).astype(np.float32)


class Linear(nn.Module):
    """f(x) = a W x + b for flattened images, in float64 inside so that rounding does not blur the figures."""

    def __init__(self, weight: np.ndarray, scale: float = 1.0, shift: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.from_numpy(np.asarray(weight, dtype=np.float64)))
        self.scale, self.shift = scale, shift

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * (x.permute(0, 2, 3, 1).flatten(1).double() @ self.weight.T) + self.shift


class Function(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Signs(nn.Module):
    """f(x) = A sign(W x + b) for flattened images."""

    def __init__(self, weight: np.ndarray, bias: np.ndarray, out: np.ndarray, clip: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.from_numpy(np.asarray(weight, dtype=np.float64)))
        self.bias = nn.Parameter(torch.from_numpy(np.asarray(bias, dtype=np.float64)))
        self.out = nn.Parameter(torch.from_numpy(np.asarray(out, dtype=np.float64)))
        self.sign = clipped.Estimator() if clip else identity.Estimator()

    def forward(self, x: Tensor) -> Tensor:
        z = x.permute(0, 2, 3, 1).flatten(1).double() @ self.weight.T + self.bias
        return torch.as_tensor(self.sign(z) @ self.out.T)


def built(
    method: str = "irnet",
    backbone: str = "vgg_tiny",
    size: int = 16,
    seed: int = 0,
    mean: tuple[float, float, float] = (0.3, 0.3, 0.3),
    std: tuple[float, float, float] = (0.35, 0.35, 0.35),
) -> networks.Network:
    """A network of the suite with random weights, and batch-norm statistics from random images, in evaluation mode."""

    def generator(name: str) -> torch.Generator:
        return torch.Generator().manual_seed(seed + sum(map(ord, name)))

    network = networks.build(networks.choose(method), backbone, 10, size, mean, std, generator)
    with torch.no_grad():
        for m in network.modules():
            if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d)):
                m.momentum = None
                m.weight.uniform_(0.5, 1.5, generator=generator("norm"))
                m.bias.uniform_(-0.2, 0.2, generator=generator("norm"))
        network.train()
        network(torch.from_numpy(grey(64, size, seed, 0, 1)).permute(0, 3, 1, 2))
    return network.eval()
