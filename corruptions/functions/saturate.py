"""Saturate: the saturation in HSV is scaled and shifted."""

from __future__ import annotations

import numpy as np

from lcrbench.corruptions import filters
from lcrbench.corruptions.draws import Draws
from lcrbench.corruptions.kernel import kernel
from lcrbench.corruptions.philox import U8


@kernel
def _saturate(x: U8, out: U8, multiplier: float, addend: float) -> None:
    times, plus = np.float32(multiplier), np.float32(addend)
    for p in range(len(x)):
        red, green, blue = np.float32(x[p, 0]), np.float32(x[p, 1]), np.float32(x[p, 2])
        value = max(red, green, blue)
        span = value - min(red, green, blue)
        # S = span / V, so 1 - S' (V - c) / (V - min) = ... keeps the hue: each channel's distance from V is scaled by
        # S' / S.
        wanted = min(max(span * times + plus * value, np.float32(0)), value)
        gain = wanted / span if span > 0 else np.float32(0)
        tint = wanted if span == 0 else np.float32(0)  # a gray pixel has the hue 0, which is red
        out[p, 0] = np.uint8(value - (value - red) * gain + np.float32(filters.SLACK))
        out[p, 1] = np.uint8(value - (value - green) * gain - tint + np.float32(filters.SLACK))
        out[p, 2] = np.uint8(value - (value - blue) * gain - tint + np.float32(filters.SLACK))


def into(x: U8, out: U8, draws: Draws, sat_mul: float, sat_add: float) -> None:
    """clip(S * sat_mul + sat_add) in HSV; a gray pixel counts as red. A gray picture, having no colour, stays as it is."""
    if x.shape[3] == 3:
        _saturate(x.reshape(-1, 3), out.reshape(-1, 3), sat_mul, sat_add)
    else:
        out[:] = x
