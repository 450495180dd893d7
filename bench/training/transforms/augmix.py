"""AugMix: three chains of random operations, mixed with each other and with the image (Hendrycks et al. 2020, 1912.02781).

    m image + (1 - m) sum_i w_i chain_i(image),    m uniform (Beta(1, 1)),    w of Dirichlet(1, 1, 1)

on top of a base (crop-flip). A chain is one to three of nine operations, none of which is a corruption of ImageNet-C; each
has a strength of its own, uniform up to `severity` of ten. It is the augmentation alone: the published training also has a
loss that pulls the answers to several mixtures together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from lcrbench.bench.training.transforms._based import Based, between, whole
from lcrbench.bench.training.transforms.randaugment import _operate

OPERATIONS = (
    *(
        "autocontrast",
        "equalize",
        "posterize",
        "rotate",
        "solarize",
        "shear-x",
        "shear-y",
        "translate-x",
        "translate-y",
    ),
)
_WIDTH, _DEPTH = 3, 3
_CHAIN = 2 + 3 * _DEPTH
# AugMix moves an image by a third of its side at most, RandAugment by a little more.
_SMALLER = {"translate-x": (1 / 3) / (150 / 331), "translate-y": (1 / 3) / (150 / 331)}


@dataclass(frozen=True)
class Transform(Based):
    """Draws m, and for each chain its weight, its depth, and three operations with strength and direction."""

    severity: int = 3

    _columns: ClassVar[int] = 1 + _WIDTH * _CHAIN

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.severity <= 10:
            raise ValueError(f"severity is 1 to 10, not {self.severity}")

    def _one(self, image: Tensor, u: list[float]) -> Tensor:
        chains = [u[1 + i * _CHAIN : 1 + (i + 1) * _CHAIN] for i in range(_WIDTH)]
        # Exponential numbers over their sum are uniform on the simplex.
        weights = [-math.log1p(-chain[0]) for chain in chains]
        total = sum(weights) or 1.0
        mixed = torch.zeros_like(image, dtype=torch.float64)
        for weight, chain in zip(weights, chains, strict=True):
            made = image
            for k in range(1 + whole(chain[1], _DEPTH)):
                name, strength, direction = chain[2 + 3 * k : 5 + 3 * k]
                operation = OPERATIONS[whole(name, len(OPERATIONS))]
                level = between(strength, 0.1, max(0.1, self.severity)) / 10 * _SMALLER.get(operation, 1.0)
                made = _operate(operation, made, level, 1 if direction < 0.5 else -1)
            mixed += weight / total * made.double()
        whole_image = u[0] * image.double() + (1 - u[0]) * mixed
        return whole_image.round().clamp(0, 255).to(torch.uint8)
