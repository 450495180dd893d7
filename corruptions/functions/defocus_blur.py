"""Defocus blur: the mean over a smoothed disk."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from lcrbench.corruptions import exact, filters
from lcrbench.corruptions.draws import Draws
from lcrbench.corruptions.kernel import kernel
from lcrbench.corruptions.philox import F32, U8


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


def into(x: U8, out: U8, draws: Draws, radius: float, alias_blur: float) -> None:
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
