"""Pixelate: shrunk by a box filter and enlarged again."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from lcrbench.corruptions.draws import Draws
from lcrbench.corruptions.kernel import kernel
from lcrbench.corruptions.philox import U8


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
    wide = len(left) * channels
    small = np.empty(wide, np.int32)
    total = np.empty(wide, np.int32)
    line = np.empty(wide, np.uint8)
    # Where each box of a row begins and how Pillow weighs its pixels: 2**22 / n, rounded, and half a unit before the
    # shift.
    longest = (right - left).max()
    weight = np.empty(wide, np.int32)
    begin = np.empty(wide, np.uint64)
    reach = np.empty((longest, wide), np.int32)  # 1 where a box has that many pixels and more
    for k in range(len(left)):
        n = right[k] - left[k]
        for c in range(channels):
            weight[k * channels + c] = np.int32(np.float64(1 << 22) / n + 0.5)
            begin[k * channels + c] = np.uint64(left[k] * channels + c)
            for t in range(longest):
                reach[t, k * channels + c] = 1 if t < n else 0
    spread = np.empty(width * channels, np.uint64)
    for j in range(width):
        for c in range(channels):
            spread[j * channels + c] = np.uint64(column_of[j] * channels + c)
    padded_row = np.zeros((width + longest) * channels, np.uint8)  # so that a box of fewer pixels may read on
    for i in range(count):
        done = -1
        for y in range(height):
            box = row_of[y]
            if box == done:
                out[i, y] = out[i, y - 1]
                continue
            # Pillow reduces the rows first, and rounds; then the columns.
            n = bottom[box] - top[box]
            total[:] = 1 << 21
            share = np.int32(np.float64(1 << 22) / n + 0.5)
            for r in range(top[box], bottom[box]):
                padded_row[: width * channels] = x[i, r].reshape(-1)
                for k in range(wide):
                    small[k] = np.int32(padded_row[begin[k]])
                for t in range(1, longest):
                    further, inside = padded_row[t * channels :], reach[t]
                    for k in range(wide):
                        small[k] = np.int32(small[k] + np.int32(inside[k] * np.int32(further[begin[k]])))
                for k in range(wide):
                    mean = np.int32(np.int32(small[k] * weight[k] + np.int32(1 << 21)) >> np.int32(22))
                    total[k] = np.int32(total[k] + np.int32(share * mean))
            for k in range(wide):
                line[k] = np.uint8(np.int32(total[k] >> np.int32(22)))
            target = out[i, y].reshape(-1)
            for j in range(len(target)):
                target[j] = line[spread[j]]
            done = box


def into(x: U8, out: U8, draws: Draws, factor: float) -> None:
    """Shrink to int(factor * size) with a box filter and enlarge again, both as Pillow does it, bit for bit."""
    height, width = x.shape[1:3]
    h, w = max(int(height * factor), 1), max(int(width * factor), 1)
    _pixelate(x, out, *_boxes(height, h), *_boxes(width, w), _nearest(height, h), _nearest(width, w))
