"""Inverse sparkles: the picture seen through one star, white around it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lcrbench.corruptions import rays
from lcrbench.corruptions.drawn import uniform, whole
from lcrbench.corruptions.draws import Draws
from lcrbench.corruptions.elementary import to_byte
from lcrbench.corruptions.kernel import kernel
from lcrbench.corruptions.philox import U8


def into(x: U8, out: U8, draws: Draws, level: float) -> None:
    """255 + f (x - 255), f as `rays.cover` has it, with exponent 0.13 level.

    The star has 50 to 199 rays of mean length side / 4, about a point of the middle half of the picture.
    """
    height, width = x.shape[1:3]
    for k in range(len(x)):
        centre = uniform(draws, k, 0, 2, 0.25, 0.75) * (height, width)
        count = int(whole(draws, k, 1, 1, 50, 200)[0])
        length = rays.lengths(draws, k, 2, count, 0.25 * max(height, width))
        render(x[k], out[k], centre[0], centre[1], length, 0.13 * level)


@kernel
def render(x: U8, out: U8, top: float, left: float, length: NDArray[np.float64], exponent: float) -> None:
    """Draw what is seen through a star about (top, left)."""
    height, width, channels = x.shape
    for i in range(height):
        for j in range(width):
            f = rays.cover(i - top, j - left, length, exponent)
            for c in range(channels):
                out[i, j, c] = to_byte(255.0 + f * (np.float64(x[i, j, c]) - 255.0))
