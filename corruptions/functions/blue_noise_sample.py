"""Blue noise sample: pixels go black where a noise of high frequencies is low."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lcrbench.corruptions import spectrum
from lcrbench.corruptions.draws import Draws
from lcrbench.corruptions.kernel import kernel
from lcrbench.corruptions.philox import U8


def into(x: U8, out: U8, draws: Draws, level: float) -> None:
    """x where n > 0.3 level - 2.5, else 0; n a field of deviation 1 whose amplitude is the frequency."""
    side = max(x.shape[1:3])
    for k in range(len(x)):
        noise = spectrum.field(spectrum.distances(side), spectrum.phases(draws, k, 0, side))
        keep(x[k], out[k], noise, 0.3 * level - 2.5)


@kernel
def keep(x: U8, out: U8, noise: NDArray[np.float64], threshold: float) -> None:
    """Keep the pixels where the field, cut to the picture, is above the threshold."""
    height, width, channels = x.shape
    for i in range(height):
        for j in range(width):
            for c in range(channels):
                out[i, j, c] = x[i, j, c] if noise[i, j] > threshold else np.uint8(0)
