"""Sparkles: five white stars on the picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lcrbench.corruptions import rays
from lcrbench.corruptions.drawn import uniform, whole
from lcrbench.corruptions.draws import Draws
from lcrbench.corruptions.elementary import to_byte
from lcrbench.corruptions.kernel import kernel
from lcrbench.corruptions.philox import U8

STARS = 5


def into(x: U8, out: U8, draws: Draws, level: float) -> None:
    """x + f (255 - x) for one star after the other, f as `rays.cover` has it, with exponent 1.

    A star has 50 to 199 rays of mean length 0.01 level side, at least 1 px long, about a point anywhere in the picture.
    """
    height, width = x.shape[1:3]
    radius = 0.01 * level * max(height, width)
    for k in range(len(x)):
        centres = uniform(draws, k, 0, 2 * STARS).reshape(STARS, 2) * (height, width)
        counts = whole(draws, k, 1, STARS, 50, 200)
        long = [np.maximum(1.0, rays.lengths(draws, k, 2 + s, int(n), radius)) for s, n in enumerate(counts)]
        render(x[k], out[k], centres, np.concatenate(long), np.concatenate([[0], np.cumsum(counts)]))


@kernel
def render(
    x: U8, out: U8, centres: NDArray[np.float64], length: NDArray[np.float64], starts: NDArray[np.int64]
) -> None:
    """Draw the stars at centres (n, 2), rows first; star s has the rays length[starts[s]:starts[s + 1]]."""
    height, width, channels = x.shape
    value = np.empty(channels, np.float64)
    for i in range(height):
        for j in range(width):
            for c in range(channels):
                value[c] = x[i, j, c]
            for s in range(len(centres)):
                f = rays.cover(i - centres[s, 0], j - centres[s, 1], length[starts[s] : starts[s + 1]], 1.0)
                for c in range(channels):
                    before = np.float64(np.float32(value[c]))  # the script keeps float32 between the stars
                    value[c] = before + f * (255.0 - before)
            for c in range(channels):
                out[i, j, c] = to_byte(value[c])
