"""A black line through every 9th to 3rd row."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def apply(image: NDArray[np.uint8], severity: int, random: np.random.Generator) -> NDArray[np.uint8]:
    """Return the image (H, W, C) with rows of black, from a random one on."""
    step = (9, 7, 5, 4, 3)[severity - 1]
    image[random.integers(step) :: step] = 0
    return image
