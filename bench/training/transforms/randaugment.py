"""A few random operations of one strength, on top of a base (crop-flip) (Cubuk et al. 2020, arXiv 1909.13719).

torchvision's RandAugment: `operations` of 14 by chance, with replacement, at `magnitude` of 31 steps (0 to 30); those with a
direction turn it with probability 1/2; nearest neighbour, black where nothing was.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as TF

from lcrbench.bench.training.transforms._based import Based, whole

_STEPS = 31
_MOST = 8


def _sheared(image: Tensor, x: float, y: float) -> Tensor:
    made: Tensor = TF.affine(
        image,
        angle=0.0,
        translate=[0, 0],
        scale=1.0,
        shear=[math.degrees(math.atan(x)), math.degrees(math.atan(y))],
        interpolation=InterpolationMode.NEAREST,
        center=[0, 0],
    )
    return made


def _moved(image: Tensor, x: float, y: float) -> Tensor:
    made: Tensor = TF.affine(
        image,
        angle=0.0,
        translate=[int(x), int(y)],
        scale=1.0,
        shear=[0.0, 0.0],
        interpolation=InterpolationMode.NEAREST,
    )
    return made


def _operate(name: str, image: Tensor, level: float, sign: float) -> Tensor:
    """Return an image after one operation; `level` is in [0, 1]."""
    width, height = image.shape[-1], image.shape[-2]
    signed: dict[str, Callable[[], Tensor]] = {
        "identity": lambda: image,
        "shear-x": lambda: _sheared(image, sign * 0.3 * level, 0.0),
        "shear-y": lambda: _sheared(image, 0.0, sign * 0.3 * level),
        "translate-x": lambda: _moved(image, sign * 150 / 331 * width * level, 0),
        "translate-y": lambda: _moved(image, 0, sign * 150 / 331 * height * level),
        "rotate": lambda: TF.rotate(image, sign * 30 * level, interpolation=InterpolationMode.NEAREST),
        "brightness": lambda: TF.adjust_brightness(image, 1 + sign * 0.9 * level),
        "colour": lambda: TF.adjust_saturation(image, 1 + sign * 0.9 * level),
        "contrast": lambda: TF.adjust_contrast(image, 1 + sign * 0.9 * level),
        "sharpness": lambda: TF.adjust_sharpness(image, 1 + sign * 0.9 * level),
        "posterize": lambda: TF.posterize(image, 8 - round(4 * level)),
        "solarize": lambda: TF.solarize(image, 255 * (1 - level)),
        "autocontrast": lambda: TF.autocontrast(image),
        "equalize": lambda: TF.equalize(image),
    }
    return signed[name]()


OPERATIONS = (
    *("identity", "shear-x", "shear-y", "translate-x", "translate-y", "rotate", "brightness", "colour", "contrast"),
    *("sharpness", "posterize", "solarize", "autocontrast", "equalize"),
)


@dataclass(frozen=True)
class Transform(Based):
    """Draws an operation and a direction, eight times; the first `operations` are used."""

    operations: int = 2
    magnitude: int = 9

    _columns: ClassVar[int] = 2 * _MOST

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.operations <= _MOST or not 0 <= self.magnitude < _STEPS:
            raise ValueError(f"operations is 1 to {_MOST}, and magnitude 0 to {_STEPS - 1}")

    def _one(self, image: Tensor, u: list[float]) -> Tensor:
        for k in range(self.operations):
            name = OPERATIONS[whole(u[2 * k], len(OPERATIONS))]
            image = _operate(name, image, self.magnitude / (_STEPS - 1), 1 if u[2 * k + 1] < 0.5 else -1)
        return image
