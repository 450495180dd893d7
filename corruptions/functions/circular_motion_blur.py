"""Circular motion blur: the mean of the picture turned about its centre by small angles."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcrbench.corruptions import exact
from lcrbench.corruptions.draws import Draws
from lcrbench.corruptions.elementary import to_byte
from lcrbench.corruptions.kernel import inline, kernel
from lcrbench.corruptions.philox import U8

TURNS = 21
POLE = math.sqrt(3.0) - 2.0  # of the cubic spline's prefilter


def into(x: U8, out: U8, draws: Draws, level: float) -> None:
    """The weighted mean of x turned by u 1.5 level degrees, u = -1, -0.9, ... 1, with the weights exp(-2 u^2).

    Cubic splines, black outside.
    """
    cosines, sines, weights = _turns(level)
    for k in range(len(x)):
        render(x[k], out[k], cosines, sines, weights)


@functools.lru_cache(maxsize=32)
def _turns(level: float) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    u = 2.0 * np.arange(TURNS) / (TURNS - 1) - 1.0
    angles = u * (1.5 * level * np.pi / 180.0)
    return exact.cos(angles), exact.sin(angles), exact.normalised(exact.exp(-2.0 * u * u))


@inline
def _coefficients(line: NDArray[np.float64]) -> None:
    """Turn values into coefficients of the cubic spline through them; the edge reflects without repeating itself."""
    n = len(line)
    total, near, far = line[0], POLE, POLE ** (2 * n - 3)
    for k in range(1, n - 1):
        total += (near + far) * line[k]
        near, far = near * POLE, far / POLE
    line[0] = (total + near * line[n - 1]) / (1.0 - near * near)
    for k in range(1, n):
        line[k] += POLE * line[k - 1]
    line[n - 1] = POLE / (POLE * POLE - 1.0) * (line[n - 1] + POLE * line[n - 2])
    for k in range(n - 1):
        line[n - 2 - k] = POLE * (line[n - 1 - k] - line[n - 2 - k])
    for k in range(n):
        line[k] *= 6.0


@inline
def _weights(t: float, out: NDArray[np.float64]) -> None:
    s = 1.0 - t
    out[0], out[3] = s * s * s / 6.0, t * t * t / 6.0
    out[1] = (t * t * (t - 2.0) * 3.0 + 4.0) / 6.0
    out[2] = (s * s * (s - 2.0) * 3.0 + 4.0) / 6.0


@inline
def _mirror(i: Any, n: Any) -> Any:
    i = -i if i < 0 else i
    return i if i < n else 2 * (n - 1) - i


@kernel
def render(
    x: U8, out: U8, cosines: NDArray[np.float64], sines: NDArray[np.float64], weights: NDArray[np.float64]
) -> None:
    """Average the turned pictures; turn n has the cosine, sine and weight n."""
    height, width, channels = x.shape
    spline = np.empty((channels, height, width))
    line = np.empty(height)
    for c in range(channels):
        for i in range(height):
            for j in range(width):
                spline[c, i, j] = np.float64(np.float32(x[i, j, c]) / np.float32(255.0))
        for j in range(width):
            line[:] = spline[c, :, j]
            _coefficients(line)
            spline[c, :, j] = line
        for i in range(height):
            _coefficients(spline[c, i])
    down, across = np.empty(4), np.empty(4)
    middle_y, middle_x = (height - 1) / 2.0, (width - 1) / 2.0
    total = np.empty(channels)
    for i in range(height):
        for j in range(width):
            total[:] = 0.0
            for n in range(len(weights)):
                cosine, sine = cosines[n], sines[n]
                y = cosine * i + sine * j + (middle_y - (cosine * middle_y + sine * middle_x))
                z = cosine * j - sine * i + (middle_x - (cosine * middle_x - sine * middle_y))
                if y < 0.0 or y > height - 1 or z < 0.0 or z > width - 1:
                    continue
                top, left = math.floor(y), math.floor(z)
                _weights(y - top, down)
                _weights(z - left, across)
                for c in range(channels):
                    value = 0.0
                    for a in range(4):
                        row = spline[c, _mirror(np.int64(top) + a - 1, height)]
                        part = 0.0
                        for b in range(4):
                            part += across[b] * row[_mirror(np.int64(left) + b - 1, width)]
                        value += down[a] * part
                    total[c] += weights[n] * value
            for c in range(channels):
                out[i, j, c] = to_byte(np.float32(total[c]) * np.float32(255.0))
