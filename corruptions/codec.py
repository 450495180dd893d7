"""What a JPEG file does to a picture, without the file: baseline, 4:2:0, as libjpeg-turbo writes and reads it.

Entropy coding loses nothing, so only the lossy steps are done: colour conversion, halving of the chroma, the "islow"
integer DCT, quantisation, and all of it back with "fancy" (triangular) enlargement of the chroma. All of it is integer
arithmetic after the Independent JPEG Group's definition, so the pixels are those of Pillow and OpenCV, bit for bit,
whichever codec is installed.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcrbench.corruptions.kernel import forced, inline, kernel
from lcrbench.corruptions.philox import U8
from lcrbench.vectors import (
    LANES,
    add,
    address,
    everywhere,
    everywhere_int,
    larger_ints,
    load_bytes,
    load_floats,
    load_ints,
    plus,
    shifted,
    smaller_ints,
    store_bytes,
    subtract,
    times,
    times_ints,
    to_float,
    to_int,
    weave_first,
    weave_second,
    xor,
    zero,
)

I32 = NDArray[np.int32]
F32 = NDArray[np.float32]

# Tables K.1 and K.2 of ITU-T T.81, for quality 50.
LUMINANCE = (
    "16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62 "
    "18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 72 92 95 98 112 100 103 99"
)
CHROMINANCE = (
    "17 18 24 47 99 99 99 99 18 21 26 66 99 99 99 99 24 26 56 99 99 99 99 99 47 66 99 99 99 99 99 99 " + "99 " * 32
)


@functools.lru_cache(maxsize=64)
def quantisers(quality: int) -> I32:
    """Return the luminance and the chrominance table of a quality from 1 to 100, (2, 64)."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    base = np.array([LUMINANCE.split(), CHROMINANCE.split()], np.int32)
    return np.clip((base * scale + 50) // 100, 1, 255).astype(np.int32)


@inline
def _times(a: Any, factor: Any) -> Any:
    return np.int32(a * np.int32(factor))


@inline
def _plus(a: Any, b: Any) -> Any:
    return np.int32(a + b)


@inline
def _minus(a: Any, b: Any) -> Any:
    return np.int32(a - b)


@inline
def _descale(a: Any, bits: Any) -> Any:
    return np.int32(np.int32(a + np.int32(1 << (bits - 1))) >> np.int32(bits))


@inline
def _clamp(value: Any) -> Any:
    return np.uint8(min(max(value, np.int32(0)), np.int32(255)))


@forced
def _scaled(a: Any, factor: Any) -> Any:
    return times_ints(a, everywhere_int(np.int32(factor)))


@forced
def _dropped(a: Any, bits: Any) -> Any:
    return shifted(add(a, everywhere_int(np.int32(1 << (bits - 1)))), everywhere_int(np.int32(bits)))


@forced
def _rotate(t4: Any, t5: Any, t6: Any, t7: Any) -> Any:
    """The odd half of the transform, both ways: constants are round(2**13 * x)."""
    z5 = _scaled(add(add(t4, t6), add(t5, t7)), 9633)
    z1, z2 = _scaled(add(t4, t7), -7373), _scaled(add(t5, t6), -20995)
    z3, z4 = add(_scaled(add(t4, t6), -16069), z5), add(_scaled(add(t5, t7), -3196), z5)
    a = add(_scaled(t4, 2446), add(z1, z3))
    b = add(_scaled(t5, 16819), add(z2, z4))
    c = add(_scaled(t6, 25172), add(z2, z3))
    d = add(_scaled(t7, 12299), add(z1, z4))
    return a, b, c, d


@forced
def _forward(block: Any, first: Any) -> Any:
    """One pass of the forward DCT over eight vectors; the `first` keeps two bits more, which the second drops."""
    d0, d1, d2, d3, d4, d5, d6, d7 = block
    t0, t7, t1, t6 = add(d0, d7), subtract(d0, d7), add(d1, d6), subtract(d1, d6)
    t2, t5, t3, t4 = add(d2, d5), subtract(d2, d5), add(d3, d4), subtract(d3, d4)
    e0, e3, e1, e2 = add(t0, t3), subtract(t0, t3), add(t1, t2), subtract(t1, t2)
    odd = 11 if first else 15
    if first:
        c0, c4 = _scaled(add(e0, e1), 4), _scaled(subtract(e0, e1), 4)
    else:
        c0, c4 = _dropped(add(e0, e1), 2), _dropped(subtract(e0, e1), 2)
    z1 = _scaled(add(e2, e3), 4433)
    c2, c6 = _dropped(add(z1, _scaled(e3, 6270)), odd), _dropped(add(z1, _scaled(e2, -15137)), odd)
    a, b, c, d = _rotate(t4, t5, t6, t7)
    return c0, _dropped(d, odd), c2, _dropped(c, odd), c4, _dropped(b, odd), c6, _dropped(a, odd)


@forced
def _inverse(block: Any, bits: Any) -> Any:
    """One pass of the inverse DCT."""
    d0, d1, d2, d3, d4, d5, d6, d7 = block
    z1 = _scaled(add(d2, d6), 4433)
    t2, t3 = add(z1, _scaled(d6, -15137)), add(z1, _scaled(d2, 6270))
    t0, t1 = _scaled(add(d0, d4), 8192), _scaled(subtract(d0, d4), 8192)
    e0, e3, e1, e2 = add(t0, t3), subtract(t0, t3), add(t1, t2), subtract(t1, t2)
    a, b, c, d = _rotate(d7, d5, d3, d1)
    return (
        _dropped(add(e0, d), bits), _dropped(add(e1, c), bits), _dropped(add(e2, b), bits), _dropped(add(e3, a), bits),
        _dropped(subtract(e3, a), bits), _dropped(subtract(e2, b), bits), _dropped(subtract(e1, c), bits),
        _dropped(subtract(e0, d), bits),
    )  # fmt: skip


@forced
def _woven(r: Any) -> Any:
    return (
        weave_first(r[0], r[4]), weave_second(r[0], r[4]), weave_first(r[1], r[5]), weave_second(r[1], r[5]),
        weave_first(r[2], r[6]), weave_second(r[2], r[6]), weave_first(r[3], r[7]), weave_second(r[3], r[7]),
    )  # fmt: skip


@forced
def _transposed(block: Any) -> Any:
    """Transpose both 8 x 8 halves of eight vectors: each turn moves a bit of a number's place from the row to the column."""
    return _woven(_woven(_woven(block)))


@forced
def _quantised(value: Any, table: Any, k: Any) -> Any:
    """Divide each coefficient of row k by its step, round halves away from 0, and multiply again.

    The transform leaves a factor of 8. The magnitude m plus 4 steps is a whole number below 2**21, so that the quotient
    (m + 4 steps + 1/2) / (8 steps) is further from a whole number than float32 rounds.
    """
    step, half = load_ints(table, 3 * k * LANES), load_ints(table, (3 * k + 1) * LANES)
    share = load_floats(table, (3 * k + 2) * LANES)
    sign = shifted(value, everywhere_int(np.int32(31)))
    magnitude = to_float(add(subtract(xor(value, sign), sign), half))
    level = times_ints(to_int(times(plus(magnitude, everywhere(np.float32(0.5))), share)), step)
    return subtract(xor(level, sign), sign)


@forced
def _coded(block: Any, table: Any) -> Any:
    """Code and decode eight rows of two blocks."""
    block = _forward(_transposed(_forward(_transposed(block), True)), False)
    d0, d1, d2, d3, d4, d5, d6, d7 = block
    block = (
        _quantised(d0, table, 0), _quantised(d1, table, 1), _quantised(d2, table, 2), _quantised(d3, table, 3),
        _quantised(d4, table, 4), _quantised(d5, table, 5), _quantised(d6, table, 6), _quantised(d7, table, 7),
    )  # fmt: skip
    return _transposed(_inverse(_transposed(_inverse(block, 11)), 18))


@forced
def _pixels(plane: Any, place: Any) -> Any:
    return subtract(load_bytes(plane, place), everywhere_int(np.int32(128)))


@forced
def _put(plane: Any, place: Any, value: Any) -> None:
    level = add(value, everywhere_int(np.int32(128)))
    level = larger_ints(smaller_ints(level, everywhere_int(np.int32(255))), zero())
    store_bytes(plane, place, level)


@inline
def _transform(plane: U8, table: Any) -> None:
    """Code and decode a plane (8 h, 16 w) in place, two blocks at a time."""
    rows, pitch = plane.shape
    at = address(plane)
    for y in range(0, rows, 8):
        for x in range(0, pitch, LANES):
            p = y * pitch + x
            block = (
                _pixels(at, p), _pixels(at, p + pitch), _pixels(at, p + 2 * pitch), _pixels(at, p + 3 * pitch),
                _pixels(at, p + 4 * pitch), _pixels(at, p + 5 * pitch), _pixels(at, p + 6 * pitch),
                _pixels(at, p + 7 * pitch),
            )  # fmt: skip
            d0, d1, d2, d3, d4, d5, d6, d7 = _coded(block, table)
            _put(at, p, d0)
            _put(at, p + pitch, d1)
            _put(at, p + 2 * pitch, d2)
            _put(at, p + 3 * pitch, d3)
            _put(at, p + 4 * pitch, d4)
            _put(at, p + 5 * pitch, d5)
            _put(at, p + 6 * pitch, d6)
            _put(at, p + 7 * pitch, d7)


@inline
def _steps(table: I32, steps: F32) -> None:
    """Write (8, 3, LANES) for `_quantised`: of each row of two blocks the steps, four times them, and 1 / (8 steps).

    The first two are ints in the place of floats.
    """
    ints = steps.view(np.int32)
    for k in range(8):
        for lane in range(LANES):
            step = table[8 * k + lane % 8]
            ints[k, 0, lane], ints[k, 1, lane] = step, np.int32(step * 4)
            steps[k, 2, lane] = np.float32(1.0) / np.float32(step * 8)


@inline
def _extend(plane: U8, height: int, width: int) -> None:
    """Repeat the last column and then the last row of the upper left height x width of a plane."""
    for y in range(height):
        plane[y, width:] = plane[y, width - 1]
    for y in range(height, plane.shape[0]):
        plane[y] = plane[height - 1]


@inline
def _to_ycc(row: U8, luma: U8, blue: U8, red: U8) -> None:
    for x in range(np.uint64(len(luma))):
        i = (
            np.uint64(3) * x
        )  # unsigned places need no check for a count from the end, and the loop goes to vector registers
        r, g, b = np.int32(row[i]), np.int32(row[i + np.uint64(1)]), np.int32(row[i + np.uint64(2)])
        luma[x] = np.uint8(_descale(_plus(_plus(_times(r, 19595), _times(g, 38470)), _times(b, 7471)), 16))
        # Half a unit less one, so that 128 stays 128.
        middle = np.int32((128 << 16) - 1)
        blue[x] = np.uint8(
            _descale(_plus(_plus(_times(b, 32768), middle), _plus(_times(r, -11059), _times(g, -21709))), 16)
        )
        red[x] = np.uint8(
            _descale(_plus(_plus(_times(r, 32768), middle), _plus(_times(g, -27439), _times(b, -5329))), 16)
        )


@inline
def _halve(upper: U8, lower: U8, target: U8) -> None:
    """Average 2 x 2 pixels; what is added before the division by 4 alternates between 1 and 2."""
    for x in range(np.uint64(len(target))):
        i, j = x + x, x + x + np.uint64(1)
        left, right = _plus(np.int32(upper[i]), np.int32(lower[i])), _plus(np.int32(upper[j]), np.int32(lower[j]))
        target[x] = np.uint8(_plus(_plus(left, right), np.int32(np.uint64(1) + (x & np.uint64(1)))) >> np.int32(2))


@inline
def _enlarge(near: U8, far: U8, sums: I32, target: I32) -> None:
    """Double a row of chroma: three parts of the nearer and one of the farther sample, in both directions."""
    n = len(sums)
    for x in range(n):
        sums[x] = _plus(_times(np.int32(near[x]), 3), np.int32(far[x]))
    target[0] = (sums[0] * 4 + 8) >> 4
    target[2 * n - 1] = (sums[n - 1] * 4 + 7) >> 4
    one = np.uint64(1)
    for x in range(np.uint64(n - 1)):
        here, after = sums[x], sums[x + one]
        target[x + x + one] = np.int32(_plus(_plus(_times(here, 3), after), 7) >> np.int32(4))
        target[x + x + one + one] = _descale(_plus(_times(after, 3), here), 4)


@inline
def _to_rgb(luma: U8, blue: I32, red: I32, row: U8) -> None:
    for x in range(np.uint64(len(row) // 3)):
        i = np.uint64(3) * x
        y, b, r = np.int32(luma[x]), _minus(blue[x], np.int32(128)), _minus(red[x], np.int32(128))
        row[i] = _clamp(_plus(y, _descale(_times(r, 91881), 16)))
        row[i + np.uint64(1)] = _clamp(_plus(y, _descale(_plus(_times(b, -22554), _times(r, -46802)), 16)))
        row[i + np.uint64(2)] = _clamp(_plus(y, _descale(_times(b, 116130), 16)))


@kernel
def round_trip(x: U8, out: U8, tables: I32) -> None:
    """Write into `out` what is left of the pictures x, (n, H, W, C) uint8, after JPEG with these quantisation tables."""
    count, height, width, channels = x.shape
    steps = np.empty((2, 8, 3, LANES), np.float32)
    for c in range(2):
        _steps(tables[c], steps[c])
    # Rows of whole vectors, each of which holds a row of two blocks.
    luma = np.empty(((height + 7) // 8 * 8, (width + 15) // 16 * 16), np.uint8)
    half_height, half_width = (height + 1) // 2, (width + 1) // 2
    chroma = np.empty((2, (half_height + 7) // 8 * 8, (half_width + 15) // 16 * 16), np.uint8)
    full = np.empty((2, 2, 2 * chroma.shape[2]), np.uint8)  # (blue or red, row of a pair, x)
    sums = np.empty(half_width, np.int32)
    blue, red = np.empty(2 * half_width, np.int32), np.empty(2 * half_width, np.int32)
    for i in range(count):
        if channels == 1:
            for y in range(height):
                luma[y, :width] = x[i, y, :, 0]
            _extend(luma, height, width)
            _transform(luma, address(steps))
            for y in range(height):
                out[i, y, :, 0] = luma[y, :width]
            continue
        for pair in range(half_height):
            for k in range(2):
                y = min(2 * pair + k, height - 1)
                _to_ycc(x[i, y].reshape(-1), luma[y, :width], full[0, k], full[1, k])
                full[:, k, width:] = full[:, k, width - 1 : width]
            for c in range(2):
                _halve(full[c, 0], full[c, 1], chroma[c, pair])
        _extend(luma, height, width)
        for c in range(2):
            _extend(chroma[c], half_height, chroma.shape[2])
        _transform(chroma.reshape(-1, chroma.shape[2]), address(steps[1]))
        _transform(luma, address(steps))
        for y in range(height):
            near = y // 2
            far = max(near - 1, 0) if y % 2 == 0 else min(near + 1, half_height - 1)
            _enlarge(chroma[0, near], chroma[0, far], sums, blue)
            _enlarge(chroma[1, near], chroma[1, far], sums, red)
            _to_rgb(luma[y], blue, red, out[i, y].reshape(-1))
    steps[0, 0, 0, 0] = 0  # numba frees an array after its last use, and an address is none


def recompressed(x: U8, quality: int) -> U8:
    """Return copies of pictures (N, H, W, C) after a JPEG round trip of a quality from 1 to 100, as Pillow makes it."""
    out = np.empty_like(x)
    if len(x):
        round_trip(np.ascontiguousarray(x), out, quantisers(quality))
    return out
