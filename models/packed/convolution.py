"""The binary convolution, compiled: four positions and sixteen outputs at a time, with all that follows it.

For the signs under a window and those of a filter, as bits of which `count` differ,

    conv = C valid taps - 2 (count - those on the border)  =  base[border, output] - 2 count,

because the border's bits are 0 and each one of the filter there is counted: `base` is C valid taps + 2 times the filter's
ones on taps that are cut off.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lcrbench.models.packed import fields as f
from lcrbench.models.packed.after import activated, normalized
from lcrbench.models.packed.compiled import inline, kernel
from lcrbench.vectors import (
    add,
    at_least,
    count_16,
    count_in_bytes,
    count_ones,
    counts_at_once,
    larger,
    load_16,
    load_64,
    load_float,
    load_floats,
    load_ints,
    plus,
    splat_float,
    splat_int,
    store_16,
    store_64,
    store_float,
    store_floats,
    subtract,
    sum_of_bytes,
    times,
    to_float,
    xor,
    zero,
)

LOW_48 = np.uint64(0xFFFFFFFFFFFF)
SHIFT_16, SHIFT_32, SHIFT_48 = np.uint64(16), np.uint64(32), np.uint64(48)

AT_ONCE = counts_at_once()
FULL = 31
"""Words whose set bits a byte can count. Without an instruction for 32 bits, counting bytes takes half the operations."""

if AT_ONCE:
    _ones = count_ones

    @inline
    def _whole(n: Any) -> Any:
        return n
else:
    _ones = count_in_bytes

    @inline
    def _whole(n: Any) -> Any:
        """The counts of four vectors of bytes, as ints."""
        return sum_of_bytes(n[0]), sum_of_bytes(n[1]), sum_of_bytes(n[2]), sum_of_bytes(n[3])


@inline
def _value(count: Any, case: Any, p: Any, bases: Any, levels: Any, sums: Any, place: Any, affine: Any) -> Any:
    """The convolution's output from a count of bits that differ."""
    v = times(to_float(subtract(load_ints(bases, case), add(count, count))), load_floats(p, f.SCALE * 16))
    if affine:
        v = plus(v, times(splat_float(sums, place), load_floats(p, f.OFFSET * 16)))
        v = plus(times(v, load_floats(p, f.LEVEL * 16)), load_floats(levels, case))
    return v


@inline
def _border(at: Any, stride: Any, size: Any, padding: Any) -> Any:
    """Whether a window is cut off before (1) and behind (2) along one side."""
    return padding * ((at == 0) + 2 * (at * stride + 2 > size))


@inline
def _run(weights: Any, j: Any, source: Any, i0: Any, i1: Any, i2: Any, i3: Any, words: Any, so_far: Any) -> Any:
    """`so_far` and how many bits of sixteen filters differ from those of four windows, in a run of words each."""
    n0, n1, n2, n3 = so_far
    for d in range(words):
        x = load_ints(weights, j + 16 * d)
        n0 = add(n0, _ones(xor(x, splat_int(source, i0 + d))))
        n1 = add(n1, _ones(xor(x, splat_int(source, i1 + d))))
        n2 = add(n2, _ones(xor(x, splat_int(source, i2 + d))))
        n3 = add(n3, _ones(xor(x, splat_int(source, i3 + d))))
    return n0, n1, n2, n3


@inline
def _counts(
    weights: Any, j: Any, source: Any, i0: Any, i1: Any, i2: Any, i3: Any, rows: Any, words: Any, step: Any
) -> Any:
    """How many bits of sixteen filters differ from those of four windows, of `rows` runs of words each."""
    nothing = zero(), zero(), zero(), zero()
    if AT_ONCE or rows * words <= FULL:
        n = nothing
        for row in range(rows):
            d = row * step
            n = _run(weights, j + 16 * row * words, source, i0 + d, i1 + d, i2 + d, i3 + d, words, n)
        return _whole(n)
    n0, n1, n2, n3 = nothing
    for row in range(rows):
        for first in range(0, words, FULL):
            d, part = row * step + first, min(FULL, words - first)
            at = j + 16 * (row * words + first)
            m = _whole(_run(weights, at, source, i0 + d, i1 + d, i2 + d, i3 + d, part, nothing))
            n0, n1, n2, n3 = add(n0, m[0]), add(n1, m[1]), add(n2, m[2]), add(n3, m[3])
    return n0, n1, n2, n3


