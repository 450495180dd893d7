"""Brightness, contrast, saturation and hue by random factors, in random order, on top of a base (crop-flip).

torchvision's ColorJitter: factors are uniform in [max(0, 1 - x), 1 + x], the shift of the hue in [-hue, hue].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torchvision.transforms.v2 import functional as TF

from lcrbench.bench.training.transforms._based import Based, between


@dataclass(frozen=True)
class Transform(Based):
    """Draws four factors, and four numbers whose ranks are the order."""

    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.1

    _columns: ClassVar[int] = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.brightness, self.contrast, self.saturation) < 0 or not 0 <= self.hue <= 0.5:
            raise ValueError("brightness, contrast and saturation are 0 or more, and hue is in [0, 0.5]")

    def _one(self, image: Tensor, u: list[float]) -> Tensor:
        for k in sorted(range(4), key=lambda k: (u[4 + k], k)):
            if k == 3:
                if self.hue:
                    image = TF.adjust_hue(image, between(u[3], -self.hue, self.hue))
                continue
            adjust = (TF.adjust_brightness, TF.adjust_contrast, TF.adjust_saturation)[k]
            if x := (self.brightness, self.contrast, self.saturation)[k]:
                image = adjust(image, between(u[k], max(0.0, 1 - x), 1 + x))
        return image
