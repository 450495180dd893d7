"""The weathers: snow, frost, fog, brightness."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from lcrbench.corruptions.kernel import inline, kernel
from lcrbench.corruptions.philox import F32, U8, Draws, fill


@inline
def _plasma(words: NDArray[np.uint32], side: int, decay: float, height: NDArray[np.float32]) -> None:
    """Diamond-square on a torus: `height` (side, side) from side**2 words."""
    height[0, 0] = 0.0
    step = side
    wibble = 100.0
    used = 1
    while step >= 2:
        half = step // 2
        scale = np.float32(wibble * wibble * 2.0**-31)
        offset = np.float32(wibble * wibble)
        for y in range(0, side, step):
            for x in range(0, side, step):
                y2, x2 = (y + step) % side, (x + step) % side
                total = height[y, x] + height[y2, x] + height[y, x2] + height[y2, x2]
                height[y + half, x + half] = total * np.float32(0.25) + (np.float32(words[used]) * scale - offset)
                used += 1
        for y in range(0, side, step):
            for x in range(0, side, step):
                above, left = (y + half - step) % side, (x + half - step) % side
                y2, x2 = (y + step) % side, (x + step) % side
                total = height[y, x] + height[y, x2] + height[above, x + half] + height[y + half, x + half]
                height[y, x + half] = total * np.float32(0.25) + (np.float32(words[used]) * scale - offset)
                used += 1
                total = height[y, x] + height[y2, x] + height[y + half, left] + height[y + half, x + half]
                height[y + half, x] = total * np.float32(0.25) + (np.float32(words[used]) * scale - offset)
                used += 1
        step = half
        wibble /= decay


@kernel
def _fog(x: U8, out: U8, key: np.uint64, index: NDArray[np.int64], side: int, strength: float, decay: float) -> None:
    count, rows, columns, channels = x.shape
    words = np.empty(side * side, np.uint32)
    height = np.empty((side, side), np.float32)
    for i in range(count):
        fill(words, key, 0, index[i])
        _plasma(words, side, decay, height)
        low = high = height[0, 0]
        for y in range(side):
            row = height[y]
            for j in range(side):
                low = min(low, row[j])
                high = max(high, row[j])
        brightest = np.uint8(0)
        flat = x[i].reshape(-1)
        for j in range(len(flat)):
            brightest = max(brightest, flat[j])
        # In gray levels: (v + 255 * strength * plasma) * m / (m + 255 * strength), m the brightest level.
        gain = np.float32(brightest / (brightest + 255.0 * strength))
        scale = np.float32(255.0 * strength / (high - low))
        for y in range(rows):
            for j in range(columns):
                mist = (height[y, j] - low) * scale
                for c in range(channels):
                    value = (np.float32(x[i, y, j, c]) + mist) * gain
                    out[i, y, j, c] = np.uint8(min(max(value, np.float32(0)), np.float32(255)))


def fog(x: U8, out: U8, draws: Draws, strength: float, decay: float) -> None:
    """clip((x + strength * plasma) * max(x) / (max(x) + strength)), plasma a diamond-square fractal in [0, 1].

    The map's side is the power of two that covers the picture; its range is taken over the whole map.
    """
    side = 1 << (max(x.shape[1:3]) - 1).bit_length()
    _fog(x, out, draws.key, draws.indices, side, strength, decay)


@functools.lru_cache(maxsize=32)
def _value_gain(shift: float) -> F32:
    """Return V' / V of each level V, where V' = min(V + shift, 1)."""
    v = np.arange(256) / 255.0
    gain = np.ones(256)
    gain[1:] = np.minimum(v[1:] + shift, 1.0) / v[1:]
    return gain.astype(np.float32)


@kernel
def _brightness(x: U8, out: U8, gain: F32, black: np.uint8) -> None:
    pixels, channels = x.shape
    for p in range(pixels):
        value = x[p, 0]
        for c in range(1, channels):
            value = max(value, x[p, c])
        g = gain[value]
        for c in range(channels):
            out[p, c] = np.uint8(np.float32(x[p, c]) * g + np.float32(1e-3)) if value else black


def brightness(x: U8, out: U8, draws: Draws, value_shift: float) -> None:
    """V + value_shift in HSV, clipped: each channel is scaled by V' / V, and a black pixel becomes gray."""
    channels = x.shape[3]
    _brightness(
        x.reshape(-1, channels), out.reshape(-1, channels), _value_gain(value_shift), np.uint8(value_shift * 255)
    )
