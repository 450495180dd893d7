"""Defocus blur: the mean over a smoothed disk."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcrbench.corruptions import exact, filters
from lcrbench.corruptions import sums as vectors
from lcrbench.corruptions.draws import Draws
from lcrbench.corruptions.kernel import forced, kernel
from lcrbench.corruptions.philox import F32, U8
from lcrbench.vectors import (
    LANES,
    add,
    address,
    everywhere,
    load_floats,
    load_ints,
    load_place,
    plus,
    splat_float,
    subtract,
    times,
    to_float,
    zero,
)


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
        plan = _disk_plan(radius, alias_blur)
        padded = filters.frame(x, len(plan[0]) - 1 + len(plan[1]) // 2)
        rows, wide = padded.shape
        sums = vectors.room(rows, wide + LANES).view(np.int32)
        scratch = padded, vectors.room(wide), vectors.room(wide), sums, np.empty(LANES, np.uint8)
        _smooth_disk(x, out, *plan, scratch)


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


@forced
def _difference(source: Any, before: Any, after: Any, total: Any) -> Any:
    return add(total, subtract(load_ints(source, after), load_ints(source, before)))


@forced
def _disk(
    sums: Any, spans: Any, rows: Any, scale: Any, floats: Any, places: Any, weights: Any, taps: Any, j: Any
) -> Any:
    """Return three vectors of a row: the means over the disk, by differences of running sums, and the taps that are left."""
    a = b = c = zero()
    for k in range(rows):
        before, after = load_place(spans, 2 * k) + j, load_place(spans, 2 * k + 1) + j
        a = _difference(sums, before, after, a)
        b = _difference(sums, before + 16, after + 16, b)
        c = _difference(sums, before + 32, after + 32, c)
    u, v, w = times(to_float(a), scale), times(to_float(b), scale), times(to_float(c), scale)
    for k in range(taps):
        i, weight = load_place(places, k) + j, splat_float(weights, k)
        u = plus(u, times(load_floats(floats, i), weight))
        v = plus(v, times(load_floats(floats, i + 16), weight))
        w = plus(w, times(load_floats(floats, i + 32), weight))
    return u, v, w


@kernel
def _smooth_disk(
    x: U8,
    out: U8,
    half: F32,
    widths: NDArray[np.int64],
    dy: NDArray[np.int64],
    dx: NDArray[np.int64],
    left: F32,
    scratch: tuple[F32, F32, F32, NDArray[np.int32], U8],
) -> None:
    """Blur, then average over the disk by differences of running sums along the rows, then add the taps that are left."""
    count, height, width, channels = x.shape
    padded, line, smooth, sums, spare = scratch
    side, radius = len(half) - 1, len(widths) // 2
    by = radius + side
    pixels = (2 * widths + 1).sum()
    # Whole numbers, as large as the sum over the disk allows: their differences are exact, also where they wrap around.
    unit = np.float32(1.0)
    while np.float64(unit) * 2 * pixels * 256 < 2**31:
        unit *= np.float32(2)
    rows, wide, length = height + 2 * by, (width + 2 * by) * channels, width * channels
    inner = wide - 2 * side * channels
    scale, extra = everywhere(np.float32(1.0 / (np.float64(unit) * pixels))), everywhere(np.float32(filters.SLACK))
    pitch, sums_pitch = padded.shape[1], sums.shape[1]
    spans, places = np.empty((len(widths), 2), np.int64), np.empty(len(left) + 1, np.int64)
    for k in range(len(widths)):
        spans[k, 0] = (side + k) * sums_pitch + (by - widths[k]) * channels
        spans[k, 1] = (side + k) * sums_pitch + (by + widths[k] + 1) * channels
    for k in range(len(left)):
        places[k] = (by + dy[k]) * pitch + (by + dx[k]) * channels
    weights, middle, span, tap, others = address(half), address(line), address(spans), address(places), address(left)
    for y in range(rows):
        sums[y, : (side + 1) * channels] = 0
    for i in range(count):
        filters.pad(x[i], by, filters.REFLECT_101, padded)
        for y in range(side, rows - side):
            vectors.blur(address(padded[y]), pitch, weights, side, middle, wide)
            vectors.blur(middle + 4 * side * channels, channels, weights, side, address(smooth), inner)
            across = sums[y, (side + 1) * channels :]
            for j in range(inner):
                across[j] = np.int32(smooth[j] * unit + np.float32(0.5))
            for c in range(channels):
                running = np.int32(0)
                for j in range(np.uint64(c), np.uint64(inner), np.uint64(channels)):
                    running = np.int32(running + across[j])
                    across[j] = running
        picture = address(out[i])
        for y in range(height):
            begin, floats = address(sums) + 4 * y * sums_pitch, address(padded) + 4 * y * pitch
            target, rest = picture + y * length, address(spare)
            for j in range(0, length, 3 * LANES):
                u, v, w = _disk(begin, span, len(widths), scale, floats, tap, others, len(left), j)
                vectors.store_levels(target, j, length - j, vectors.to_bytes(u, extra), rest)
                vectors.store_levels(target, j + 16, length - j - 16, vectors.to_bytes(v, extra), rest)
                vectors.store_levels(target, j + 32, length - j - 32, vectors.to_bytes(w, extra), rest)
    spans[0, 0] = places[0] = 0  # numba frees an array after its last use, and an address is none
