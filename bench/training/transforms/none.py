"""No augmentation: the images as they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from lcrbench.bench.training import api


@dataclass(frozen=True)
class Transform(api.Transform):
    """The identity."""

    def draw(self, rng: np.random.Generator, n: int, size: int) -> np.ndarray:
        """Return no numbers, (n, 0)."""
        return np.empty((n, 0), np.int64)

    def apply(self, images: Tensor, draws: Tensor, size: int) -> Tensor:
        """Return the images."""
        return images
