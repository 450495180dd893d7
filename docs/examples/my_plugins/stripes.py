"""Bright diagonal stripes."""

from __future__ import annotations

import numpy as np


def apply(image, severity, random):
    """Return the image (H, W, C) uint8 with stripes of up to 20 gray levels times the severity."""
    rows, columns = np.indices(image.shape[:2])
    wave = np.sin((rows + columns) * 0.8 + random.uniform(0, 2 * np.pi))
    return np.clip(image + 20 * severity * wave[..., None], 0, 255).astype(np.uint8)
