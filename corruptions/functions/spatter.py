"""Spatter: drops of water or of mud."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lcrbench.corruptions import exact, filters
from lcrbench.corruptions.draws import Draws
from lcrbench.corruptions.kernel import kernel
from lcrbench.corruptions.philox import F32, U8, fill, normal_table, normals, padded

WATER = (175.0, 238.0, 238.0)  # pale turquoise


MUD = (63.0, 42.0, 20.0)


@kernel
def _liquid(
    out: F32, key: np.uint64, indices: NDArray[np.int64], quantile: tuple[F32, F32], loc: float, scale: float, half: F32
) -> None:
    """Fill each plane of `out` (n, H, W) with a blurred field of N(loc, scale^2)."""
    count, height, width = out.shape
    words = np.empty(padded(height * width), np.uint32)
    field = np.empty((height, width), np.float32)
    flat = field.reshape(-1)
    for i in range(count):
        fill(words, key, 0, indices[i])
        normals(words, quantile[0], quantile[1], flat)
        for j in range(len(flat)):
            flat[j] = np.float32(loc) + np.float32(scale) * flat[j]
        filters.blur_plane(field, half, out[i])


@kernel
def _mud(x: U8, out: U8, liquid: F32, threshold: float, half: F32, colour: F32) -> None:
    count, height, width, channels = x.shape
    mask = np.empty((height, width), np.float32)
    soft = np.empty((height, width), np.float32)
    for i in range(count):
        for y in range(height):
            for j in range(width):
                mask[y, j] = np.float32(1.0) if liquid[i, y, j] > np.float32(threshold) else np.float32(0.0)
        filters.blur_plane(mask, half, soft)
        for y in range(height):
            for j in range(width):
                m = soft[y, j]
                m = m if m >= np.float32(0.8) else np.float32(0.0)
                for c in range(channels):
                    v = np.float32(x[i, y, j, c]) * (np.float32(1.0) - m) + colour[c] * m
                    out[i, y, j, c] = np.uint8(v + np.float32(filters.SLACK))


def into(
    x: U8,
    out: U8,
    draws: Draws,
    loc: float,
    scale: float,
    sigma: float,
    threshold: float,
    intensity_or_mud_sigma: float,
    mud: int,
) -> None:
    """Drops of water (severity 1 to 3) or of mud (4 and 5) where a blurred field of N(loc, scale^2) exceeds the threshold.

    Water brightens with the field times the equalised distance from the drops' edges; mud covers. A picture on which no
    drop fell stays as it is (the official script, dividing by zero there, turns it black).
    """
    count, height, width, channels = x.shape
    liquid = np.empty((count, height, width), np.float32)
    half = _half(sigma)
    _liquid(liquid, draws.key, draws.indices, normal_table(), loc, scale, half)
    if mud:
        colour = np.array(MUD if channels == 3 else [_luma(MUD)], np.float32)
        _mud(x, out, liquid, threshold, _half(intensity_or_mud_sigma), colour)
    else:
        colour = np.array(WATER if channels == 3 else [_luma(WATER)], np.float32)
        for i in range(count):
            _water(x[i], out[i], liquid[i], threshold, intensity_or_mud_sigma, colour)


def _half(sigma: float) -> F32:
    weights = exact.gaussian_weights(sigma, truncate=4.0)
    return weights[len(weights) // 2 :].astype(np.float32)


def _luma(colour: tuple[float, float, float]) -> float:
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]


def _water(x: U8, out: U8, liquid: F32, threshold: float, intensity: float, colour: F32) -> None:
    import cv2

    drops = (np.where(liquid < threshold, np.float32(0), liquid) * np.float32(255.0)).astype(np.int32).astype(np.uint8)
    distance = cv2.distanceTransform(255 - cv2.Canny(drops, 50, 150), cv2.DIST_L2, 5)
    near = cv2.blur(np.minimum(distance, np.float32(20.0)), (3, 3)).astype(np.uint8)
    emboss = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])
    relief = cv2.filter2D(cv2.equalizeHist(near), cv2.CV_8U, emboss)
    layer = drops * cv2.blur(relief, (3, 3)).astype(np.float32)
    most = layer.max()
    if most == 0:
        out[:] = x
        return
    layer *= np.float32(intensity) / most
    out[:] = np.minimum(x + layer[..., None] * colour, np.float32(255.0))
