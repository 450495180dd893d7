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

from lcrbench.corruptions.kernel import inline, kernel
from lcrbench.corruptions.philox import U8

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
LANES = 16  # blocks that are transformed side by side


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


@inline
def _rotate(t4: Any, t5: Any, t6: Any, t7: Any) -> Any:
    """The odd half of the transform, both ways: constants are round(2**13 * x)."""
    z5 = _times(_plus(_plus(t4, t6), _plus(t5, t7)), 9633)
    z1, z2 = _times(_plus(t4, t7), -7373), _times(_plus(t5, t6), -20995)
    z3, z4 = _plus(_times(_plus(t4, t6), -16069), z5), _plus(_times(_plus(t5, t7), -3196), z5)
    a = _plus(_times(t4, 2446), _plus(z1, z3))
    b = _plus(_times(t5, 16819), _plus(z2, z4))
    c = _plus(_times(t6, 25172), _plus(z2, z3))
    d = _plus(_times(t7, 12299), _plus(z1, z4))
    return a, b, c, d


@inline
def _forward(block: I32, start: Any, step: Any, even: Any, odd: Any) -> None:
    """One pass of the forward DCT over eight values `step` apart, for all lanes; `even` and `odd` are the bits to drop."""
    s = np.uint64(step)
    for lane in range(np.uint64(LANES)):
        i = np.uint64(start) + lane
        i1, i2, i3 = i + s, i + np.uint64(2) * s, i + np.uint64(3) * s
        i4, i5, i6, i7 = i + np.uint64(4) * s, i + np.uint64(5) * s, i + np.uint64(6) * s, i + np.uint64(7) * s
        d0, d1, d2, d3, d4, d5, d6, d7 = (
            block[i], block[i1], block[i2], block[i3], block[i4], block[i5], block[i6], block[i7],
        )  # fmt: skip
        t0, t7, t1, t6 = _plus(d0, d7), _minus(d0, d7), _plus(d1, d6), _minus(d1, d6)
        t2, t5, t3, t4 = _plus(d2, d5), _minus(d2, d5), _plus(d3, d4), _minus(d3, d4)
        e0, e3, e1, e2 = _plus(t0, t3), _minus(t0, t3), _plus(t1, t2), _minus(t1, t2)
        if even < 0:
            block[i], block[i4] = _times(_plus(e0, e1), 1 << -even), _times(_minus(e0, e1), 1 << -even)
        else:
            block[i], block[i4] = _descale(_plus(e0, e1), even), _descale(_minus(e0, e1), even)
        z1 = _times(_plus(e2, e3), 4433)
        block[i2] = _descale(_plus(z1, _times(e3, 6270)), odd)
        block[i6] = _descale(_plus(z1, _times(e2, -15137)), odd)
        a, b, c, d = _rotate(t4, t5, t6, t7)
        block[i7], block[i5], block[i3], block[i1] = (
            _descale(a, odd),
            _descale(b, odd),
            _descale(c, odd),
            _descale(d, odd),
        )


@inline
def _inverse(block: I32, start: Any, step: Any, bits: Any) -> None:
    """One pass of the inverse DCT."""
    s = np.uint64(step)
    for lane in range(np.uint64(LANES)):
        i = np.uint64(start) + lane
        i1, i2, i3 = i + s, i + np.uint64(2) * s, i + np.uint64(3) * s
        i4, i5, i6, i7 = i + np.uint64(4) * s, i + np.uint64(5) * s, i + np.uint64(6) * s, i + np.uint64(7) * s
        d0, d1, d2, d3, d4, d5, d6, d7 = (
            block[i], block[i1], block[i2], block[i3], block[i4], block[i5], block[i6], block[i7],
        )  # fmt: skip
        z1 = _times(_plus(d2, d6), 4433)
        t2, t3 = _plus(z1, _times(d6, -15137)), _plus(z1, _times(d2, 6270))
        t0, t1 = _times(_plus(d0, d4), 8192), _times(_minus(d0, d4), 8192)
        e0, e3, e1, e2 = _plus(t0, t3), _minus(t0, t3), _plus(t1, t2), _minus(t1, t2)
        a, b, c, d = _rotate(d7, d5, d3, d1)
        block[i], block[i7] = _descale(_plus(e0, d), bits), _descale(_minus(e0, d), bits)
        block[i1], block[i6] = _descale(_plus(e1, c), bits), _descale(_minus(e1, c), bits)
        block[i2], block[i5] = _descale(_plus(e2, b), bits), _descale(_minus(e2, b), bits)
        block[i3], block[i4] = _descale(_plus(e3, a), bits), _descale(_minus(e3, a), bits)


