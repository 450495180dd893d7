"""Data and networks that are made in tests: images of ten noisy patterns, and a network that tells them by the nearest one.

The nearest pattern depends on the normalization, the channels' order and the range, as a trained network's answers do.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from lcrbench.bench.data.arrays import Dataset, Split

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLASSES = 10


def patterns(classes: int = CLASSES, size: int = 8) -> np.ndarray:
    """Return one pattern a class (classes, size, size, 3) in [0, 1], reddish, dim and close together."""
    rng = np.random.default_rng(0)
    base = rng.uniform(0.15, 0.45, (1, size, size, 3)) * np.array([1.4, 1.0, 0.6])
    return np.clip(base + rng.normal(0, 0.06, (classes, size, size, 3)), 0, 1)


def dataset(classes: int = CLASSES, each: int = 60, size: int = 8, names: tuple[str, ...] = ()) -> Dataset:
    """Return noisy copies of the patterns, as many of each."""
    rng = np.random.default_rng(1)
    labels = np.arange(classes * each, dtype=np.int64) % classes
    noisy = patterns(classes, size)[labels] + rng.normal(0, 0.12, (len(labels), size, size, 3))
    split = Split((np.clip(noisy, 0, 1) * 255).round().astype(np.uint8), labels)
    return Dataset("patterns", names or tuple(f"class {k}" for k in range(classes)), split, split)


class Nearest(nn.Module):
    """Logits: minus the squared distance to each pattern, in the units of a normalization by `mean` and `std`."""

    def __init__(self, mean: tuple[float, ...] = MEAN, std: tuple[float, ...] = STD, classes: int = CLASSES) -> None:
        super().__init__()
        known = (patterns(classes) - np.array(mean)) / np.array(std)
        self.known = nn.Parameter(torch.from_numpy(known).permute(0, 3, 1, 2).float())

    def forward(self, x: Tensor) -> Tensor:
        return -((x[:, None] - self.known) ** 2).flatten(2).sum(2) / 20


class Changed(nn.Module):
    """A network whose outputs are changed."""

    def __init__(self, change: object, network: nn.Module | None = None) -> None:
        super().__init__()
        self.network, self.change = network or Nearest(), change

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.change(self.network(x))  # type: ignore[operator]
        return out
