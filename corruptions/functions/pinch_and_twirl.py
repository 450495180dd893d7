"""Pinch and twirl: disks on a grid, pinched and turned."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from lcrbench.corruptions.drawn import words
from lcrbench.corruptions.draws import Draws
from lcrbench.corruptions.elementary import bilinear, cosine, power, sine, to_byte
from lcrbench.corruptions.kernel import kernel
from lcrbench.corruptions.philox import U8


def into(x: U8, out: U8, draws: Draws, level: float) -> None:
    """Within each disk of radius R, x at the centre + t (dy, dx) turned by a (1 - d)^2, d the distance over R.

    t = sin(pi d / 2)^-(0.04 level + 0.1) and a = +-0.05 pi level, the sign drawn for each disk. The disks touch: three along
    the shorter side of a picture, five from 224 px on.
    """
    height, width = x.shape[1:3]
    cell = min(height, width) // (5 if min(height, width) >= 224 else 3)
    across, down = width // cell, height // cell
    for k in range(len(x)):
        signs = 1.0 - 2.0 * (words(draws, k, 0, across * down) & 1).astype(np.float64)
        angles: NDArray[np.float64] = (0.05 * np.pi * level * signs).reshape(across, down)
        render(x[k], out[k], angles, cell, 0.04 * level + 0.1)


@kernel
def render(x: U8, out: U8, angles: NDArray[np.float64], cell: int, amount: float) -> None:
    """Draw the disks, one in each cell, that turn by angles (across, down); the rest stays."""
    channels = x.shape[2]
    radius = cell / 2
    out[:] = x
    for u in range(angles.shape[0]):
        for v in range(angles.shape[1]):
            top, left = v * cell + radius, u * cell + radius
            for i in range(v * cell, (v + 1) * cell):
                for j in range(u * cell, (u + 1) * cell):
                    dy, dx = i - top, j - left
                    distance = np.sqrt(dy * dy + dx * dx)
                    if distance > radius or distance < 0.0005:
                        continue
                    d = distance / radius
                    t = power(sine(math.pi * 0.5 * d), -amount)
                    turn = angles[u, v] * (1.0 - d) * (1.0 - d)
                    dy, dx, c, s = dy * t, dx * t, cosine(turn), sine(turn)
                    for channel in range(channels):
                        value = bilinear(x, top + (dy * c - dx * s), left + (dy * s + dx * c), channel)
                        out[i, j, channel] = to_byte(np.float32(value))  # the script keeps float32 before it truncates
