"""The blurs: defocus, glass, motion, zoom."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from lcrbench.corruptions import exact, filters
from lcrbench.corruptions.philox import U8, Draws


@functools.lru_cache(maxsize=64)
def disk(radius: float, alias_blur: float) -> NDArray[np.float64]:
    """Return the defocus kernel: a disk of one pixel steps, smoothed by a small Gaussian, summing to about 1.

    The Gaussian is 3 x 3, or 5 x 5 above a radius of 8, and reflects at the edge of the array as OpenCV does it; where the disk
    touches that edge (radius 8 and more) the kernel keeps the sum that comes out, which the official scripts do not normalise.
    """
    reach = 8 if radius <= 8 else int(radius)
    side = 1 if radius <= 8 else 2
    j = np.arange(-reach, reach + 1, dtype=np.float64)
    inside = np.where(j[:, None] ** 2 + j[None] ** 2 <= radius**2, 1.0, 0.0)
    inside /= inside.sum()
    t = np.arange(-side, side + 1, dtype=np.float64)
    weights = exact.normalised(exact.exp(np.maximum(-0.5 * t * t / alias_blur**2, -700.0)))
    for axis in (0, 1):
        extended = np.pad(inside, [(side, side) if a == axis else (0, 0) for a in (0, 1)], mode="reflect")
        n = inside.shape[axis]
        inside = sum(  # type: ignore[assignment]
            w * np.take(extended, np.arange(k, k + n), axis) for k, w in enumerate(weights)
        )
    return inside


def defocus_blur(x: U8, out: U8, draws: Draws, radius: float, alias_blur: float) -> None:
    """Correlation with a smoothed disk; the border reflects without repeating the edge."""
    filters.taps(x, out, disk(radius, alias_blur))
