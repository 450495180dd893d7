"""The digital ones: contrast, elastic transform, pixelate, JPEG compression."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from lcrbench.corruptions.kernel import kernel
from lcrbench.corruptions.philox import U8, Draws


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


def contrast(x: U8, out: U8, draws: Draws, factor: float) -> None:
    """clip((x - mean) * factor + mean), with each channel's mean over the picture."""
    _contrast(x, out, factor)


@functools.lru_cache(maxsize=64)
def _boxes(size: int, small: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first and the last + 1 pixel of each of `small` boxes along an axis, as Pillow's BOX filter divides it."""
    scale = size / small
    centre = (np.arange(small) + 0.5) * scale
    first = np.maximum((centre - 0.5 * scale + 0.5).astype(np.int64), 0)
    last = np.minimum((centre + 0.5 * scale + 0.5).astype(np.int64), size)
    # Pillow then drops pixels whose centre is not within half a box of the box's centre: (-0.5, 0.5].
    for k in range(small):
        inside = [j for j in range(first[k], last[k]) if -0.5 < (j - centre[k] + 0.5) / scale <= 0.5]
        first[k], last[k] = inside[0], inside[-1] + 1
    return first, last


@functools.lru_cache(maxsize=64)
def _nearest(size: int, small: int) -> NDArray[np.int64]:
    """Return, for each pixel of the full axis, the box that Pillow's BOX filter copies when it enlarges."""
    scale = small / size
    return np.minimum(((np.arange(size) + 0.5) * scale).astype(np.int64), small - 1)


@kernel
def _pixelate(
    x: U8,
    out: U8,
    top: NDArray[np.int64],
    bottom: NDArray[np.int64],
    left: NDArray[np.int64],
    right: NDArray[np.int64],
    row_of: NDArray[np.int64],
    column_of: NDArray[np.int64],
) -> None:
    count, height, width, channels = x.shape
    small = np.empty((height, len(left), channels), np.uint8)
    wide = len(left) * channels
    total = np.empty(wide, np.int64)
    line = np.empty(wide, np.uint8)
    for i in range(count):
        # Pillow reduces the rows first, and rounds; then the columns.
        for y in range(height):
            for k in range(len(left)):
                n = right[k] - left[k]
                weight = np.int64(np.float64(1 << 22) / n + 0.5)
                for c in range(channels):
                    s = np.int64(0)
                    for j in range(left[k], right[k]):
                        s += np.int64(x[i, y, j, c])
                    small[y, k, c] = np.uint8((s * weight + (1 << 21)) >> 22)
        done = -1
        for y in range(height):
            box = row_of[y]
            if box != done:
                n = bottom[box] - top[box]
                weight = np.int64(np.float64(1 << 22) / n + 0.5)
                total[:] = 1 << 21
                for j in range(top[box], bottom[box]):
                    row = small[j].reshape(-1)
                    for k in range(wide):
                        total[k] += weight * np.int64(row[k])
                for k in range(wide):
                    line[k] = np.uint8(total[k] >> 22)
                for j in range(width):
                    for c in range(channels):
                        out[i, y, j, c] = line[column_of[j] * channels + c]
                done = box
            else:
                out[i, y] = out[i, y - 1]


def pixelate(x: U8, out: U8, draws: Draws, factor: float) -> None:
    """Shrink to int(factor * size) with a box filter and enlarge again, both as Pillow does it, bit for bit."""
    height, width = x.shape[1:3]
    h, w = max(int(height * factor), 1), max(int(width * factor), 1)
    _pixelate(x, out, *_boxes(height, h), *_boxes(width, w), _nearest(height, h), _nearest(width, w))


def jpeg_compression(x: U8, out: U8, draws: Draws, quality: int) -> None:
    """Through a JPEG file of the given quality, 4:2:0, as Pillow writes and reads it."""
    import cv2

    settings = [cv2.IMWRITE_JPEG_QUALITY, int(quality)]
    for i in range(len(x)):
        if x.shape[3] == 1:
            out[i, :, :, 0] = cv2.imdecode(cv2.imencode(".jpg", x[i], settings)[1], cv2.IMREAD_GRAYSCALE)
        else:
            code = cv2.imencode(".jpg", cv2.cvtColor(x[i], cv2.COLOR_RGB2BGR), settings)[1]
            cv2.cvtColor(cv2.imdecode(code, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB, dst=out[i])