@inline
def _gather(op: Any, line: Any, bits: Any, windows: Any) -> Any:
    """Windows of a map of 16 channels, one after the other: 3 x 3 x 16 bits as five words of 32, or 16 bits as one."""
    width, stride, i0 = op[line, f.WIDTH], op[line, f.STRIDE], op[line, f.BITS]
    row = width + 2
    for r in range(op[line, f.ROWS]):
        for c in range(op[line, f.COLUMNS]):
            i = i0 + r * stride * row + c * stride
            n = r * op[line, f.COLUMNS] + c
            if op[line, f.KERNEL] == 3:
                x0, x1, x2 = load_64(bits, i), load_64(bits, i + row), load_64(bits, i + 2 * row)
                store_64(windows, n * 10, (x0 & LOW_48) | (x1 << SHIFT_48))
                store_64(windows, n * 10 + 4, ((x1 & LOW_48) >> SHIFT_16) | (x2 << SHIFT_32))
                store_16(windows, n * 10 + 8, np.uint16(x2 >> SHIFT_32))
                store_16(windows, n * 10 + 9, np.uint16(0))
            else:
                store_16(windows, n * 2, load_16(bits, i + row + 1))
                store_16(windows, n * 2 + 1, np.uint16(0))


@kernel
def convolve(
    op: Any,
    line: Any,
    weights: Any,
    parameters: Any,
    bases: Any,
    levels: Any,
    bits: Any,
    windows: Any,
    sums: Any,
    to: Any,
    beside: Any,
) -> Any:
    """A binary convolution of one image: four positions at a time, side by side or a pool's window, and sixteen outputs."""
    out, height, width, stride = op[line, f.OUT], op[line, f.HEIGHT], op[line, f.WIDTH], op[line, f.STRIDE]
    if op[line, f.IN] == 16:
        _gather(op, line, bits, windows)
        source, start, step, rows = windows, 0, 0, 1
        words = 5 if op[line, f.KERNEL] == 3 else 1
        pitch, row = words, op[line, f.COLUMNS] * words
    else:
        n = op[line, f.IN] // 32
        step = (width + 2) * n
        source, start, pitch, row = bits, op[line, f.BITS] // 2, stride * n, stride * step
        rows, words = 3, 3 * n
        if op[line, f.KERNEL] == 1:
            start += step + n
            rows, words = 1, n
    down, across, pool = op[line, f.ROWS], op[line, f.COLUMNS], op[line, f.POOL]
    padding = 1 if op[line, f.KERNEL] == 3 else 0
    before, after, once, affine = op[line, f.BEFORE], op[line, f.AFTER], op[line, f.FUSED] != 0, op[line, f.LEVELS] != 0
    keep, added, signs = op[line, f.TO] != f.NONE, op[line, f.FROM] != f.NONE, op[line, f.SIGNS]
    to_pitch, to_channel, pitch_out, size = (
        op[line, f.TO_PITCH],
        op[line, f.TO_CHANNEL],
        op[line, f.SIGNS_PITCH],
        op[line, f.WORDS] * 16,
    )
    wide = across
    step_r, step_c = 1, 4
    if pool != f.UNPOOLED:
        wide, step_r, step_c = across // 2, 2, 2
    for ob in range(out // 16):
        w = op[line, f.WEIGHTS] + ob * size
        p = parameters + (op[line, f.PARAMETERS] + ob * f.BLOCK) * 4
        o = op[line, f.CASES] + ob * 16
        threshold = load_floats(p, f.THRESHOLD * 16)
        z = to_channel + ob * 16
        for r in range(0, down, step_r):
            r0 = _border(r, stride, height, padding) * 4
            for c in range(0, across, step_c):
                if pool != f.UNPOOLED:
                    left = 4
                    i0 = start + r * row + c * pitch
                    i1, i2 = i0 + pitch, i0 + row
                    i3 = i2 + pitch
                    c0, c1 = _border(c, stride, width, padding), _border(c + 1, stride, width, padding)
                    r1 = _border(r + 1, stride, height, padding) * 4
                    k0, k1, k2, k3 = r0 + c0, r0 + c1, r1 + c0, r1 + c1
                    place = r * across + c
                    s1, s2 = place + 1, place + across
                    s3 = s2 + 1
                else:
                    # At the right edge what is beyond it repeats the last position, and is not stored.
                    left = min(across - c, 4)
                    a1, a2, a3 = min(1, left - 1), min(2, left - 1), left - 1
                    i0 = start + r * row + c * pitch
                    i1, i2, i3 = i0 + a1 * pitch, i0 + a2 * pitch, i0 + a3 * pitch
                    k0 = r0 + _border(c, stride, width, padding)
                    k1 = r0 + _border(c + a1, stride, width, padding)
                    k2 = r0 + _border(c + a2, stride, width, padding)
                    k3 = r0 + _border(c + a3, stride, width, padding)
                    place = r * across + c
                    s1, s2, s3 = place + a1, place + a2, place + a3
                # With its length written out a loop takes up to 15 % less.
                if words == 3 and rows == 3:
                    n0, n1, n2, n3 = _counts(weights, w, source, i0, i1, i2, i3, 3, 3, step)
                elif words == 6 and rows == 3:
                    n0, n1, n2, n3 = _counts(weights, w, source, i0, i1, i2, i3, 3, 6, step)
                elif words == 5 and rows == 1:
                    n0, n1, n2, n3 = _counts(weights, w, source, i0, i1, i2, i3, 1, 5, step)
                else:
                    n0, n1, n2, n3 = _counts(weights, w, source, i0, i1, i2, i3, rows, words, step)
                v0 = _value(n0, k0 * out + o, p, bases, levels, sums, place, affine)
                v1 = _value(n1, k1 * out + o, p, bases, levels, sums, s1, affine)
                v2 = _value(n2, k2 * out + o, p, bases, levels, sums, s2, affine)
                v3 = _value(n3, k3 * out + o, p, bases, levels, sums, s3, affine)
                if pool == f.POOL_FIRST:
                    v0 = larger(larger(v0, v1), larger(v2, v3))
                elif before != 0:
                    v0, v1 = activated(v0, before, p), activated(v1, before, p)
                    v2, v3 = activated(v2, before, p), activated(v3, before, p)
                if pool == f.UNPOOLED:
                    v0, v1 = normalized(v0, once, p), normalized(v1, once, p)
                    v2, v3 = normalized(v2, once, p), normalized(v3, once, p)
                    if added:
                        s = place * out + ob * 16
                        v0 = plus(v0, load_floats(beside, s))
                        v1 = plus(v1, load_floats(beside, s + a1 * out))
                        v2 = plus(v2, load_floats(beside, s + a2 * out))
                        v3 = plus(v3, load_floats(beside, s + a3 * out))
                    if after != 0:
                        v0, v1 = activated(v0, after, p), activated(v1, after, p)
                        v2, v3 = activated(v2, after, p), activated(v3, after, p)
                    if keep:
                        t = place * to_pitch + z
                        store_floats(to, t, v0)
                        if left > 1:
                            store_floats(to, t + to_pitch, v1)
                        if left > 2:
                            store_floats(to, t + 2 * to_pitch, v2)
                        if left > 3:
                            store_floats(to, t + 3 * to_pitch, v3)
                    if signs != f.NONE:
                        b = signs + ((r + 1) * (wide + 2) + c + 1) * pitch_out + op[line, f.SIGNS_BLOCK] + ob
                        store_16(bits, b, at_least(v0, threshold))
                        if left > 1:
                            store_16(bits, b + pitch_out, at_least(v1, threshold))
                        if left > 2:
                            store_16(bits, b + 2 * pitch_out, at_least(v2, threshold))
                        if left > 3:
                            store_16(bits, b + 3 * pitch_out, at_least(v3, threshold))
                else:
                    v0 = normalized(v0, once, p)
                    if pool == f.POOL_LAST:
                        v1, v2, v3 = normalized(v1, once, p), normalized(v2, once, p), normalized(v3, once, p)
                        v0 = larger(larger(v0, v1), larger(v2, v3))
                    v0 = activated(v0, after, p)
                    if keep:
                        store_floats(to, ((r // 2) * wide + c // 2) * to_pitch + z, v0)
                    if signs != f.NONE:
                        b = signs + ((r // 2 + 1) * (wide + 2) + c // 2 + 1) * pitch_out + op[line, f.SIGNS_BLOCK] + ob
                        store_16(bits, b, at_least(v0, threshold))


@kernel
def window_sums(op: Any, line: Any, bits: Any, counts: Any, sums: Any) -> Any:
    """The sum of the signs under each window, zeros of the padding apart."""
    channels, height, width, stride = op[line, f.IN], op[line, f.HEIGHT], op[line, f.WIDTH], op[line, f.STRIDE]
    n, row = channels // 16, width + 2
    for r in range(height + 2):
        for c in range(row):
            ones, i = 0, op[line, f.BITS] + (r * row + c) * n
            for k in range(n):
                ones += count_16(load_16(bits, i + k))
            inside = 0 < r <= height and 0 < c <= width
            store_float(counts, r * row + c, np.float32(2 * ones - channels * inside))
    for r in range(op[line, f.ROWS]):
        for c in range(op[line, f.COLUMNS]):
            i = r * stride * row + c * stride
            if op[line, f.KERNEL] == 3:
                total = np.float32(0)
                for _ in range(3):
                    total += load_float(counts, i) + load_float(counts, i + 1) + load_float(counts, i + 2)
                    i += row
            else:
                total = load_float(counts, i + row + 1)
            store_float(sums, r * op[line, f.COLUMNS] + c, total)
