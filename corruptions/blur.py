"""The blurs: defocus, glass, motion, zoom."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from lcrbench.corruptions import exact, filters
from lcrbench.corruptions.kernel import kernel
from lcrbench.corruptions.philox import F32, U8, Draws, fill, padded


@functools.lru_cache(maxsize=64)
def disk(radius: float, alias_blur: float) -> NDArray[np.float64]:
    """Return the defocus kernel: a disk of one pixel steps, smoothed by a small Gaussian, summing to about 1.

    The Gaussian is 3 x 3, or 5 x 5 above a radius of 8, and reflects at the edge of the array as OpenCV does it; where
    the disk touches that edge (radius 8 and more) the kernel keeps the sum that comes out, which the official scripts
    do not normalise.
    """
    reach = 8 if radius <= 8 else int(radius)
    side = 1 if radius <= 8 else 2
    j = np.arange(-reach, reach + 1, dtype=np.float64)
    inside = np.where(j[:, None] ** 2 + j[None] ** 2 <= radius**2, 1.0, 0.0)
    inside /= inside.sum()
    t = np.arange(-side, side + 1, dtype=np.float64)
    weights = exact.normalised(exact.exp(np.maximum(-0.5 * t * t / alias_blur**2, -700.0)))
    for axis in (0, 1):
        extended = np.pad(inside, [(side, side) if a == axis else (0, 0) for a in (0, 1)], mode="reflect")
        n = inside.shape[axis]
        shifted = [w * np.take(extended, np.arange(k, k + n), axis) for k, w in enumerate(weights)]
        inside = functools.reduce(np.add, shifted)
    return inside


def defocus_blur(x: U8, out: U8, draws: Draws, radius: float, alias_blur: float) -> None:
    """Correlation with a smoothed disk; the border reflects without repeating the edge."""
    kernel = disk(radius, alias_blur)
    if np.count_nonzero(kernel > 1e-7) <= 32:
        filters.taps(x, out, kernel)
    else:
        _smooth_disk(x, out, *_disk_plan(radius, alias_blur))


@functools.lru_cache(maxsize=64)
def _disk_plan(
    radius: float, alias_blur: float
) -> tuple[F32, NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], F32]:
    """Split the kernel: half of a Gaussian, half-widths of a plain disk by row, and the taps left over (dy, dx, weight).

    Left over are the taps next to the edge of the kernel's array, which `disk` describes.
    """
    kernel = disk(radius, alias_blur)
    reach, side = kernel.shape[0] // 2, 1 if radius <= 8 else 2
    half = exact.normalised(exact.exp(np.maximum(-0.5 * np.arange(-side, side + 1.0) ** 2 / alias_blur**2, -700.0)))[
        side:
    ]
    widths = np.array([int(np.sqrt(radius**2 - dy**2)) for dy in range(-int(radius), int(radius) + 1)], np.int64)
    n = reach + side
    plain = np.zeros((2 * n + 1, 2 * n + 1))
    for row, width in enumerate(widths):
        plain[n - int(radius) + row, n - width : n + width + 1] = 1.0 / (2 * widths + 1).sum()
    g = np.concatenate([half[:0:-1], half])
    for axis in (0, 1):
        extended = np.pad(plain, [(side, side) if a == axis else (0, 0) for a in (0, 1)])
        shifted = [w * np.take(extended, np.arange(k, k + 2 * n + 1), axis) for k, w in enumerate(g)]
        plain = functools.reduce(np.add, shifted)
    left = -plain
    left[side:-side, side:-side] += kernel
    dy, dx = np.nonzero(np.abs(left) > 3e-6)
    return half.astype(np.float32), widths, dy - n, dx - n, left[dy, dx].astype(np.float32)


@kernel
def _smooth_disk(
    x: U8, out: U8, half: F32, widths: NDArray[np.int64], dy: NDArray[np.int64], dx: NDArray[np.int64], left: F32
) -> None:
    """Blur, then average over the disk by differences of running sums along the rows, then add the taps that are left."""
    count, height, width, channels = x.shape
    side, radius = len(half) - 1, len(widths) // 2
    by = radius + side
    pixels = (2 * widths + 1).sum()
    # Whole numbers, as large as the sum over the disk allows: their differences are exact, also where they wrap around.
    unit = np.float32(1.0)
    while np.float64(unit) * 2 * pixels * 256 < 2**31:
        unit *= np.float32(2)
    rows, wide = height + 2 * by, (width + 2 * by) * channels
    padded = np.empty((rows, wide), np.float32)
    line, smooth = np.empty(wide, np.float32), np.empty(wide, np.float32)
    sums = np.zeros((rows, wide + channels), np.int32)
    inside = np.empty(width * channels, np.int32)
    total = np.empty(width * channels, np.float32)
    scale = np.float32(1.0 / (np.float64(unit) * pixels))
    for i in range(count):
        filters.pad(x[i], by, filters.REFLECT_101, padded)
        for y in range(side, rows - side):
            middle = padded[y]
            for j in range(wide):
                line[j] = half[0] * middle[j]
            for t in range(1, side + 1):
                above, beneath, w = padded[y - t], padded[y + t], half[t]
                for j in range(wide):
                    line[j] += w * (above[j] + beneath[j])
            target = sums[y, channels:]
            inner = wide - 2 * side * channels
            across = target[side * channels : side * channels + inner]
            centre = line[side * channels : side * channels + inner]
            for j in range(inner):
                smooth[j] = half[0] * centre[j]
            for t in range(1, side + 1):
                a, b, w = line[(side - t) * channels :], line[(side + t) * channels :], half[t]
                for j in range(inner):
                    smooth[j] += w * (a[j] + b[j])
            for c in range(channels):
                running = np.int32(0)
                for j in range(c, inner, channels):
                    running = np.int32(running + np.int32(smooth[j] * unit + np.float32(0.5)))
                    across[j] = running
        for y in range(height):
            inside[:] = 0
            for k in range(len(widths)):
                w = widths[k] * channels
                line_sums = sums[y + side + k]
                after = line_sums[by * channels + w + channels :]
                before = line_sums[by * channels - w :]
                for j in range(len(inside)):
                    inside[j] = np.int32(inside[j] + np.int32(after[j] - before[j]))
            for j in range(len(total)):
                total[j] = np.float32(inside[j]) * scale
            for k in range(len(left)):
                start = (by + dx[k]) * channels
                shifted = padded[y + by + dy[k]][start : start + len(total)]
                w = left[k]
                for j in range(len(total)):
                    total[j] += w * shifted[j]
            filters.to_uint8(total, filters.SLACK, out[i, y].reshape(-1))


def glass_blur(x: U8, out: U8, draws: Draws, sigma: float, max_delta: int, iterations: int) -> None:
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


def motion_blur(
    x: U8, out: U8, draws: Draws, radius: float, sigma: float, *, angle: NDArray[np.float64] | None = None
) -> None:
    """A one-sided Gaussian streak at an angle drawn from U(-45, 45) degrees, as ImageMagick's motion blur draws it.

    Tap k = 0..2 ceil(radius) has the weight exp(-k^2 / (2 sigma^2)), normalised, and reads the pixel at the distance k,
    its coordinates rounded to whole pixels; the edge pixel is repeated outside.
    """
    degrees = filters.random_angles(draws, -45.0, 45.0) if angle is None else angle
    filters.streak(x, out, radius, sigma, degrees)


def zoom_blur(x: U8, out: U8, draws: Draws, *zoom_factors: float) -> None:
    """Mean of the picture and of its magnifications about the centre by each factor, bilinear as scipy.ndimage.zoom."""
    filters.zoom_mean(x, out, zoom_factors)
