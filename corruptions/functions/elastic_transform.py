"""Elastic transform: a random affine map and a smooth random displacement."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcrbench.corruptions import exact, sums
from lcrbench.corruptions.draws import Draws
from lcrbench.corruptions.filters import REFLECT, REFLECT_101, SLACK, copy, outside, to_uint8
from lcrbench.corruptions.kernel import forced, inline, kernel
from lcrbench.corruptions.philox import F32, U8, U32, fill, padded, uniform
from lcrbench.vectors import address, load_quad, minus, plus, quad_everywhere, store_quad, times

I32 = NDArray[np.int32]


@functools.lru_cache(maxsize=64)
def smoother(size: int, sigma: float) -> tuple[F32, F32]:
    """Return how to smooth an axis by a Gaussian cut at three sigma, reflected at the edges (dcba|abcd|dcba).

    Such a filter is diagonal in the cosine basis cos(pi k (j + 1/2) / size), and a wide one keeps few waves: the result
    is the basis (K, size), with which the smoothed field is basis^T diag(gain) basis, and the gains (K,), K chosen so
    that what is left out is below 0.5 % of the field. Where that is no gain over the weights themselves, K is 0.
    """
    weights = exact.gaussian_weights(sigma, truncate=3.0)
    reach = len(weights) // 2
    wave, j = np.arange(size)[:, None], np.arange(1, reach + 1)[None]
    # The angle pi k j / size is reduced to one turn in whole numbers, so that no digits are lost.
    cosines = exact.cos(np.float64(np.pi / size) * (wave * j % (2 * size)))
    gain = weights[reach] + np.cumsum(2.0 * cosines * weights[reach + 1 :], axis=1)[:, -1] if reach else np.ones(size)
    energy = np.cumsum(gain * gain)
    kept = int(np.argmax(energy >= (1.0 - 1e-5) * energy[-1])) + 1
    if kept > reach:  # a wave costs four operations a pixel, a weight six
        return np.empty((0, size), np.float32), weights[reach:].astype(np.float32)
    place = 2 * np.arange(size) + 1
    basis = exact.cos(np.float64(np.pi / (2 * size)) * (np.arange(kept)[:, None] * place % (4 * size)))
    basis[0] *= np.sqrt(1.0 / size)
    basis[1:] *= np.sqrt(2.0 / size)
    return basis.astype(np.float32), gain[:kept].astype(np.float32)


@inline
def _smooth_waves(field: F32, rows: tuple[F32, F32], columns: tuple[F32, F32], factor: Any) -> None:
    """Smooth `field` in place and multiply it by `factor`, through the waves of `smoother`."""
    height, width = field.shape
    down, down_gain = rows
    across, across_gain = columns
    part = np.zeros((len(down), width), np.float32)
    for y in range(height):
        source = field[y]
        for k in range(len(down)):
            target, w = part[k], down[k, y]
            for j in range(width):
                target[j] += w * source[j]
    back = np.ascontiguousarray(across.T)
    waves = np.empty(len(across), np.float32)
    for k in range(len(down)):
        waves[:] = 0
        line = part[k]
        for j in range(width):
            for m in range(len(waves)):
                waves[m] += line[j] * back[j, m]
        line[:] = 0
        for m in range(len(waves)):
            w = waves[m] * down_gain[k] * across_gain[m] * factor
            wave = across[m]
            for j in range(width):
                line[j] += w * wave[j]
    for y in range(height):
        target = field[y]
        target[:] = 0
        for k in range(len(down)):
            source, w = part[k], down[k, y]
            for j in range(width):
                target[j] += w * source[j]


@inline
def _smooth_taps(field: F32, half: F32, factor: Any, wide: F32, line: F32) -> None:
    """Smooth `field` in place and multiply it by `factor`, by symmetric weights; the edges reflect.

    A row's end may be written beyond, into what comes next: the next row, or a margin.
    """
    height, width = field.shape
    reach, pitch = len(half) - 1, wide.shape[1]
    for y in range(height + 2 * reach):
        copy(field[outside(y - reach, height, REFLECT)], wide[y])
    weights, middle = address(half), line[reach:]
    for y in range(height):
        sums.blur(address(wide[y + reach]), pitch, weights, reach, address(middle), width)
        for t in range(reach):
            line[t] = middle[outside(t - reach, width, REFLECT)]
            middle[width + t] = middle[outside(width + t, width, REFLECT)]
        sums.blur(address(middle), 1, weights, reach, address(field[y]), width)
        target = field[y]
        for j in range(width):
            target[j] *= factor


@inline
def _inverse_affine(height: int, width: int, words: U32, reach: float) -> Any:
    """Return (a, b, c, d, e, f): pixel (x, y) of the warped picture comes from (a x + b y + c, d x + e y + f).

    The map takes three points of a centred square, moved by U(-reach, reach) in each coordinate, back to where they
    were.
    """
    size = min(height, width) // 3
    x0, y0 = np.float64(height // 2), np.float64(width // 2)
    px = np.array([x0 + size, x0 + size, x0 - size])
    py = np.array([y0 + size, y0 - size, y0 - size])
    qx, qy = np.empty(3), np.empty(3)
    for k in range(3):
        qx[k] = np.float32(px[k] + np.float32(reach * (2.0 * uniform(words[2 * k]) - 1.0)))
        qy[k] = np.float32(py[k] + np.float32(reach * (2.0 * uniform(words[2 * k + 1]) - 1.0)))
    ux, uy, vx, vy = qx[1] - qx[0], qy[1] - qy[0], qx[2] - qx[0], qy[2] - qy[0]
    area = ux * vy - vx * uy
    a = ((px[1] - px[0]) * vy - (px[2] - px[0]) * uy) / area
    b = ((px[2] - px[0]) * ux - (px[1] - px[0]) * vx) / area
    d = ((py[1] - py[0]) * vy - (py[2] - py[0]) * uy) / area
    e = ((py[2] - py[0]) * ux - (py[1] - py[0]) * vx) / area
    return a, b, px[0] - a * qx[0] - b * qy[0], d, e, py[0] - d * qx[0] - e * qy[0]


BIAS = 1 << 16  # makes coordinates positive, so that a plain integer cast rounds them down


@forced
def _between(a: Any, b: Any, part: Any) -> Any:
    return plus(a, times(part, minus(b, a)))


@inline
def _sample_row(
    source: Any,
    shape: tuple[int, int, int],
    rule: Any,
    left: I32,
    top: I32,
    across: F32,
    down: F32,
    target: Any,
    place: I32,
) -> None:
    """Interpolate bilinearly at (left + across, top + down) for each pixel of a row; `rule` tells what lies outside.

    The picture is read and the row is written by address, in pixels of four floats, of which a gray one has one.
    """
    height, width, channels = shape
    step, pitch = np.int32(channels), np.int32(width * channels)
    last_x, last_y = np.uint32(width - 1), np.uint32(height - 1)
    for u in range(width):
        x, y = np.int32(left[u] - np.int32(BIAS)), np.int32(top[u] - np.int32(BIAS))
        inside = (np.uint32(x) < last_x) & (np.uint32(y) < last_y)
        place[u] = np.int32(np.int32(y * pitch) + np.int32(x * step)) if inside else np.int32(-1)
    t = 0
    for u in range(width):
        p = np.int64(place[u])
        q, r, s = p + step, p + pitch, p + pitch + step
        if p < 0:
            x0, y0 = np.int64(left[u]) - BIAS, np.int64(top[u]) - BIAS
            x1, y1 = outside(x0 + 1, width, rule), outside(y0 + 1, height, rule)
            x0, y0 = outside(x0, width, rule), outside(y0, height, rule)
            p, q = (y0 * width + x0) * channels, (y0 * width + x1) * channels
            r, s = (y1 * width + x0) * channels, (y1 * width + x1) * channels
        part = quad_everywhere(across[u])
        upper = _between(load_quad(source, p), load_quad(source, q), part)
        lower = _between(load_quad(source, r), load_quad(source, s), part)
        store_quad(target, t, _between(upper, lower, quad_everywhere(down[u])))
        t += channels


@kernel
def _elastic(
    x: U8,
    out: U8,
    key: np.uint64,
    indices: NDArray[np.int64],
    alpha: float,
    reach: float,
    rows: tuple[F32, F32],
    columns: tuple[F32, F32],
    scratch: tuple[F32, F32, F32, F32],
) -> None:
    count, height, width, channels = x.shape
    size = height * width
    words = np.empty(padded(size), np.uint32)
    corner = np.empty(8, np.uint32)
    pictures, shift, wide, smooth = scratch
    plain, warped = pictures[0], pictures[1]
    left, top, place = np.empty(width, np.int32), np.empty(width, np.int32), np.empty(width, np.int32)
    across, down = np.empty(width, np.float32), np.empty(width, np.float32)
    shape, length = (height, width, channels), width * channels
    line = np.empty(length + 3, np.float32)
    for i in range(count):
        source = x[i].reshape(-1)
        for j in range(len(source)):
            plain[j] = np.float32(source[j])
        fill(corner, key, 0, indices[i])
        a, b, c, d, e, f = _inverse_affine(height, width, corner, reach)
        for v in range(height):
            cx, cy = b * v + c + BIAS, e * v + f + BIAS
            for u in range(width):
                sx, sy = a * u + cx, d * u + cy
                left[u], top[u] = np.int32(sx), np.int32(sy)
                across[u], down[u] = np.float32(sx - left[u]), np.float32(sy - top[u])
            target = warped[v * length :]
            _sample_row(address(plain), shape, REFLECT_101, left, top, across, down, address(target), place)
            if alpha == 0:
                to_uint8(target, SLACK, out[i, v].reshape(-1))
        if alpha == 0:
            continue
        for axis in range(2):
            fill(words, key, 1 + axis, indices[i])
            field = shift[axis]
            flat = field.reshape(-1)
            for j in range(size):
                flat[j] = np.float32(np.int32(words[j])) * np.float32(2.0**-31)
            if len(rows[0]) and len(columns[0]):
                _smooth_waves(field, rows, columns, np.float32(alpha))
            else:
                _smooth_taps(field, rows[1], np.float32(alpha), wide, smooth)
        for v in range(height):
            dx, dy = shift[0, v], shift[1, v]
            for u in range(width):
                sx, sy = np.float64(dx[u]) + (u + BIAS), np.float64(dy[u]) + (v + BIAS)
                left[u], top[u] = np.int32(sx), np.int32(sy)
                across[u], down[u] = np.float32(sx - left[u]), np.float32(sy - top[u])
            _sample_row(address(warped), shape, REFLECT, left, top, across, down, address(line), place)
            to_uint8(line, SLACK, out[i, v].reshape(-1))


def into(x: U8, out: U8, draws: Draws, alpha: float, sigma: float, affine: float) -> None:
    """A random affine map, then a displacement of each pixel by alpha times a Gaussian-smoothed U(-1, 1) field; bilinear.

    Three points of a centred square with the side 2 (min(H, W) // 3) move by U(-affine, affine) pixels; the border
    reflects.
    """
    height, width = x.shape[1:3]
    rows, columns = smoother(height, sigma or 1.0), smoother(width, sigma or 1.0)
    if not (len(rows[0]) and len(columns[0])):
        half = exact.gaussian_weights(sigma or 1.0, truncate=3.0)
        rows = columns = (np.empty((0, 0), np.float32), half[len(half) // 2 :].astype(np.float32))
    wave = len(rows[0])
    by = 0 if wave else len(rows[1]) - 1
    scratch = (
        sums.room(2, x[0].size),
        sums.room(2, height, width),
        sums.room(height + 2 * by, -(-width // sums.LANES) * sums.LANES),
        sums.room(width + 2 * by),
    )
    _elastic(x, out, draws.key, draws.indices, alpha, affine, rows, columns, scratch)