@inline
def _quantise(block: I32, table: I32) -> None:
    """Divide each coefficient by its step, round halves away from 0, and multiply again."""
    for k in range(64):
        step = table[k]
        divisor = np.float32(step * 8)  # the transform leaves a factor of 8
        half = np.int32(step * 4)
        start = np.uint64(k * LANES)
        for lane in range(np.uint64(LANES)):
            i = start + lane
            value = block[i]
            sign = np.int32(value >> np.int32(31))
            magnitude = _plus(_minus(np.int32(value ^ sign), sign), half)
            # Exact: numerator and divisor are small integers, so the quotient is never rounded across a whole number.
            level = _times(np.int32(np.float32(magnitude) / divisor), step)
            block[i] = _minus(np.int32(level ^ sign), sign)


@inline
def _transform(plane: U8, table: I32, block: I32) -> None:
    """Code and decode a plane (8 h, 8 w) in place."""
    columns = plane.shape[1] // 8
    total = plane.shape[0] // 8 * columns
    flat, pitch = plane.reshape(-1), np.uint64(plane.shape[1])
    for first in range(0, total, LANES):
        used = min(LANES, total - first)
        for lane in range(used):
            corner = np.uint64((first + lane) // columns * 8) * pitch + np.uint64((first + lane) % columns * 8)
            for r in range(np.uint64(8)):
                for c in range(np.uint64(8)):
                    place = (r * np.uint64(8) + c) * np.uint64(LANES) + np.uint64(lane)
                    block[place] = np.int32(flat[corner + r * pitch + c]) - np.int32(128)
        for r in range(8):
            _forward(block, r * 8 * LANES, LANES, -2, 11)
        for c in range(8):
            _forward(block, c * LANES, 8 * LANES, 2, 15)
        _quantise(block, table)
        for c in range(8):
            _inverse(block, c * LANES, 8 * LANES, 11)
        for r in range(8):
            _inverse(block, r * 8 * LANES, LANES, 18)
        for lane in range(used):
            corner = np.uint64((first + lane) // columns * 8) * pitch + np.uint64((first + lane) % columns * 8)
            for r in range(np.uint64(8)):
                for c in range(np.uint64(8)):
                    place = (r * np.uint64(8) + c) * np.uint64(LANES) + np.uint64(lane)
                    flat[corner + r * pitch + c] = _clamp(_plus(block[place], np.int32(128)))


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
    block = np.zeros(64 * LANES, np.int32)
    luma = np.empty(((height + 7) // 8 * 8, (width + 7) // 8 * 8), np.uint8)
    half_height, half_width = (height + 1) // 2, (width + 1) // 2
    chroma = np.empty((2, (half_height + 7) // 8 * 8, (half_width + 7) // 8 * 8), np.uint8)
    full = np.empty((2, 2, 2 * chroma.shape[2]), np.uint8)  # (blue or red, row of a pair, x)
    sums = np.empty(half_width, np.int32)
    blue, red = np.empty(2 * half_width, np.int32), np.empty(2 * half_width, np.int32)
    for i in range(count):
        if channels == 1:
            for y in range(height):
                luma[y, :width] = x[i, y, :, 0]
            _extend(luma, height, width)
            _transform(luma, tables[0], block)
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
        _transform(chroma.reshape(-1, chroma.shape[2]), tables[1], block)
        _transform(luma, tables[0], block)
        for y in range(height):
            near = y // 2
            far = max(near - 1, 0) if y % 2 == 0 else min(near + 1, half_height - 1)
            _enlarge(chroma[0, near], chroma[0, far], sums, blue)
            _enlarge(chroma[1, near], chroma[1, far], sums, red)
            _to_rgb(luma[y], blue, red, out[i, y].reshape(-1))


def recompressed(x: U8, quality: int) -> U8:
    """Return copies of pictures (N, H, W, C) after a JPEG round trip of a quality from 1 to 100, as Pillow makes it."""
    out = np.empty_like(x)
    if len(x):
        round_trip(np.ascontiguousarray(x), out, quantisers(quality))
    return out
