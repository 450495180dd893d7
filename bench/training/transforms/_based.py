"""What the augmentations with parts share: numbers drawn by position, a base (crop and flip), and images one by one."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lcrbench.bench.training import api
from lcrbench.bench.training.transforms import crop_flip

BASES = ("crop-flip", "random-resized-crop", "none")
TRIES = 10
CROP = 2 * TRIES + 3
"""Columns of a random resized crop: area and ratio of each try, row and column, and the flip."""

_UNIT = 1 << 53
_PAD = crop_flip.PAD


def uniforms(rng: np.random.Generator, n: int, k: int) -> np.ndarray:
    """Return numbers (n, k), int64 in [0, 2^53): row i is the same for every n, because a power of two rejects none."""
    return rng.integers(0, _UNIT, size=(n, k))


def units(draws: Tensor) -> list[list[float]]:
    """Return drawn numbers as floats in [0, 1), row by row."""
    rows: list[list[float]] = (draws.cpu().double() / _UNIT).tolist()
    return rows


def between(u: float, low: float, high: float) -> float:
    """Return the number in [low, high) that u in [0, 1) stands for."""
    return low + (high - low) * u


def whole(u: float, n: int) -> int:
    """Return the whole number in 0..n-1 that u in [0, 1) stands for."""
    return min(int(u * n), n - 1)


def resized_crop(
    image: Tensor, u: list[float], size: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> Tensor:
    """Return a random crop of an image (3, H, W), resized to (3, size, size), and mirrored with probability 1/2.

    The law is that of torchvision's RandomResizedCrop: of ten tries the first that fits, else the largest centre crop whose
    ratio is allowed. `u` are `CROP` numbers.
    """
    height, width = image.shape[-2:]
    top, left, h, w = _place(height, width, u, scale, ratio)
    cut = image[:, top : top + h, left : left + w].permute(1, 2, 0)[None].permute(0, 3, 1, 2)
    # Channels last and without gaps, because torch then resizes three times as fast, to the same bits.
    cut = cut.contiguous(memory_format=torch.channels_last)
    if (h, w) != (size, size):
        cut = functional.interpolate(cut, (size, size), mode="bilinear", antialias=True)
    return cut[0].flip(-1) if u[CROP - 1] < 0.5 else cut[0]


def _place(
    height: int, width: int, u: list[float], scale: tuple[float, float], ratio: tuple[float, float]
) -> tuple[int, int, int, int]:
    for k in range(TRIES):
        area = height * width * between(u[2 * k], *scale)
        shape = math.exp(between(u[2 * k + 1], math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(area * shape)), round(math.sqrt(area / shape))
        if 0 < w <= width and 0 < h <= height:
            return whole(u[CROP - 3], height - h + 1), whole(u[CROP - 2], width - w + 1), h, w
    shape = width / height
    w, h = width, height
    if shape < ratio[0]:
        h = round(w / ratio[0])
    elif shape > ratio[1]:
        w = round(h * ratio[1])
    return (height - h) // 2, (width - w) // 2, h, w


@dataclass(frozen=True)
class Based(api.Transform):
    """An augmentation of one image after the other, on top of a base. An entry says how many numbers it takes."""

    base: str = "crop-flip"

    _columns: ClassVar[int] = 0

    def __post_init__(self) -> None:
        if self.base not in BASES:
            raise ValueError(f"base is one of {', '.join(BASES)}, not '{self.base}'")

    @property
    def originals(self) -> bool:
        """Whether the base is the crop of a whole image."""
        return self.base == "random-resized-crop"

    def draw(self, rng: np.random.Generator, n: int, size: int) -> np.ndarray:
        """Return (n, k): the numbers of the base, then those of the augmentation, each in [0, 2^53)."""
        return uniforms(rng, n, CROP + self._columns)

    def apply(self, images: Tensor, draws: Tensor, size: int) -> Tensor:
        """Return the augmented images (N, size, size, 3), made one by one on the processor."""
        # By the image: what torch adds up for several at once is added in another order.
        made = [
            self._one(self._base(image, u, size), u[CROP:])
            for image, u in zip(images.permute(0, 3, 1, 2).cpu(), units(draws), strict=True)
        ]
        return torch.stack(made).permute(0, 2, 3, 1).contiguous().to(images.device)

    def _base(self, image: Tensor, u: list[float], size: int) -> Tensor:
        if self.base == "random-resized-crop":
            return resized_crop(image, u, size, (0.08, 1.0), (3 / 4, 4 / 3))
        if self.base == "crop-flip":
            padded = torch.nn.functional.pad(image, (_PAD, _PAD, _PAD, _PAD))
            top, left = whole(u[0], 2 * _PAD + 1), whole(u[1], 2 * _PAD + 1)
            cut = padded[:, top : top + size, left : left + size]
            return cut.flip(-1) if u[CROP - 1] < 0.5 else cut
        return image

    @abstractmethod
    def _one(self, image: Tensor, u: list[float]) -> Tensor:
        """Return an augmented image (3, H, W), uint8, by its own numbers."""
