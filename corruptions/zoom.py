"""Magnifications about the centre, bilinear, on the grid of scipy.ndimage.zoom."""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import NDArray

from lcrbench.corruptions.filters import SLACK, to_uint8
from lcrbench.corruptions.kernel import inline, kernel
from lcrbench.corruptions.philox import F32, U8


@functools.lru_cache(maxsize=256)
def axis(size: int, factor: float) -> tuple[NDArray[np.int64], F32]:
    """Return, for each place of a magnified axis, the pixel before it and the fraction of the way to the next one.

    The crop is ceil(size / factor) long, scipy.ndimage.zoom makes round(crop * factor) pixels of it on the grid (crop -
    1) / (pixels - 1), and the surplus is trimmed at both ends.
    """
    crop = math.ceil(size / factor)
    pixels = round(crop * factor)
    place = (np.arange(size) + (pixels - size) // 2) * ((crop - 1) / (pixels - 1))
    before = np.minimum(place.astype(np.int64), crop - 2)
    return before + (size - crop) // 2, (place - before).astype(np.float32)


LANES = 16  # pictures that the zoom handles side by side: a vector register of float32


@inline
def pack(pictures: U8, lanes: U8) -> None:
    """Transpose up to LANES pictures, (n, P, C), to (P, C * LANES): one value of all pictures lies side by side."""
    count, pixels, channels = pictures.shape
    for n in range(count):
        source = pictures[n].reshape(-1)
        target = lanes.reshape(-1)[n:]
        for j in range(pixels * channels):
            target[j * LANES] = source[j]


@inline
def unpack(lanes: U8, pictures: U8) -> None:
    """Undo `pack`."""
    count, pixels, channels = pictures.shape
    for n in range(count):
        source = lanes.reshape(-1)[n:]
        target = pictures[n].reshape(-1)
        for j in range(pixels * channels):
            target[j] = source[j * LANES]


@functools.lru_cache(maxsize=64)
def _operator(height: int, width: int, factors: tuple[float, ...]) -> tuple[NDArray[np.int64], NDArray[np.int64], F32]:
    """Return the mean of all magnifications as one sparse matrix over the pixels: row starts, columns, weights."""
    size = height * width
    place = np.arange(size)
    keys, values = [place * size + place], [np.ones(size)]
    for z in factors:
        (top, down), (left, across) = axis(height, z), axis(width, z)
        for dy, wy in ((0, 1.0 - down.astype(np.float64)), (1, down.astype(np.float64))):
            for dx, wx in ((0, 1.0 - across.astype(np.float64)), (1, across.astype(np.float64))):
                source = (top + dy)[:, None] * width + (left + dx)[None]
                keys.append(place * size + source.ravel())
                values.append((wy[:, None] * wx[None]).ravel())
    entries, inverse = np.unique(np.concatenate(keys), return_inverse=True)
    weights = np.bincount(inverse, np.concatenate(values)) / (len(factors) + 1)
    rows, columns = np.divmod(entries[weights > 0], size)
    return np.searchsorted(rows, np.arange(size + 1)), columns, weights[weights > 0].astype(np.float32)


@kernel
def _small(x: U8, out: U8, starts: NDArray[np.int64], columns: NDArray[np.int64], weight: F32) -> None:
    """Average by the sparse operator; x and out are (N, P, C)."""
    count, pixels, channels = x.shape
    lanes = np.zeros((pixels, channels * LANES), np.uint8)
    result = np.empty((pixels, channels * LANES), np.uint8)
    total = np.empty(channels * LANES, np.float32)
    for first in range(0, count, LANES):
        pack(x[first : first + LANES], lanes)
        for p in range(pixels):
            total[:] = np.float32(SLACK)
            for k in range(starts[p], starts[p + 1]):
                source, w = lanes[columns[k]], weight[k]
                for j in range(len(total)):
                    total[j] += w * np.float32(source[j])
            to_uint8(total, 0.0, result[p])
        unpack(result, out[first : first + LANES])


@kernel
def _large(
    x: U8,
    out: U8,
    row_before: NDArray[np.int64],
    row_fraction: F32,
    column_before: NDArray[np.int64],
    column_fraction: F32,
) -> None:
    """Average the magnifications one by one."""
    count, height, width, channels = x.shape
    group = channels * LANES
    lanes = np.zeros((height * width, group), np.uint8)
    result = np.empty((height * width, group), np.uint8)
    line = np.empty(width * group, np.float32)
    total = np.empty(width * group, np.float32)
    rows, targets = lanes.reshape(height, width * group), result.reshape(height, width * group)
    factors = len(row_before)
    mean = np.float32(1.0 / (factors + 1))
    for first in range(0, count, LANES):
        pack(x[first : first + LANES].reshape(-1, height * width, channels), lanes)
        for y in range(height):
            middle = rows[y]
            for j in range(len(total)):
                total[j] = np.float32(middle[j])
            for z in range(factors):
                upper, lower = rows[row_before[z, y]], rows[row_before[z, y] + 1]
                f = row_fraction[z, y]
                for j in range(len(line)):
                    line[j] = np.float32(upper[j]) + f * (np.float32(lower[j]) - np.float32(upper[j]))
                for u in range(width):
                    a = column_before[z, u] * group
                    here, there, g = line[a : a + group], line[a + group : a + 2 * group], column_fraction[z, u]
                    target = total[u * group : (u + 1) * group]
                    for j in range(group):
                        target[j] += here[j] + g * (there[j] - here[j])
            for j in range(len(total)):
                total[j] *= mean
            to_uint8(total, SLACK, targets[y])
        unpack(result, out[first : first + LANES].reshape(-1, height * width, channels))


def mean(x: U8, out: U8, factors: tuple[float, ...]) -> None:
    """Average each picture with its magnifications by the factors."""
    count, height, width, channels = x.shape
    if height * width <= 64 * 64:  # beyond, the operator would not fit the cache
        operator = _operator(height, width, factors)
        _small(x.reshape(count, -1, channels), out.reshape(count, -1, channels), *operator)
        return
    rows = [axis(height, z) for z in factors]
    columns = [axis(width, z) for z in factors]
    _large(
        x,
        out,
        np.array([before for before, _ in rows]),
        np.array([fraction for _, fraction in rows]),
        np.array([before for before, _ in columns]),
        np.array([fraction for _, fraction in columns]),
    )
