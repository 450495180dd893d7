"""Linear filters on batches of uint8 pictures, with the borders that the official scripts' libraries use.

All work row by row on float32 copies of a padded picture, adding one shifted row after the other. The order of the
additions is fixed, so that the result does not depend on the processor's vector length.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcrbench.corruptions import exact
from lcrbench.corruptions.kernel import inline, kernel
from lcrbench.corruptions.philox import F32, U8, Draws, first_words

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


@inline
def streak_room(picture: U8, cosine: Any, sine: Any, taps: Any, dy: NDArray[np.int64], dx: NDArray[np.int64]) -> Any:
    """Fill dy and dx with the offsets of a streak's taps; return what it reads beyond the top, bottom, left and right."""
    for k in range(taps):
        # ImageMagick rounds halves down: ceil(d - 1/2).
        dx[k] = math.ceil(k * cosine - 0.5)
        dy[k] = math.ceil(k * sine - 0.5)
    return max(0, -dy.min()), max(0, dy.max()), max(0, -dx.min()), max(0, dx.max())


@inline
def pad_edges(picture: U8, room: Any, flat: F32) -> Any:
    """Copy (H, W, C) into rows of `flat` with the edges repeated as far as `room` tells; return the rows' distance."""
    height, width, channels = picture.shape
    top, bottom, left, right = room
    pitch = (left + width + right) * channels
    for y in range(height):
        row = picture[y].reshape(-1)
        line = flat[(top + y) * pitch : (top + y + 1) * pitch]
        inner = line[left * channels :]
        for j in range(len(row)):
            inner[j] = np.float32(row[j])
        for c in range(channels):
            first, last = inner[c], inner[(width - 1) * channels + c]
            for j in range(left):
                line[j * channels + c] = first
            for j in range(left + width, left + width + right):
                line[j * channels + c] = last
    for y in range(top):
        flat[y * pitch : (y + 1) * pitch] = flat[top * pitch : (top + 1) * pitch]
    for y in range(top + height, top + height + bottom):
        flat[y * pitch : (y + 1) * pitch] = flat[(top + height - 1) * pitch : (top + height) * pitch]
    return pitch


@inline
def smear(
    flat: F32,
    pitch: Any,
    start: Any,
    channels: Any,
    weight: F32,
    dy: NDArray[np.int64],
    dx: NDArray[np.int64],
    total: F32,
) -> None:
    """Write the streak of a padded picture, given flat, into `total`: the sum of weight[k] times the pixel at tap k.

    `total` covers a strip of rows `pitch` apart, whose first pixel is at the place `start`.
    """
    total[:] = 0
    for k in range(len(weight)):
        add_scaled(total, flat[start + dy[k] * pitch + dx[k] * channels :], weight[k])


def streak_weights(radius: float, sigma: float) -> NDArray[np.float64]:
    """Return the one-sided Gaussian of ImageMagick's motion blur, without the taps that fall below 1e-7."""
    k = np.arange(2 * math.ceil(radius) + 1, dtype=np.float64)
    weights = exact.normalised(exact.exp(np.maximum(-0.5 * k * k / (sigma * sigma), -700.0)))
    return weights[weights > 1e-7]


def random_angles(draws: Draws, low: float, high: float, slot: int = 0) -> NDArray[np.float64]:
    """Return one angle a picture, uniform between low and high."""
    word = first_words(draws.key, slot, draws.indices)[:, 0]
    return low + (high - low) * ((word.astype(np.float64) + 0.5) * 2.0**-32)


