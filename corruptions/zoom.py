"""Magnifications about the centre, bilinear, on the grid of scipy.ndimage.zoom."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcrbench.corruptions.filters import SLACK, to_uint8
from lcrbench.corruptions.kernel import forced, inline, kernel
from lcrbench.corruptions.philox import F32, U8
from lcrbench.corruptions.sums import room, to_bytes
from lcrbench.vectors import (
    LANES,
    address,
    everywhere,
    load_bytes,
    load_floats,
    minus,
    plus,
    store_bytes,
    store_floats,
    times,
    to_float,
)


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


PIECE = 1024  # values that are transposed at a time: those of all lanes fit the first cache
COLUMNS = 64  # of a magnified row that are worked on at a time, for the same reason


@inline
def pack(pictures: U8, lanes: U8) -> None:
    """Transpose up to LANES pictures, (n, P, C), to (P, C * LANES): one value of all pictures lies side by side."""
    count, pixels, channels = pictures.shape
    for start in range(0, pixels * channels, PIECE):
        for n in range(count):
            source = pictures[n].reshape(-1)[start : start + PIECE]
            target = lanes.reshape(-1)[start * LANES + n :]
            for j in range(len(source)):
                target[j * LANES] = source[j]


@inline
def unpack(lanes: U8, pictures: U8) -> None:
    """Undo `pack`."""
    count, pixels, channels = pictures.shape
    for start in range(0, pixels * channels, PIECE):
        for n in range(count):
            source = lanes.reshape(-1)[start * LANES + n :]
            target = pictures[n].reshape(-1)[start : start + PIECE]
            for j in range(len(target)):
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


@forced
def _between_rows(upper: Any, lower: Any, place: Any, part: Any) -> Any:
    """Return upper + part * (lower - upper) of the bytes at a place."""
    above = to_float(load_bytes(upper, place))
    return plus(above, times(part, minus(to_float(load_bytes(lower, place)), above)))


@inline
def _add_row(
    upper: Any, lower: Any, f: Any, before: Any, fractions: Any, first: Any, last: Any, channels: Any, total: Any
) -> None:
    """Add the columns first..last-1 of a magnified row to `total`, which begins with the first one."""
    part, group = everywhere(np.float32(f)), channels * LANES
    for c in range(channels):
        a = before[first]
        here = _between_rows(upper, lower, a * group + c * LANES, part)
        there = _between_rows(upper, lower, (a + 1) * group + c * LANES, part)
        place = c * LANES
        for u in range(first, last):
            if before[u] != a:  # the next one: a magnified place moves by less than a pixel
                a += 1
                here, there = there, _between_rows(upper, lower, (a + 1) * group + c * LANES, part)
            value = plus(here, times(everywhere(fractions[u]), minus(there, here)))
            store_floats(total, place, plus(load_floats(total, place), value))
            place += group


@kernel
def _large(
    x: U8,
    out: U8,
    row_before: NDArray[np.int64],
    row_fraction: F32,
    column_before: NDArray[np.int64],
    column_fraction: F32,
    total: F32,
) -> None:
    """Average the magnifications one by one."""
    count, height, width, channels = x.shape
    group = channels * LANES
    lanes = np.zeros((height * width, group), np.uint8)
    result = np.empty((height * width, group), np.uint8)
    pitch, sums_at = width * group, address(total)
    factors = len(row_before)
    mean, extra = everywhere(np.float32(1.0 / (factors + 1))), everywhere(np.float32(SLACK))
    for start in range(0, count, LANES):
        pack(x[start : start + LANES].reshape(-1, height * width, channels), lanes)
        rows, targets = address(lanes), address(result)
        for y in range(height):
            for first in range(0, width, COLUMNS):
                last = min(first + COLUMNS, width)
                begin, length = y * pitch + first * group, (last - first) * group
                for j in range(0, length, LANES):
                    store_floats(sums_at, j, to_float(load_bytes(rows, begin + j)))
                for z in range(factors):
                    upper = rows + row_before[z, y] * pitch
                    f, before, fractions = row_fraction[z, y], column_before[z], column_fraction[z]
                    _add_row(upper, upper + pitch, f, before, fractions, first, last, channels, sums_at)
                for j in range(0, length, LANES):
                    store_bytes(targets, begin + j, to_bytes(times(load_floats(sums_at, j), mean), extra))
        unpack(result, out[start : start + LANES].reshape(-1, height * width, channels))


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
        room(COLUMNS * channels * LANES),
    )
