"""Linear filters on batches of uint8 pictures, with the borders that the official scripts' libraries use.

All work row by row on float32 copies of a padded picture, adding one shifted row after the other. The order of the additions is
fixed, so that the result does not depend on the processor's vector length.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcrbench.corruptions.kernel import inline, kernel
from lcrbench.corruptions.philox import F32, U8

# Rules for the pixel outside: BORDER_REFLECT_101 of OpenCV (gfedcb|abcdefgh|gfedcba) and "nearest" of scipy (aaaa|abcd|dddd).
REFLECT_101, NEAREST = 0, 1


@inline
def outside(i: Any, n: Any, rule: Any) -> Any:
    """Return the place in 0..n-1 that stands for place i of the extended axis."""
    if rule == 1:
        return min(max(i, 0), n - 1)
    while i < 0 or i >= n:
        i = -i if i < 0 else 2 * (n - 1) - i
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
def to_uint8(values: F32, out: U8) -> None:
    """Truncate to uint8, with a thousandth of a level of tolerance for sums that should be whole numbers."""
    for j in range(len(out)):
        out[j] = np.uint8(np.int32(min(max(values[j] + np.float32(1e-3), np.float32(0.0)), np.float32(255.0))))


@kernel
def _taps(x: U8, out: U8, dy: NDArray[np.int64], dx: NDArray[np.int64], weight: F32, by: int, rule: int) -> None:
    count, height, width, channels = x.shape
    wide = width * channels
    padded = np.empty((height + 2 * by, (width + 2 * by) * channels), np.float32)
    total = np.empty(wide, np.float32)
    for i in range(count):
        pad(x[i], by, rule, padded)
        for y in range(height):
            total[:] = 0
            for t in range(len(weight)):
                start = (by + dx[t]) * channels
                shifted = padded[y + by + dy[t]][start : start + wide]
                w = weight[t]
                for j in range(wide):
                    total[j] += w * shifted[j]
            to_uint8(total, out[i, y].reshape(-1))


def taps(x: U8, out: U8, weights: NDArray[np.float64], rule: int = REFLECT_101) -> None:
    """Correlate each picture with a small odd square of weights; those below 1e-7 of the sum are left out."""
    by = weights.shape[0] // 2
    dy, dx = np.nonzero(weights > 1e-7)
    reach = int(max(abs(dy - by).max(), abs(dx - by).max()))
    _taps(x, out, dy - by, dx - by, weights[dy, dx].astype(np.float32), reach, rule)


@kernel
def _separable(x: U8, out: U8, half: F32, rule: int) -> None:
    count, height, width, channels = x.shape
    by = len(half) - 1
    wide = width * channels
    padded = np.empty((height + 2 * by, (width + 2 * by) * channels), np.float32)
    down = np.empty((width + 2 * by) * channels, np.float32)
    total = np.empty(wide, np.float32)
    for i in range(count):
        pad(x[i], by, rule, padded)
        for y in range(height):
            middle = padded[y + by]
            for j in range(len(down)):
                down[j] = half[0] * middle[j]
            for t in range(1, by + 1):
                above, beneath, w = padded[y + by - t], padded[y + by + t], half[t]
                for j in range(len(down)):
                    down[j] += w * (above[j] + beneath[j])
            centre = down[by * channels : by * channels + wide]
            for j in range(wide):
                total[j] = half[0] * centre[j]
            for t in range(1, by + 1):
                left = down[(by - t) * channels : (by - t) * channels + wide]
                right = down[(by + t) * channels : (by + t) * channels + wide]
                w = half[t]
                for j in range(wide):
                    total[j] += w * (left[j] + right[j])
            to_uint8(total, out[i, y].reshape(-1))


def separable(x: U8, out: U8, weights: NDArray[np.float64], rule: int = NEAREST) -> None:
    """Correlate the rows and the columns of each picture with symmetric weights of odd length."""
    _separable(x, out, weights[len(weights) // 2 :].astype(np.float32), rule)
