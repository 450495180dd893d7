"""Cocentric sine waves: sawtooth rings with a wavy outline over the picture."""

from __future__ import annotations

import math

import numpy as np

from lcrbench.corruptions.drawn import uniform
from lcrbench.corruptions.draws import Draws
from lcrbench.corruptions.elementary import angle, sine, to_byte
from lcrbench.corruptions.kernel import kernel
from lcrbench.corruptions.philox import U8


def into(x: U8, out: U8, draws: Draws, level: float) -> None:
    """clip(x + 12.8 level (frac((r + a sin(w theta)) / ring) - 1/2)), r and theta about a random point of the picture.

    w ~ U(0, 10), a and ring ~ U(0, side / 10).
    """
    height, width = x.shape[1:3]
    side = max(height, width)
    for k in range(len(x)):
        u = uniform(draws, k, 0, 5)
        render(x[k], out[k], u[0] * width, u[1] * height, 10 * u[2], u[3] * side / 10, u[4] * side / 10, 12.8 * level)


@kernel
def render(
    x: U8, out: U8, left: float, top: float, frequency: float, amplitude: float, ring: float, intensity: float
) -> None:
    """Draw the rings about the place (top, left)."""
    height, width, channels = x.shape
    for i in range(height):
        for j in range(width):
            dx, dy = j - left, i - top
            radius = np.sqrt(dx * dx + dy * dy) + sine(angle(dx, dy) * frequency) * amplitude
            turns = radius / ring
            wave = intensity * (turns - math.floor(turns) - 0.5)
            for c in range(channels):
                out[i, j, c] = to_byte(x[i, j, c] + wave)
