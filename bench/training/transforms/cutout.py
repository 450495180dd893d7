"""A black square at a random place, on top of a base (crop-flip) (DeVries and Taylor 2017).

Its centre is uniform over the image, and what stands out is cut off. Its side is `share` of the image's: 1/2 is 16 px at
32 px, as for CIFAR-10. It is black, where the published code, which works on normalized images, has the mean colour.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from lcrbench.bench.training.transforms._based import Based, whole


@dataclass(frozen=True)
class Transform(Based):
    """Draws row and column of the centre."""

    share: float = 0.5

    _columns: ClassVar[int] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.share <= 1:
            raise ValueError(f"share is in (0, 1], not {self.share}")

    def _one(self, image: Tensor, u: list[float]) -> Tensor:
        height, width = image.shape[-2:]
        side = max(1, round(self.share * height))
        row, column = whole(u[0], height), whole(u[1], width)
        made = image.clone()
        top, left = max(0, row - side // 2), max(0, column - side // 2)
        made[:, top : row - side // 2 + side, left : column - side // 2 + side] = 0
        return made
