"""Brownish noise: coloured clouds whose amplitude falls by the square of the frequency."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from lcrbench.corruptions import spectrum
from lcrbench.corruptions.draws import Draws
from lcrbench.corruptions.elementary import to_byte
from lcrbench.corruptions.kernel import kernel
from lcrbench.corruptions.philox import U8


def into(x: U8, out: U8, draws: Draws, level: float) -> None:
    """clip(x + 6.4 level n), n of deviation 1 and spectrum 1 / (f^2 + 1), for each channel its own."""
    side = max(x.shape[1:3])
    for k in range(len(x)):
        for c in range(x.shape[3]):
            noise = spectrum.field(amplitude(side), spectrum.phases(draws, k, c, side))
            add(x[k], out[k], noise, c, 6.4 * level)


@functools.lru_cache(maxsize=32)
def amplitude(side: int) -> NDArray[np.float64]:
    """Return the amplitude (side, side) of each frequency."""
    return 1.0 / (spectrum.distances(side) ** 2 + 1.0)


@kernel
def add(x: U8, out: U8, noise: NDArray[np.float64], channel: int, intensity: float) -> None:
    """Add a field, cut to the picture, to one channel."""
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            out[i, j, channel] = to_byte(x[i, j, channel] + intensity * noise[i, j])
