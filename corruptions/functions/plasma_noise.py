"""Plasma noise: swirling colours over the picture."""

from __future__ import annotations

import numpy as np

from lcrbench.corruptions.drawn import uniform, whole
from lcrbench.corruptions.draws import Draws
from lcrbench.corruptions.elementary import cosine, sine, to_byte
from lcrbench.corruptions.kernel import kernel
from lcrbench.corruptions.philox import U8


def into(x: U8, out: U8, draws: Draws, level: float) -> None:
    """clip((1 - a) x + 255 a plasma), a = 6.4 level / 255, plasma in [-1, 1] a sine of places that are bent several times.

    time ~ U(0, 6 pi), 4 to 6 bends, sharpness ~ U(1/2, 1), scale ~ side U(0.075, 0.2).
    """
    side = max(x.shape[1:3])
    for k in range(len(x)):
        u = uniform(draws, k, 0, 3)
        bends = int(whole(draws, k, 1, 1, 4, 7)[0])
        render(x[k], out[k], 6 * np.pi * u[0], bends, 0.5 + u[1] / 2, (0.075 + 0.125 * u[2]) * side, 6.4 * level)


@kernel
def render(x: U8, out: U8, time: float, bends: int, sharpness: float, scale: float, intensity: float) -> None:
    """Draw the plasma of these parameters."""
    height, width, channels = x.shape
    kept, lift = 1.0 - intensity / 255.0, sine(time)
    for i in range(height):
        for j in range(width):
            a, b = j / scale, i / scale
            wave, slow, damp = 1.0, 1.0, 1.0
            for _ in range(bends):
                p = cosine(b * wave + time / slow) / damp
                q = sine(a * wave + time / slow) / damp
                a, b = a + (p - 0.3 * q), b + (q + 0.3 * p)
                wave, slow, damp = wave * 1.93, slow * 1.15, damp * (2.25 - sharpness)
            for c in range(channels):
                if c == 0:
                    noise = sine(a - time)
                elif c == 1:
                    noise = sine((a + b + lift) * 0.5)
                else:
                    noise = sine(b + time)
                out[i, j, c] = to_byte(kept * x[i, j, c] + intensity * noise)
