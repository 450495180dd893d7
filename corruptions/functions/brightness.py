"""Brightness: a shift of the value in HSV."""

from __future__ import annotations

import functools

import numpy as np

from lcrbench.corruptions import filters
from lcrbench.corruptions.draws import Draws
from lcrbench.corruptions.kernel import kernel
from lcrbench.corruptions.philox import F32, U8


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
            out[p, c] = np.uint8(np.float32(x[p, c]) * g + np.float32(filters.SLACK)) if value else black


def into(x: U8, out: U8, draws: Draws, value_shift: float) -> None:
    """V + value_shift in HSV, clipped: each channel is scaled by V' / V, and a black pixel becomes gray."""
    channels = x.shape[3]
    _brightness(
        x.reshape(-1, channels), out.reshape(-1, channels), _value_gain(value_shift), np.uint8(value_shift * 255)
    )
