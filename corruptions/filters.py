"""Linear filters on batches of uint8 pictures, with the borders that the official scripts' libraries use.

All work row by row on float32 copies of a padded picture, adding one shifted row after the other. The order of the
additions is fixed, so that the result does not depend on the processor's vector length.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcrbench.corruptions import sums
from lcrbench.corruptions.kernel import inline, kernel
from lcrbench.corruptions.philox import F32, U8
from lcrbench.vectors import address

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
def copy(source: Any, target: Any) -> None:
    """Copy a row to the beginning of another: numba's own assignment goes number by number."""
    for j in range(len(source)):
        target[j] = source[j]


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
        copy(padded[by + outside(y - by, height, rule)], padded[y])
        copy(padded[by + outside(height + y, height, rule)], padded[by + height + y])


@inline
def to_uint8(values: F32, slack: float, out: U8) -> None:
    """Truncate to uint8 after adding the slack."""
    for j in range(len(out)):
        out[j] = np.uint8(np.int32(min(max(values[j] + np.float32(slack), np.float32(0.0)), np.float32(255.0))))


@kernel
def _taps(
    x: U8, out: U8, dy: NDArray[np.int64], dx: NDArray[np.int64], weight: F32, rule: int, padded: F32, spare: U8
) -> None:
    count, height, width, channels = x.shape
    pitch = padded.shape[1]
    by = (len(padded) - height) // 2
    places = np.empty(len(weight), np.int64)
    for k in range(len(weight)):
        places[k] = (by + dy[k]) * pitch + (by + dx[k]) * channels
    source, tap, weights, rest = address(padded), address(places), address(weight), address(spare)
    for i in range(count):
        pad(x[i], by, rule, padded)
        picture = address(out[i])
        for y in range(height):
            line = picture + y * width * channels
            sums.weigh(source + 4 * y * pitch, tap, weights, len(weight), SLACK, line, width * channels, rest)
    places[0] = 0  # numba frees an array after its last use, and an address is none


def taps(x: U8, out: U8, weights: NDArray[np.float64], rule: int = REFLECT_101) -> None:
    """Correlate each picture with a small odd square of weights; those below 1e-7 of the sum are left out."""
    by = weights.shape[0] // 2
    dy, dx = np.nonzero(weights > 1e-7)
    reach = int(max(abs(dy - by).max(), abs(dx - by).max()))
    padded = frame(x, reach)
    _taps(x, out, dy - by, dx - by, weights[dy, dx].astype(np.float32), rule, padded, np.empty(sums.LANES, np.uint8))


def frame(x: U8, by: int) -> F32:
    """Return room for one picture of (n, H, W, C) with a border; its rows are aligned to vectors."""
    _, height, width, channels = x.shape
    return sums.room(height + 2 * by, -(-(width + 2 * by) * channels // sums.LANES) * sums.LANES)


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
def _separable(x: U8, out: U8, half: F32, rule: int, padded: F32, line: F32, spare: U8) -> None:
    count, height, width, channels = x.shape
    by = len(half) - 1
    pitch = padded.shape[1]
    source, middle, weights, rest = address(padded) + 4 * by * pitch, address(line), address(half), address(spare)
    for i in range(count):
        pad(x[i], by, rule, padded)
        picture = address(out[i])
        for y in range(height):
            sums.blur(source + 4 * y * pitch, pitch, weights, by, middle, pitch)
            target, length = picture + y * width * channels, width * channels
            sums.blur_to_levels(middle + 4 * by * channels, channels, weights, by, SLACK, target, length, rest)


def separable(x: U8, out: U8, weights: NDArray[np.float64], rule: int = NEAREST) -> None:
    """Correlate the rows and the columns of each picture with symmetric weights of odd length."""
    half = weights[len(weights) // 2 :].astype(np.float32)
    padded = frame(x, len(half) - 1)
    line = sums.room(padded.shape[1])
    _separable(x, out, half, rule, padded, line, np.empty(sums.LANES, np.uint8))
