"""Single-frequency greyscale: one plane wave over the picture."""

from __future__ import annotations

import numpy as np

from lcrbench.corruptions.drawn import uniform, words
from lcrbench.corruptions.draws import Draws
from lcrbench.corruptions.elementary import sine, to_byte
from lcrbench.corruptions.kernel import kernel
from lcrbench.corruptions.philox import U8


def into(x: U8, out: U8, draws: Draws, level: float) -> None:
    """clip(x + 19.6 level sin(f0 column + f1 row + phase)).

    One of the two frequencies is m ~ U(-pi, pi), the other U(-|m|, |m|), in either order; phase ~ U(0, 2 pi).
    """
    for k in range(len(x)):
        u = uniform(draws, k, 0, 3)
        large = np.pi * (2 * u[0] - 1)
        small = abs(large) * (2 * u[1] - 1)
        first = words(draws, k, 1, 1)[0] & 1
        frequency = (small, large) if first else (large, small)
        render(x[k], out[k], *frequency, 2 * np.pi * u[2], 19.6 * level)


@kernel
def render(x: U8, out: U8, across: float, down: float, phase: float, intensity: float) -> None:
    """Draw the wave of these frequencies, in radians a pixel."""
    height, width, channels = x.shape
    for i in range(height):
        for j in range(width):
            wave = intensity * sine(j * across + i * down + phase)
            for c in range(channels):
                out[i, j, c] = to_byte(x[i, j, c] + wave)