@kernel
def _streak(x: U8, out: U8, weight: F32, cosine: NDArray[np.float64], sine: NDArray[np.float64]) -> None:
    count, height, width, channels = x.shape
    taps = len(weight)
    dy, dx = np.empty(taps, np.int64), np.empty(taps, np.int64)
    flat = np.empty((height + 2 * taps) * (width + 2 * taps) * channels, np.float32)
    total = np.empty(max(STRIP, (width + 2 * taps) * channels), np.float32)
    for i in range(count):
        room = streak_room(x[i], cosine[i], sine[i], taps, dy, dx)
        pitch = pad_edges(x[i], room, flat)
        rows = min(max(STRIP // pitch, 1), height)
        for y in range(0, height, rows):
            last = min(y + rows, height)
            strip = total[: (last - y - 1) * pitch + width * channels]
            smear(flat, pitch, (y + room[0]) * pitch + room[2] * channels, channels, weight, dy, dx, strip)
            crop(total, pitch, QUANTUM, out[i, y:last])


def streak(x: U8, out: U8, radius: float, sigma: float, degrees: NDArray[np.float64]) -> None:
    """Motion-blur each picture along its own angle."""
    radians = np.remainder(degrees, 360.0) * (math.pi / 180.0)
    _streak(x, out, streak_weights(radius, sigma).astype(np.float32), exact.cos(radians), exact.sin(radians))


@functools.lru_cache(maxsize=256)
def zoom_axis(size: int, factor: float) -> tuple[NDArray[np.int64], F32]:
    """Return, for each place of a magnified axis, the pixel before it and the fraction of the way to the next one.

    The crop is ceil(size / factor) long, scipy.ndimage.zoom makes round(crop * factor) pixels of it on the grid (crop -
    1) / (pixels - 1), and the surplus is trimmed at both ends.
    """
    crop = math.ceil(size / factor)
    pixels = round(crop * factor)
    place = (np.arange(size) + (pixels - size) // 2) * ((crop - 1) / (pixels - 1))
    before = np.minimum(place.astype(np.int64), crop - 2)
    return before + (size - crop) // 2, (place - before).astype(np.float32)


LANES = 16  # pictures that the zoom handles side by side: a vector register of float32


@inline
def pack(pictures: U8, lanes: U8) -> None:
    """Transpose up to LANES pictures, (n, P, C), to (P, C * LANES): one value of all pictures lies side by side."""
    count, pixels, channels = pictures.shape
    for n in range(count):
        source = pictures[n].reshape(-1)
        target = lanes.reshape(-1)[n:]
        for j in range(pixels * channels):
            target[j * LANES] = source[j]


@inline
def unpack(lanes: U8, pictures: U8) -> None:
    """Undo `pack`."""
    count, pixels, channels = pictures.shape
    for n in range(count):
        source = lanes.reshape(-1)[n:]
        target = pictures[n].reshape(-1)
        for j in range(pixels * channels):
            target[j] = source[j * LANES]


@functools.lru_cache(maxsize=64)
def _zoom_operator(
    height: int, width: int, factors: tuple[float, ...]
) -> tuple[NDArray[np.int64], NDArray[np.int64], F32]:
    """Return the mean of all magnifications as one sparse matrix over the pixels: row starts, columns, weights."""
    size = height * width
    place = np.arange(size)
    keys, values = [place * size + place], [np.ones(size)]
    for z in factors:
        (top, down), (left, across) = zoom_axis(height, z), zoom_axis(width, z)
        for dy, wy in ((0, 1.0 - down.astype(np.float64)), (1, down.astype(np.float64))):
            for dx, wx in ((0, 1.0 - across.astype(np.float64)), (1, across.astype(np.float64))):
                source = (top + dy)[:, None] * width + (left + dx)[None]
                keys.append(place * size + source.ravel())
                values.append((wy[:, None] * wx[None]).ravel())
    entries, inverse = np.unique(np.concatenate(keys), return_inverse=True)
    weights = np.bincount(inverse, np.concatenate(values)) / (len(factors) + 1)
    rows, columns = np.divmod(entries[weights > 0], size)
    return np.searchsorted(rows, np.arange(size + 1)), columns, weights[weights > 0].astype(np.float32)


@kernel
def _zoom_small(x: U8, out: U8, starts: NDArray[np.int64], columns: NDArray[np.int64], weight: F32) -> None:
    """Average by the sparse operator; x and out are (N, P, C)."""
    count, pixels, channels = x.shape
    lanes = np.zeros((pixels, channels * LANES), np.uint8)
    result = np.empty((pixels, channels * LANES), np.uint8)
    total = np.empty(channels * LANES, np.float32)
    for first in range(0, count, LANES):
        pack(x[first : first + LANES], lanes)
        for p in range(pixels):
            total[:] = np.float32(SLACK)
            for k in range(starts[p], starts[p + 1]):
                source, w = lanes[columns[k]], weight[k]
                for j in range(len(total)):
                    total[j] += w * np.float32(source[j])
            to_uint8(total, 0.0, result[p])
        unpack(result, out[first : first + LANES])


@kernel
def _zoom_large(
    x: U8,
    out: U8,
    row_before: NDArray[np.int64],
    row_fraction: F32,
    column_before: NDArray[np.int64],
    column_fraction: F32,
) -> None:
    """Average the magnifications one by one."""
    count, height, width, channels = x.shape
    group = channels * LANES
    lanes = np.zeros((height * width, group), np.uint8)
    result = np.empty((height * width, group), np.uint8)
    line = np.empty(width * group, np.float32)
    total = np.empty(width * group, np.float32)
    rows, targets = lanes.reshape(height, width * group), result.reshape(height, width * group)
    factors = len(row_before)
    mean = np.float32(1.0 / (factors + 1))
    for first in range(0, count, LANES):
        pack(x[first : first + LANES].reshape(-1, height * width, channels), lanes)
        for y in range(height):
            middle = rows[y]
            for j in range(len(total)):
                total[j] = np.float32(middle[j])
            for z in range(factors):
                upper, lower = rows[row_before[z, y]], rows[row_before[z, y] + 1]
                f = row_fraction[z, y]
                for j in range(len(line)):
                    line[j] = np.float32(upper[j]) + f * (np.float32(lower[j]) - np.float32(upper[j]))
                for u in range(width):
                    a = column_before[z, u] * group
                    here, there, g = line[a : a + group], line[a + group : a + 2 * group], column_fraction[z, u]
                    target = total[u * group : (u + 1) * group]
                    for j in range(group):
                        target[j] += here[j] + g * (there[j] - here[j])
            for j in range(len(total)):
                total[j] *= mean
            to_uint8(total, SLACK, targets[y])
        unpack(result, out[first : first + LANES].reshape(-1, height * width, channels))


def zoom_mean(x: U8, out: U8, factors: tuple[float, ...]) -> None:
    """Average each picture with its magnifications by the factors."""
    count, height, width, channels = x.shape
    if height * width <= 64 * 64:  # beyond, the operator would not fit the cache
        operator = _zoom_operator(height, width, factors)
        _zoom_small(x.reshape(count, -1, channels), out.reshape(count, -1, channels), *operator)
        return
    rows = [zoom_axis(height, z) for z in factors]
    columns = [zoom_axis(width, z) for z in factors]
    _zoom_large(
        x,
        out,
        np.array([before for before, _ in rows]),
        np.array([fraction for _, fraction in rows]),
        np.array([before for before, _ in columns]),
        np.array([fraction for _, fraction in columns]),
    )
