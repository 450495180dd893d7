"""Contrast: each channel is drawn toward its mean."""

from __future__ import annotations

import numpy as np

from lcrbench.corruptions.draws import Draws
from lcrbench.corruptions.kernel import kernel
from lcrbench.corruptions.philox import U8


@kernel
def _contrast(x: U8, out: U8, factor: float) -> None:
    count, height, width, channels = x.shape
    tiled = np.empty(width * channels, np.float64)
    for i in range(count):
        for c in range(channels):
            total = np.int64(0)
            for y in range(height):
                for j in range(width):
                    total += np.int64(x[i, y, j, c])
            mean = total / (255.0 * height * width)
            for j in range(width):
                tiled[j * channels + c] = mean
        for y in range(height):
            source, target = x[i, y].reshape(-1), out[i, y].reshape(-1)
            for j in range(len(tiled)):
                value = ((source[j] / 255.0 - tiled[j]) * factor + tiled[j]) * 255.0
                target[j] = np.uint8(np.int32(min(max(value, 0.0), 255.0)))


def into(x: U8, out: U8, draws: Draws, factor: float) -> None:
    """clip((x - mean) * factor + mean), with each channel's mean over the picture."""
    _contrast(x, out, factor)
