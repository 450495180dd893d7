"""Perlin noise: turbulence of a gradient noise over the picture."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcrbench.corruptions.drawn import whole
from lcrbench.corruptions.draws import Draws
from lcrbench.corruptions.elementary import to_byte
from lcrbench.corruptions.kernel import inline, kernel
from lcrbench.corruptions.philox import U8

POINTS = 256


def into(x: U8, out: U8, draws: Draws, level: float) -> None:
    """clip((1 - a) x + 255 a clip((1 + t) / 2)), a = 0.05 level, t the turbulence of Perlin's noise in five octaves.

    t(p) = sum over f = 1, 2, 4, 8, 16 of |noise(f p)| / f; p is a pixel's place, in sevenths of the side.
    """
    side = max(x.shape[1:3])
    for k in range(len(x)):
        gradients = whole(draws, k, 0, 2 * POINTS, -POINTS, POINTS).reshape(POINTS, 2).astype(np.float64)
        length = np.sqrt(gradients[:, :1] ** 2 + gradients[:, 1:] ** 2)
        gradients /= np.maximum(length, 1.0)
        render(x[k], out[k], shuffled(whole(draws, k, 1, POINTS, 0, POINTS)), gradients, side / 7, 0.05 * level)


@kernel
def shuffled(swaps: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return 0..n-1 after the swaps of place i and swaps[i], from the last i to the first."""
    places = np.arange(len(swaps))
    for k in range(len(swaps)):
        i = len(swaps) - 1 - k
        places[i], places[swaps[i]] = places[swaps[i]], places[i]
    return places


@inline
def _noise(y: Any, x: Any, places: NDArray[np.int64], gradients: NDArray[np.float64]) -> Any:
    n = len(places)
    top, left = math.floor(y), math.floor(x)
    dy, dx = y - top, x - left
    i, j = np.int64(top) % n, np.int64(left) % n
    first, second = places[i], places[(i + 1) % n]
    a, b = gradients[places[(first + j) % n]], gradients[places[(first + (j + 1) % n) % n]]
    c, d = gradients[places[(second + j) % n]], gradients[places[(second + (j + 1) % n) % n]]
    down, across = dy * dy * (3.0 - 2.0 * dy), dx * dx * (3.0 - 2.0 * dx)
    u, v = dy * a[0] + dx * a[1], (dy - 1.0) * c[0] + dx * c[1]
    left_side = u + down * (v - u)
    u, v = dy * b[0] + (dx - 1.0) * b[1], (dy - 1.0) * d[0] + (dx - 1.0) * d[1]
    right_side = u + down * (v - u)
    return 1.5 * (left_side + across * (right_side - left_side))


@kernel
def render(
    x: U8, out: U8, places: NDArray[np.int64], gradients: NDArray[np.float64], scale: float, alpha: float
) -> None:
    """Draw the turbulence of a permutation (n,) and unit gradients (n, 2); `scale` is a lattice step in pixels."""
    height, width, channels = x.shape
    for i in range(height):
        for j in range(width):
            total, f = 0.0, 1.0
            for _ in range(5):
                total += abs(_noise(f * i / scale, f * j / scale, places, gradients)) / f
                f *= 2.0
            noise = 255.0 * alpha * min(max(0.5 * total + 0.5, 0.0), 1.0)
            for c in range(channels):
                out[i, j, c] = to_byte((1.0 - alpha) * x[i, j, c] + noise)
