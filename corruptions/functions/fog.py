"""Fog: a diamond-square fractal over the picture."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcrbench.corruptions.draws import Draws
from lcrbench.corruptions.kernel import inline, kernel
from lcrbench.corruptions.philox import F32, U8, U32, fill


@inline
def _plasma(words: U32, side: int, decay: float, coarse: F32, fine: F32, centres: F32) -> Any:
    """Fill the flat map (side, side) by diamond-square on a torus, from side**2 words; return the buffer that holds it.

    Each round doubles the map: between the points of the coarse map come the centres of its squares, the middles of its
    rows and the middles of its columns, each the mean of its four neighbours plus U(-w^2, w^2), w = 100 at first and
    divided by `decay` a round.
    """
    coarse[0] = 0.0
    size = 1
    wibble = 100.0
    while size < side:
        # uint32 to (-w^2, w^2), through int32
        scale = np.float32(wibble * wibble * 2.0**-31)
        quarter = np.float32(0.25)
        count = size * size
        for y in range(size):
            here = coarse[y * size : (y + 1) * size]
            under = coarse[(y + 1) % size * size :][:size]
            row = centres[y * size : (y + 1) * size]
            word = words[count + y * size :][:size]
            for x in range(size - 1):
                total = here[x] + here[x + 1] + under[x] + under[x + 1]
                row[x] = total * quarter + np.float32(np.int32(word[x])) * scale
            total = here[size - 1] + here[0] + under[size - 1] + under[0]
            row[size - 1] = total * quarter + np.float32(np.int32(word[size - 1])) * scale
        for y in range(size):
            here = coarse[y * size : (y + 1) * size]
            under = coarse[(y + 1) % size * size :][:size]
            centre = centres[y * size : (y + 1) * size]
            above = centres[(y - 1 + size) % size * size :][:size]
            word, other = words[2 * count + y * size :][:size], words[3 * count + y * size :][:size]
            upper, lower = fine[4 * y * size :][: 2 * size], fine[(4 * y + 2) * size :][: 2 * size]
            for x in range(np.uint64(size)):
                after = x + np.uint64(1) if x + np.uint64(1) < np.uint64(size) else np.uint64(0)
                before = x - np.uint64(1) if x > np.uint64(0) else np.uint64(size - 1)
                upper[x + x] = here[x]
                total = here[x] + here[after] + above[x] + centre[x]
                upper[x + x + np.uint64(1)] = total * quarter + np.float32(np.int32(word[x])) * scale
                total = here[x] + under[x] + centre[before] + centre[x]
                lower[x + x] = total * quarter + np.float32(np.int32(other[x])) * scale
                lower[x + x + np.uint64(1)] = centre[x]
        coarse, fine = fine, coarse
        size *= 2
        wibble /= decay
    return coarse


@kernel
def _fog(x: U8, out: U8, key: np.uint64, index: NDArray[np.int64], side: int, strength: float, decay: float) -> None:
    count, rows, columns, channels = x.shape
    words = np.empty(side * side, np.uint32)
    one, two = np.empty(side * side, np.float32), np.empty(side * side, np.float32)
    centres = np.empty(max(side * side // 4, 1), np.float32)
    lowest, highest = np.empty(side, np.float32), np.empty(side, np.float32)
    mist = np.empty(columns * channels, np.float32)
    for i in range(count):
        fill(words, key, 0, index[i])
        height = _plasma(words, side, decay, one, two, centres)
        lowest[:], highest[:] = height[:side], height[:side]
        for y in range(1, side):  # column by column, so that the loop runs in vector registers
            row = height[y * side :][:side]
            for j in range(side):
                lowest[j] = row[j] if row[j] < lowest[j] else lowest[j]
                highest[j] = row[j] if row[j] > highest[j] else highest[j]
        low, high = lowest.min(), highest.max()
        brightest = np.uint8(0)
        flat = x[i].reshape(-1)
        for j in range(len(flat)):
            brightest = max(brightest, flat[j])
        # In gray levels: (v + 255 * strength * plasma) * m / (m + 255 * strength), m the brightest level.
        gain = np.float32(brightest / (brightest + 255.0 * strength))
        scale = np.float32(255.0 * strength / (high - low))
        for y in range(rows):
            row = height[y * side :][:columns]
            step = np.uint64(channels)
            for j in range(np.uint64(columns)):
                value = (row[j] - low) * scale
                mist[j * step] = value
                if channels == 3:
                    mist[j * step + np.uint64(1)] = value
                    mist[j * step + np.uint64(2)] = value
            source, target = x[i, y].reshape(-1), out[i, y].reshape(-1)
            for j in range(len(mist)):
                value = (np.float32(source[j]) + mist[j]) * gain
                target[j] = np.uint8(np.int32(min(max(value, np.float32(0)), np.float32(255))))


def into(x: U8, out: U8, draws: Draws, strength: float, decay: float) -> None:
    """clip((x + strength * plasma) * max(x) / (max(x) + strength)), plasma a diamond-square fractal in [0, 1].

    The map's side is the power of two that covers the picture; its range is taken over the whole map.
    """
    side = 1 << (max(x.shape[1:3]) - 1).bit_length()
    _fog(x, out, draws.key, draws.indices, side, strength, decay)
