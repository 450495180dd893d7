"""Brightness: a shift of the value in HSV."""

from __future__ import annotations

import functools

import numpy as np

from lcrbench.corruptions import filters
from lcrbench.corruptions.draws import Draws
from lcrbench.corruptions.kernel import kernel
from lcrbench.corruptions.philox import F32, U8
from lcrbench.vectors import address, quad_everywhere, store_quad


@functools.lru_cache(maxsize=32)
def _value_gain(shift: float) -> F32:
    """Return V' / V of each level V, where V' = min(V + shift, 1)."""
    v = np.arange(256) / 255.0
    gain = np.ones(256)
    gain[1:] = np.minimum(v[1:] + shift, 1.0) / v[1:]
    return gain.astype(np.float32)


@kernel
def _brightness(x: U8, out: U8, gain: F32, black: np.uint8) -> None:
    count, height, width, channels = x.shape
    gains = np.empty(width * channels + 3, np.float32)  # a pixel's gain is written four times from its place on
    to = address(gains)
    values = np.empty(width * channels, np.uint8)
    step = np.uint64(channels)
    for i in range(count):
        for y in range(height):
            source, target = x[i, y].reshape(-1), out[i, y].reshape(-1)
            if channels == 3:  # of all places that begin a pixel, each third is used
                green, blue = source[1:], source[2:]
                for j in range(len(blue)):
                    values[j] = max(max(source[j], green[j]), blue[j])
            else:
                values[:] = source
            darkest = np.uint8(255)
            for p in range(np.uint64(width)):
                value = values[p * step]
                darkest = min(darkest, value)
                store_quad(to, np.intp(p * step), quad_everywhere(gain[value]))
            for j in range(len(target)):
                target[j] = np.uint8(np.int32(np.float32(source[j]) * gains[j] + np.float32(filters.SLACK)))
            if darkest == 0:
                for p in range(np.uint64(width)):
                    if values[p * step] == 0:
                        for c in range(channels):
                            target[p * step + np.uint64(c)] = black


def into(x: U8, out: U8, draws: Draws, value_shift: float) -> None:
    """V + value_shift in HSV, clipped: each channel is scaled by V' / V, and a black pixel becomes gray."""
    _brightness(x, out, _value_gain(value_shift), np.uint8(value_shift * 255))
