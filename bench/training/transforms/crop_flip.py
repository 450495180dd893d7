"""Zero-pad by 4, random crop, horizontal flip with probability 1/2 (He et al. 2016, for CIFAR-10)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lcrbench.bench.training import api

PAD = 4


@dataclass(frozen=True)
class Transform(api.Transform):
    """Draws row and column of the crop in 0..8, and the flip in 0..1."""

    def draw(self, rng: np.random.Generator, n: int, size: int) -> np.ndarray:
        """Return (n, 3): row, column, flip."""
        return np.column_stack([rng.integers(0, 2 * PAD + 1, size=(n, 2)), rng.integers(0, 2, size=n)])

    def apply(self, images: Tensor, draws: Tensor, size: int) -> Tensor:
        """Return the crops (N, size, size, 3) at the drawn places, mirrored where the third number is 1."""
        padded = F.pad(images, (0, 0, PAD, PAD, PAD, PAD))
        steps = torch.arange(size, device=images.device)
        rows = draws[:, 0, None] + steps
        columns = draws[:, 1, None] + torch.where(draws[:, 2, None] == 1, size - 1 - steps, steps)
        which = torch.arange(len(images), device=images.device)[:, None, None]
        return padded[which, rows[:, :, None], columns[:, None, :]]
