"""Ripple: rows and columns sway by a sine of their place."""

from __future__ import annotations

import math

import numpy as np

from lcrbench.corruptions.drawn import uniform
from lcrbench.corruptions.draws import Draws
from lcrbench.corruptions.elementary import bilinear, sine, to_byte
from lcrbench.corruptions.kernel import kernel
from lcrbench.corruptions.philox import U8


def into(x: U8, out: U8, draws: Draws, level: float) -> None:
    """x at (y + a sin(2 pi y / w + p), ...), likewise along the row; bilinear, black outside.

    a = 0.0025 level side; each axis has its own w ~ side U(0.1, 0.3) and p ~ U(0, 2 pi).
    """
    side = max(x.shape[1:3])
    for k in range(len(x)):
        u = uniform(draws, k, 0, 4)
        waves = (0.1 + 0.2 * u[:2]) * side
        phases = 2 * np.pi * u[2:]
        render(x[k], out[k], 0.0025 * level * side, waves[0], waves[1], phases[0], phases[1])


@kernel
def render(
    x: U8, out: U8, amplitude: float, wave_down: float, wave_across: float, phase_down: float, phase_across: float
) -> None:
    """Draw the swaying picture; lengths in pixels, phases in radians."""
    height, width, channels = x.shape
    across = np.empty(width)
    for j in range(width):
        across[j] = j + amplitude * sine(2.0 * math.pi * j / wave_across + phase_across)
    for i in range(height):
        down = i + amplitude * sine(2.0 * math.pi * i / wave_down + phase_down)
        for j in range(width):
            for c in range(channels):
                out[i, j, c] = to_byte(bilinear(x, down, across[j], c))
