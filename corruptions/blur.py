"""The blurs: defocus, glass, motion, zoom."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from lcrbench.corruptions import exact, filters
from lcrbench.corruptions.kernel import kernel
from lcrbench.corruptions.philox import U8, Draws, below, fill, padded


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
        shifted = [w * np.take(extended, np.arange(k, k + n), axis) for k, w in enumerate(weights)]
        inside = functools.reduce(np.add, shifted)
    return inside


def defocus_blur(x: U8, out: U8, draws: Draws, radius: float, alias_blur: float) -> None:
    """Correlation with a smoothed disk; the border reflects without repeating the edge."""
    filters.taps(x, out, disk(radius, alias_blur))


def glass_blur(x: U8, out: U8, draws: Draws, sigma: float, max_delta: int, iterations: int) -> None:
    """Gaussian blur, pixels copied from nearby at random, Gaussian blur again.

    The official loop means to swap neighbours, but assigns numpy views, which alias: each pixel is overwritten by the one at an
    offset drawn from {-max_delta, ..., max_delta - 1} in each direction, from the last pixel to the first. So it is here.
    """
    weights = exact.gaussian_weights(sigma, truncate=4.0)
    blurred = np.empty_like(x)
    filters.separable(x, blurred, weights)
    _scatter(blurred, draws.key, draws.indices, max_delta, iterations)
    filters.separable(blurred, out, weights)


@kernel
def _scatter(x: U8, key: np.uint64, indices: NDArray[np.int64], reach: int, iterations: int) -> None:
    count, height, width, channels = x.shape
    words = np.empty(padded(height * width), np.uint32)
    for i in range(count):
        picture = x[i]
        for turn in range(iterations):
            fill(words, key, turn, indices[i])
            for h in range(height - reach, reach, -1):
                for w in range(width - reach, reach, -1):
                    word = words[h * width + w]
                    dx = below(np.uint32(word << np.uint32(16)), 2 * reach) - reach
                    dy = below(word & np.uint32(0xFFFF0000), 2 * reach) - reach
                    for c in range(channels):
                        picture[h, w, c] = picture[h + dy, w + dx, c]


def motion_blur(
    x: U8, out: U8, draws: Draws, radius: float, sigma: float, *, angle: NDArray[np.float64] | None = None
) -> None:
    """A one-sided Gaussian streak at an angle drawn from U(-45, 45) degrees, as ImageMagick's motion blur draws it.

    Tap k = 0..2 ceil(radius) has the weight exp(-k^2 / (2 sigma^2)), normalised, and reads the pixel at the distance k, its
    coordinates rounded to whole pixels; the edge pixel is repeated outside.
    """
    degrees = filters.random_angles(draws, -45.0, 45.0) if angle is None else angle
    filters.streak(x, out, radius, sigma, degrees)


def zoom_blur(x: U8, out: U8, draws: Draws, *zoom_factors: float) -> None:
    """Mean of the picture and of its magnifications about the centre by each factor, bilinear as scipy.ndimage.zoom."""
    filters.zoom_mean(x, out, zoom_factors)
