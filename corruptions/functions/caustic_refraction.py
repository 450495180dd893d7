"""Caustic refraction: the picture under rippling water, with its bright lines."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcrbench.corruptions import exact
from lcrbench.corruptions.drawn import uniform
from lcrbench.corruptions.draws import Draws
from lcrbench.corruptions.elementary import bilinear, cosine, power, sine, to_byte
from lcrbench.corruptions.filters import REFLECT, outside
from lcrbench.corruptions.kernel import inline, kernel
from lcrbench.corruptions.philox import U8

REFRACTION = 4.0  # index of the water
WHOLE_TURN = 6.28318530718  # the script's 2 pi


def into(x: U8, out: U8, draws: Draws, level: float) -> None:
    """x at p + 0.05 level side r(n), plus the slope of the caustics times 0.2 level; bilinear, black outside.

    n is the normal of the caustics as a surface, r the horizontal part of a ray that it refracts from above. The caustics
    are those of time ~ U(1/2, 2) and of a period side U(3/4, 5/4), smoothed by one pixel.
    """
    side = max(x.shape[1:3])
    half = exact.gaussian_weights(1.0, 4.0)[4:]
    for k in range(len(x)):
        u = uniform(draws, k, 0, 2)
        render(x[k], out[k], half, 0.5 + 1.5 * u[0], (0.75 + 0.5 * u[1]) * side, 0.05 * level * side, 0.2 * level)


@inline
def _caustic(y: Any, x: Any, time: Any) -> Any:
    """Return the brightness in [0, 1] at a place in periods."""
    p = (y - math.floor(y)) * WHOLE_TURN - 250.0
    q = (x - math.floor(x)) * WHOLE_TURN - 250.0
    a, b, total = p, q, 1.0
    for n in range(5):
        t = time * (1.0 - 3.5 / (n + 1))
        a, b = p + (cosine(t - a) + sine(t + b)), q + (sine(t - b) + cosine(t + a))
        u, v = p / (sine(a + t) / 0.005), q / (cosine(b + t) / 0.005)
        total += 1.0 / np.sqrt(u * u + v * v)
    value = abs(1.17 - power(total / 5.0, 1.4))
    value *= value
    value *= value
    return min(value * value, 1.0)


@inline
def _smooth(field: NDArray[np.float64], half: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """Correlate the columns with symmetric weights, and write the result transposed."""
    height, width = field.shape
    for i in range(height):
        for j in range(width):
            total = half[0] * field[i, j]
            for t in range(1, len(half)):
                total += half[t] * (
                    field[outside(i - t, height, REFLECT), j] + field[outside(i + t, height, REFLECT), j]
                )
            out[j, i] = total


@kernel
def render(x: U8, out: U8, half: NDArray[np.float64], time: float, period: float, lens: float, lighting: float) -> None:
    """Draw the picture under water; `half` are the smoothing's weights from the middle on."""
    height, width, channels = x.shape
    light, turned = np.empty((height, width)), np.empty((width, height))
    for i in range(height):
        for j in range(width):
            light[i, j] = _caustic(i / period, j / period, time)
    _smooth(light, half, turned)
    _smooth(turned, half, light)
    for i in range(height):
        for j in range(width):
            before = light[i, j - 1] if j > 0 else 0.0
            after = light[i, j + 1] if j + 1 < width else 0.0
            above = light[i - 1, j] if i > 0 else 0.0
            beneath = light[i + 1, j] if i + 1 < height else 0.0
            a, b = beneath - above, after - before
            length = np.sqrt(a * a + b * b + 1.0)
            upright = 1.0 / length
            dy = dx = 0.0
            if upright < 1.0 - 1e-3:
                # By Snell's law, sin' = sin / n: what is left of the normal is cos' - sin' / tan.
                slope = np.sqrt(a * a + b * b) / length / REFRACTION
                part = (np.sqrt(1.0 - slope * slope) - upright / REFRACTION) * lens / length
                dy, dx = _thousandths(a * part), _thousandths(b * part)
            shade = (before - after) * lighting
            gleam = (beneath - above) * lighting
            for c in range(channels):
                value = bilinear(x, i + dy, j + dx, c) / 255.0 + shade + gleam
                out[i, j, c] = to_byte(min(max(value, 0.0), 1.0) * 255.0)


@inline
def _thousandths(v: Any) -> Any:
    return math.floor(v * 1000.0 + 0.5) / 1000.0
