"""Transverse chromatic aberration: the channels are magnified differently."""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import NDArray

from lcrbench.corruptions.drawn import whole
from lcrbench.corruptions.draws import Draws
from lcrbench.corruptions.kernel import kernel
from lcrbench.corruptions.philox import U8

ORDERS = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))


def into(x: U8, out: U8, draws: Draws, level: float) -> None:
    """Magnify the channels by 1, 1 + s / 2 and 1 + s, in a random order; s = 0.05 level.

    The magnification smooths by a cubic B-spline, also by 1: the script interpolates without the prefilter. Of a gray
    picture the one channel is magnified.
    """
    height, width, channels = x.shape[1:]
    scales = (1.0, 1.0 + 0.025 * level, 1.0 + 0.05 * level)
    for k in range(len(x)):
        order = ORDERS[int(whole(draws, k, 0, 1, 0, 6)[0])]
        for c in range(channels):
            render(x[k], out[k], c, *axis(height, scales[order[c]]), *axis(width, scales[order[c]]))


@functools.lru_cache(maxsize=128)
def axis(size: int, scale: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the places (size, 4) that each place of a magnified axis reads, and their weights (size, 4).

    The grid is that of scipy.ndimage.zoom, cut to its middle; the edge reflects without repeating itself.
    """
    pixels = round(size * scale)
    place = (np.arange(size) + (pixels - size) // 2) * ((size - 1) / (pixels - 1))
    first = np.floor(place)
    t = place - first
    weights = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, 3 * (1 - t) ** 3 - 6 * (1 - t) ** 2 + 4, t**3], 1) / 6
    taps = first.astype(np.int64)[:, None] + np.arange(-1, 3)
    period = 2 * (size - 1)
    taps = np.abs(taps) % period
    return np.minimum(taps, period - taps), weights


@kernel
def render(
    x: U8,
    out: U8,
    channel: int,
    rows: NDArray[np.int64],
    row_weights: NDArray[np.float64],
    columns: NDArray[np.int64],
    column_weights: NDArray[np.float64],
) -> None:
    """Magnify one channel by the axes of rows and columns, and round to the nearest level, halves up."""
    height, width = x.shape[:2]
    line = np.empty(width)
    for i in range(height):
        line[:] = 0.0
        for t in range(4):
            for j in range(width):
                line[j] += row_weights[i, t] * x[rows[i, t], j, channel]
        for j in range(width):
            total = 0.0
            for t in range(4):
                total += column_weights[j, t] * line[columns[j, t]]
            out[i, j, channel] = np.uint8(np.int32(min(max(math.floor(total + (0.5 + 1e-9)), 0.0), 255.0)))
