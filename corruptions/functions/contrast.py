"""Contrast: each channel is drawn toward its mean."""

from __future__ import annotations

from typing import Any

import numpy as np

from lcrbench.corruptions.draws import Draws
from lcrbench.corruptions.kernel import inline, kernel
from lcrbench.corruptions.philox import U8


@inline
def _level(level: Any, mean: Any, factor: Any) -> Any:
    """Return the level that another becomes, in float64 as the official script computes it."""
    value = ((level / 255.0 - mean) * factor + mean) * 255.0
    return np.int32(min(max(value, 0.0), 255.0))


@kernel
def _contrast(x: U8, out: U8, factor: float) -> None:
    count, height, width, channels = x.shape
    sums = np.empty(width * channels, np.int32)
    slope, top, none = np.float32(factor), np.float32(255.0), np.float32(0.0)
    shifts, tiled = np.empty(channels, np.float32), np.empty(width * channels, np.float32)
    levels = np.empty((channels, 256), np.uint8)
    for i in range(count):
        sums[:] = 0
        for y in range(height):
            source = x[i, y].reshape(-1)
            for j in range(len(sums)):
                sums[j] = np.int32(sums[j] + np.int32(source[j]))
        # In float32, f x + (1 - f) mean is the same level nearly always; whether it is, is tried with every level.
        same = True
        for c in range(channels):
            total = np.int64(0)
            for j in range(width):
                total += np.int64(sums[j * channels + c])
            mean = total / (255.0 * height * width)
            shift = np.float32((mean - mean * factor) * 255.0)
            row = levels[c]
            for level in range(256):
                row[level] = np.uint8(_level(np.float64(level), mean, factor))
                same &= np.int32(min(max(np.float32(level) * slope + shift, none), top)) == np.int32(row[level])
            shifts[c] = shift
        if same:
            for j in range(width):
                for c in range(channels):
                    tiled[j * channels + c] = shifts[c]
            for y in range(height):
                source, target = x[i, y].reshape(-1), out[i, y].reshape(-1)
                for j in range(len(tiled)):
                    target[j] = np.uint8(np.int32(min(max(np.float32(source[j]) * slope + tiled[j], none), top)))
        else:
            for y in range(height):
                for j in range(width):
                    for c in range(channels):
                        out[i, y, j, c] = levels[c, x[i, y, j, c]]


def into(x: U8, out: U8, draws: Draws, factor: float) -> None:
    """clip((x - mean) * factor + mean), with each channel's mean over the picture."""
    _contrast(x, out, factor)
