"""Pixelate: shrunk by a box filter and enlarged again."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcrbench.corruptions.draws import Draws
from lcrbench.corruptions.filters import copy
from lcrbench.corruptions.kernel import forced, inline, kernel
from lcrbench.corruptions.philox import U8
from lcrbench.vectors import (
    LANES,
    add,
    address,
    everywhere_int,
    load_byte,
    load_bytes,
    load_four,
    load_place,
    shifted,
    store_byte,
    store_bytes,
    store_four,
    times_ints,
)


@functools.lru_cache(maxsize=64)
def _boxes(size: int, small: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first and the last + 1 pixel of each of `small` boxes along an axis, as Pillow's BOX filter divides it."""
    scale = size / small
    centre = (np.arange(small) + 0.5) * scale
    first = np.maximum((centre - 0.5 * scale + 0.5).astype(np.int64), 0)
    last = np.minimum((centre + 0.5 * scale + 0.5).astype(np.int64), size)
    # Pillow then drops pixels whose centre is not within half a box of the box's centre: (-0.5, 0.5].
    for k in range(small):
        inside = [j for j in range(first[k], last[k]) if -0.5 < (j - centre[k] + 0.5) / scale <= 0.5]
        first[k], last[k] = inside[0], inside[-1] + 1
    return first, last


@functools.lru_cache(maxsize=64)
def _nearest(size: int, small: int) -> NDArray[np.int64]:
    """Return, for each pixel of the full axis, the box that Pillow's BOX filter copies when it enlarges."""
    scale = small / size
    return np.minimum(((np.arange(size) + 0.5) * scale).astype(np.int64), small - 1)


@forced
def _copy_pixels(target: Any, count: Any, source: Any, places: Any, channels: Any) -> None:
    """Copy `count` pixels from the places in `source` to `target`, one after the other.

    Four bytes are copied a pixel, so a place more is read and written than the pixels take.
    """
    if channels == 3:
        for k in range(count):
            store_four(target, 3 * k, load_four(source, load_place(places, k)))
    else:
        for k in range(count):
            store_byte(target, k, load_byte(source, load_place(places, k)))


@inline
def _means(row: Any, shortest: Any, longest: Any, step: Any, length: Any, short: Any, long: Any) -> None:
    """Write the means of the `shortest` and of the `longest` bytes, `step` apart, from each place of a row on.

    As Pillow rounds them: it multiplies by 2**22 / n, rounded, and adds half a unit before the shift. A vector more is
    read and written than the row takes.
    """
    half, bits = everywhere_int(np.int32(1 << 21)), everywhere_int(np.int32(22))
    few = everywhere_int(np.int32(np.float64(1 << 22) / shortest + 0.5))
    many = everywhere_int(np.int32(np.float64(1 << 22) / longest + 0.5))
    for j in range(0, length, LANES):
        total = load_bytes(row, j)
        for n in range(1, shortest):
            total = add(total, load_bytes(row, j + n * step))
        store_bytes(short, j, shifted(add(times_ints(total, few), half), bits))
        if shortest < longest:
            for n in range(shortest, longest):
                total = add(total, load_bytes(row, j + n * step))
            store_bytes(long, j, shifted(add(times_ints(total, many), half), bits))


@kernel
def _pixelate(
    x: U8,
    out: U8,
    top: NDArray[np.int64],
    bottom: NDArray[np.int64],
    left: NDArray[np.int64],
    right: NDArray[np.int64],
    row_of: NDArray[np.int64],
    column_of: NDArray[np.int64],
) -> None:
    count, height, width, channels = x.shape
    small, across = len(left), width * channels
    wide = small * channels
    longest, shortest = (right - left).max(), (right - left).min()
    # A box as long as the longest may begin at the last place of a row; a vector more is read, and a pixel is four bytes.
    row = np.zeros(across + longest * channels + LANES, np.uint8)
    short, long = np.zeros(across + LANES, np.uint8), np.zeros(across + LANES, np.uint8)
    picked, other = np.zeros(wide + 4, np.uint8), np.zeros(wide + 4, np.uint8)
    line, spread = np.zeros(wide + 4, np.uint8), np.empty(across + 4, np.uint8)
    total = np.empty(wide, np.int32)
    is_long = np.empty(wide, np.uint8)
    begin, place = left * channels, column_of * channels
    for k in range(small):
        is_long[k * channels : (k + 1) * channels] = 255 if right[k] - left[k] == longest else 0
    begins, places = address(begin), address(place)
    for i in range(count):
        done = -1
        for y in range(height):
            box = row_of[y]
            if box == done:
                copy(spread[:across], out[i, y].reshape(-1))
                continue
            # Pillow reduces the rows first, and rounds; then the columns.
            total[:] = 1 << 21
            share = np.int32(np.float64(1 << 22) / (bottom[box] - top[box]) + 0.5)
            for r in range(top[box], bottom[box]):
                copy(x[i, r].reshape(-1), row)
                # The mean of the box that begins at every place: boxes of a row have one length or two, one apart.
                _means(address(row), shortest, longest, channels, across, address(short), address(long))
                _copy_pixels(address(picked), small, address(short), begins, channels)
                if shortest < longest:
                    _copy_pixels(address(other), small, address(long), begins, channels)
                    for k in range(wide):
                        picked[k] = (other[k] & is_long[k]) | (picked[k] & ~is_long[k])
                for k in range(wide):
                    total[k] = np.int32(total[k] + np.int32(share * np.int32(picked[k])))
            for k in range(wide):
                line[k] = np.uint8(np.int32(total[k] >> np.int32(22)))
            _copy_pixels(address(spread), width, address(line), places, channels)
            copy(spread[:across], out[i, y].reshape(-1))
            done = box
    begin[0] = place[0] = 0  # numba frees an array after its last use, and an address is none


def into(x: U8, out: U8, draws: Draws, factor: float) -> None:
    """Shrink to int(factor * size) with a box filter and enlarge again, both as Pillow does it.

    Bit for bit, except in pictures that are about 2.4 or more times as high as wide.
    """
    height, width = x.shape[1:3]
    h, w = max(int(height * factor), 1), max(int(width * factor), 1)
    _pixelate(x, out, *_boxes(height, h), *_boxes(width, w), _nearest(height, h), _nearest(width, w))
