"""Glass blur: pixels scattered nearby between two Gaussian blurs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lcrbench.corruptions import exact, filters
from lcrbench.corruptions.draws import Draws
from lcrbench.corruptions.kernel import kernel
from lcrbench.corruptions.philox import U8, fill, padded


def into(x: U8, out: U8, draws: Draws, sigma: float, max_delta: int, iterations: int) -> None:
    """Gaussian blur, pixels copied from nearby at random, Gaussian blur again.

    The official loop means to swap neighbours, but assigns numpy views, which alias: each pixel is overwritten by the
    one at an offset drawn from {-max_delta, ..., max_delta - 1} in each direction, from the last pixel to the first. So
    it is here.
    """
    weights = exact.gaussian_weights(sigma, truncate=4.0)
    blurred = np.empty_like(x)
    filters.separable(x, blurred, weights)
    _scatter(blurred, draws.key, draws.indices, max_delta, iterations)
    filters.separable(blurred, out, weights)


@kernel
def _scatter(x: U8, key: np.uint64, indices: NDArray[np.int64], reach: int, iterations: int) -> None:
    count, height, width, channels = x.shape
    words = np.empty(padded(height * width), np.uint32)
    source = np.empty(height * width, np.uint32)
    packed = np.empty(height * width, np.uint32)  # a pixel a word
    for i in range(count):
        flat = x[i].reshape(-1)
        step = np.uint64(channels)
        for p in range(np.uint64(height * width)):
            pixel = np.uint32(flat[p * step])
            if channels == 3:
                pixel |= np.uint32(flat[p * step + np.uint64(1)]) << np.uint32(8)
                pixel |= np.uint32(flat[p * step + np.uint64(2)]) << np.uint32(16)
            packed[p] = np.uint32(pixel)
        for turn in range(iterations):
            fill(words, key, turn, indices[i])
            # The lower half of a word gives dx, the upper dy, each uniform to within 2**-16.
            for p in range(height * width):
                dx = np.int32((words[p] & np.uint32(0xFFFF)) * np.uint32(2 * reach) >> np.uint32(16)) - np.int32(reach)
                dy = np.int32((words[p] >> np.uint32(16)) * np.uint32(2 * reach) >> np.uint32(16)) - np.int32(reach)
                source[p] = np.uint32(np.int32(p) + dy * np.int32(width) + dx)
            for h in range(height - reach, reach, -1):
                first, last = np.uint64(h * width + reach), np.uint64(h * width + width - reach)
                while last > first:
                    packed[last] = packed[source[last]]
                    last -= np.uint64(1)
        for p in range(np.uint64(height * width)):
            flat[p * step] = np.uint8(packed[p])
            if channels == 3:
                flat[p * step + np.uint64(1)] = np.uint8(packed[p] >> np.uint32(8))
                flat[p * step + np.uint64(2)] = np.uint8(packed[p] >> np.uint32(16))
