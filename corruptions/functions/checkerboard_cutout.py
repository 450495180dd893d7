"""Checkerboard cut-out: some fields of one colour of a turned checkerboard go gray."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from lcrbench.corruptions import exact
from lcrbench.corruptions.drawn import uniform
from lcrbench.corruptions.draws import Draws
from lcrbench.corruptions.kernel import kernel
from lcrbench.corruptions.philox import U8


def into(x: U8, out: U8, draws: Draws, level: float) -> None:
    """128 in each field of even parity with probability level / 10, else x.

    The board turns about the upper left corner by U(0, 2 pi), and a field is side U(0.1, 0.25) wide.
    """
    side = max(x.shape[1:3])
    for k in range(len(x)):
        u = uniform(draws, k, 0, 2)
        width = max((0.1 + 0.15 * u[1]) * side, 1.0)
        fields = int(4 * side // width)
        cut = uniform(draws, k, 1, fields * fields).reshape(fields, fields) < level / 10
        angle = 2 * np.pi * u[0]
        render(x[k], out[k], width, float(exact.cos(angle)), float(exact.sin(angle)), cut)


@kernel
def render(x: U8, out: U8, wide: float, cosine: float, sine: float, cut: NDArray[np.bool_]) -> None:
    """Draw a board with fields `wide` px wide; `cut` says which fields go, and those of negative number are at its end."""
    height, width, channels = x.shape
    for i in range(height):
        for j in range(width):
            a = (cosine * i + sine * j) / wide
            b = (-sine * i + cosine * j) / wide
            odd = np.int64(a - 2.0 * math.floor(a / 2.0)) != np.int64(b - 2.0 * math.floor(b / 2.0))
            gone = not odd and cut[np.int64(a), np.int64(b)]
            for c in range(channels):
                out[i, j, c] = np.uint8(128) if gone else x[i, j, c]
