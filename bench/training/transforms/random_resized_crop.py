"""Crop of random area and ratio, resized to the whole, and horizontal flip with probability 1/2 (Szegedy et al. 2015).

torchvision's RandomResizedCrop and flip: a share of the area in `scale`, a ratio of the sides in `ratio`, log-uniform;
resized bilinearly with antialiasing, in uint8.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lcrbench.bench.training import api
from lcrbench.bench.training.transforms import _based


@dataclass(frozen=True)
class Transform(api.Transform):
    """Draws ten tries of area and ratio, row, column and flip, as numbers in [0, 2^53)."""

    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (0.75, 4 / 3)

    def __post_init__(self) -> None:
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError(f"scale is two shares, 0 < low <= high <= 1, not {self.scale}")
        if len(self.ratio) != 2 or not 0 < self.ratio[0] <= self.ratio[1]:
            raise ValueError(f"ratio is two ratios, 0 < low <= high, not {self.ratio}")

    @property
    def originals(self) -> bool:
        """Return True: the crop is one of the whole image."""
        return True

    def draw(self, rng: np.random.Generator, n: int, size: int) -> np.ndarray:
        """Return (n, 23)."""
        return _based.uniforms(rng, n, _based.CROP)

    def apply(self, images: Tensor, draws: Tensor, size: int) -> Tensor:
        """Return the crops (N, size, size, 3), made one by one on the processor."""
        made = torch.empty(len(images), size, size, 3, dtype=torch.uint8)
        for k, (image, u) in enumerate(zip(images.permute(0, 3, 1, 2).cpu(), _based.units(draws), strict=True)):
            made[k] = _based.resized_crop(image, u, size, self.scale, self.ratio).permute(1, 2, 0)
        return made.to(images.device)
