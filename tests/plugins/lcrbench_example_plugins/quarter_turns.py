"""Each image turned by 0, 90, 180 or 270 degrees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lcrbench.bench.training import api


@dataclass(frozen=True)
class Transform(api.Transform):
    """Draws the number of quarter turns."""

    def draw(self, rng: np.random.Generator, n: int, size: int) -> np.ndarray:
        """Return (n, 1): quarter turns, 0 to 3."""
        return rng.integers(0, 4, size=(n, 1))

    def apply(self, images: Tensor, draws: Tensor, size: int) -> Tensor:
        """Return the turned images."""
        turned = torch.stack([torch.rot90(images, k, (1, 2)) for k in range(4)])
        return turned[draws[:, 0], torch.arange(len(images), device=images.device)]
