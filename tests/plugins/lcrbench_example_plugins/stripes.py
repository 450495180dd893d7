"""Two classes of drawn stripes, horizontal and vertical, in noise."""

from __future__ import annotations

import numpy as np

from lcrbench.bench.data.arrays import Dataset, Split

NAMES = ("stripes",)


def load(place: str, size: int) -> Dataset:
    """Return 200 training and 40 test images."""
    return Dataset("stripes", ("horizontal", "vertical"), _draw(200, size, 0), _draw(40, size, 1))


def _draw(n: int, size: int, seed: int) -> Split:
    labels = np.arange(n, dtype=np.int64) % 2
    rows = np.broadcast_to((np.arange(size) // 2 % 2 * 128)[:, None, None], (size, size, 3))
    images = np.stack([rows.swapaxes(0, 1) if label else rows for label in labels])
    noise = np.random.default_rng(seed).integers(0, 96, images.shape)
    return Split((images + noise).astype(np.uint8), labels)
