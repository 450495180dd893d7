"""Linear filters on batches of uint8 pictures, with the borders that the official scripts' libraries use.

All work row by row on float32 copies of a padded picture, adding one shifted row after the other. The order of the
additions is fixed, so that the result does not depend on the processor's vector length.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcrbench.corruptions.kernel import inline, kernel
from lcrbench.corruptions.philox import F32, U8

# What lies outside a picture: REFLECT_101 of OpenCV (gfedcb|abcdefgh|gfedcba), "nearest" of scipy (aaaa|abcd|dddd), and
# "reflect" of scipy (dcba|abcd|dcba).
REFLECT_101, NEAREST, REFLECT = 0, 1, 2

# What is added to a sum before truncation: sums that should be whole numbers come out a little below in float32.
# ImageMagick rounds its sums to 16 bits a level before they are truncated to 8, which lifts them by up to half a 257th.
SLACK, QUANTUM = 2e-4, 0.5 / 257.0


@inline
def outside(i: Any, n: Any, rule: Any) -> Any:
    """Return the place in 0..n-1 that stands for place i of the extended axis."""
    if rule == NEAREST:
        return min(max(i, 0), n - 1)
    edge = 1 if rule == REFLECT else 0  # the edge itself counts twice
    while i < 0 or i >= n:
        i = -i - edge if i < 0 else 2 * (n - 1) - i + edge
    return i


@inline
def pad(picture: U8, by: Any, rule: Any, padded: F32) -> None:
    """Copy (H, W, C) uint8 into the float32 rows (H + 2 by, (W + 2 by) * C) of `padded`."""
    height, width, channels = picture.shape
    for y in range(height):
        row = picture[y].reshape(-1)
        inner = padded[y + by, by * channels : (by + width) * channels]
        for j in range(len(row)):
            inner[j] = np.float32(row[j])
        line = padded[y + by]
        for x in range(by):
            left = (by + outside(x - by, width, rule)) * channels
            right = (by + outside(width + x, width, rule)) * channels
            for c in range(channels):
                line[x * channels + c] = line[left + c]
                line[(by + width + x) * channels + c] = line[right + c]
    for y in range(by):
        padded[y] = padded[by + outside(y - by, height, rule)]
        padded[by + height + y] = padded[by + outside(height + y, height, rule)]


@inline
def to_uint8(values: F32, slack: float, out: U8) -> None:
    """Truncate to uint8 after adding the slack."""
    for j in range(len(out)):
        out[j] = np.uint8(np.int32(min(max(values[j] + np.float32(slack), np.float32(0.0)), np.float32(255.0))))


STRIP = 6144  # floats that are worked on at once: several rows of a small picture, so that a loop is worth its start


@inline
def crop(total: F32, pitch: int, slack: float, out: U8) -> None:
    """Truncate the beginnings of the rows, `pitch` apart, of `total` to the rows of a picture (R, W, C)."""
    for y in range(len(out)):
        row = out[y].reshape(-1)
        to_uint8(total[y * pitch :][: len(row)], slack, row)


@inline
def add_scaled(total: F32, source: F32, w: Any) -> None:
    """total += w * source, as far as `total` goes."""
    for j in range(len(total)):
        total[j] += w * source[j]


@inline
def add_pair(total: F32, one: F32, other: F32, w: Any) -> None:
    """total += w * (one + other), as far as `total` goes."""
    for j in range(len(total)):
        total[j] += w * (one[j] + other[j])


@kernel
def _taps(x: U8, out: U8, dy: NDArray[np.int64], dx: NDArray[np.int64], weight: F32, by: int, rule: int) -> None:
    count, height, width, channels = x.shape
    pitch = (width + 2 * by) * channels
    padded = np.empty((height + 2 * by, pitch), np.float32)
    flat = padded.reshape(-1)
    rows = min(max(STRIP // pitch, 1), height)
    total = np.empty(rows * pitch, np.float32)
    for i in range(count):
        pad(x[i], by, rule, padded)
        for y in range(0, height, rows):
            last = min(y + rows, height)
            strip = total[: (last - y) * pitch - 2 * by * channels]
            strip[:] = 0
            for t in range(len(weight)):
                add_scaled(strip, flat[(y + by + dy[t]) * pitch + (by + dx[t]) * channels :], weight[t])
            crop(total, pitch, SLACK, out[i, y:last])


def taps(x: U8, out: U8, weights: NDArray[np.float64], rule: int = REFLECT_101) -> None:
    """Correlate each picture with a small odd square of weights; those below 1e-7 of the sum are left out."""
    by = weights.shape[0] // 2
    dy, dx = np.nonzero(weights > 1e-7)
    reach = int(max(abs(dy - by).max(), abs(dx - by).max()))
    _taps(x, out, dy - by, dx - by, weights[dy, dx].astype(np.float32), reach, rule)


@inline
def blur_plane(plane: F32, half: F32, out: F32) -> None:
    """Correlate a float32 plane (H, W) with symmetric weights along both axes; the edge is repeated outside."""
    height, width = plane.shape
    by = len(half) - 1
    line = np.empty(width + 2 * by, np.float32)
    for y in range(height):
        middle, target = line[by : by + width], out[y]
        source = plane[y]
        for j in range(width):
            middle[j] = half[0] * source[j]
        for t in range(1, by + 1):
            above, beneath, w = plane[max(y - t, 0)], plane[min(y + t, height - 1)], half[t]
            for j in range(width):
                middle[j] += w * (above[j] + beneath[j])
        line[:by] = middle[0]
        line[by + width :] = middle[width - 1]
        for j in range(width):
            target[j] = half[0] * middle[j]
        for t in range(1, by + 1):
            left, right, w = line[by - t : by - t + width], line[by + t : by + t + width], half[t]
            for j in range(width):
                target[j] += w * (left[j] + right[j])


@kernel
def _separable(x: U8, out: U8, half: F32, rule: int) -> None:
    count, height, width, channels = x.shape
    by = len(half) - 1
    pitch = (width + 2 * by) * channels
    padded = np.empty((height + 2 * by, pitch), np.float32)
    flat = padded.reshape(-1)
    rows = min(max(STRIP // pitch, 1), height)
    down, total = np.empty(rows * pitch, np.float32), np.empty(rows * pitch, np.float32)
    for i in range(count):
        pad(x[i], by, rule, padded)
        for y in range(0, height, rows):
            last = min(y + rows, height)
            column = down[: (last - y) * pitch]
            middle = flat[(y + by) * pitch :]
            for j in range(len(column)):
                column[j] = half[0] * middle[j]
            for t in range(1, by + 1):
                add_pair(column, flat[(y + by - t) * pitch :], flat[(y + by + t) * pitch :], half[t])
            strip = total[: len(column) - 2 * by * channels]
            centre = down[by * channels :]
            for j in range(len(strip)):
                strip[j] = half[0] * centre[j]
            for t in range(1, by + 1):
                add_pair(strip, down[(by - t) * channels :], down[(by + t) * channels :], half[t])
            crop(total, pitch, SLACK, out[i, y:last])


def separable(x: U8, out: U8, weights: NDArray[np.float64], rule: int = NEAREST) -> None:
    """Correlate the rows and the columns of each picture with symmetric weights of odd length."""
    _separable(x, out, weights[len(weights) // 2 :].astype(np.float32), rule)
