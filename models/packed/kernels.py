"""The compiled loops: all operations of one segment, image by image, on vectors of sixteen channels.

For the signs under a window and those of a filter, as bits of which `count` differ,

    conv = C valid taps - 2 (count - those on the border)  =  base[border, output] - 2 count,

because the border's bits are 0 and each one of the filter there is counted: `base` is C valid taps + 2 times the filter's
ones on taps that are cut off. What follows repeats torch's float32 operations one by one, each rounded as there.

Each function is given addresses, and trusts them: `engine` alone calls `run`, after it has checked every size.
"""

from __future__ import annotations

import numpy as np

from lcrbench.kernels import inline, kernel
from lcrbench.models.packed.fields import (
    AFTER,
    ALPHA,
    BEFORE,
    BETA,
    BITS,
    CASES,
    CENTRE,
    CLIP,
    COLUMNS,
    CONVOLVE,
    FINISH,
    FIRST,
    FROM,
    FROM_AT,
    FUSED,
    HEIGHT,
    IN,
    KERNEL,
    KIND,
    LEAKY,
    LEVEL,
    LEVELS,
    MEAN,
    NONE,
    OFFSET,
    OUT,
    PARAMETERS,
    POOL,
    POOL_FIRST,
    POOL_LAST,
    POOL_THREE,
    RELU,
    ROWS,
    ROWS_OF_PARAMETERS,
    SCALE,
    SECOND,
    SHIFTED_LEAKY,
    SIGN,
    SIGNS,
    SIGNS_BLOCK,
    SIGNS_PITCH,
    STRIDE,
    THIRD,
    THRESHOLD,
    TO,
    TO_AT,
    TO_CHANNEL,
    TO_PITCH,
    TWO_SLOPES,
    UNPOOLED,
    WEIGHTS,
    WIDTH,
    WORDS,
)
from lcrbench.models.packed.vectors import (
    add,
    at_least,
    count_16,
    count_ones,
    everywhere,
    fours,
    fused,
    larger,
    leaky,
    load_16,
    load_64,
    load_byte,
    load_float,
    load_floats,
    load_ints,
    magnitude,
    minus,
    over,
    plus,
    smaller,
    splat_float,
    splat_int,
    store_16,
    store_64,
    store_float,
    store_floats,
    subtract,
    times,
    to_float,
    xor,
    zero,
    zeros,
)

BLOCK = ROWS_OF_PARAMETERS * 16
LOW_48 = np.uint64(0xFFFFFFFFFFFF)
SHIFT_16, SHIFT_32, SHIFT_48 = np.uint64(16), np.uint64(32), np.uint64(48)


@inline
def _activated(v, kind, p):
    if kind == CLIP:
        v = smaller(larger(v, load_floats(p, FIRST * 16)), load_floats(p, SECOND * 16))
    elif kind == RELU:
        v = larger(v, zeros())
    elif kind == LEAKY:
        v = leaky(v, load_floats(p, FIRST * 16))
    elif kind == SHIFTED_LEAKY:
        v = leaky(minus(v, load_floats(p, FIRST * 16)), load_floats(p, SECOND * 16))
        v = plus(v, load_floats(p, THIRD * 16))
    elif kind == TWO_SLOPES:
        below = times(smaller(v, zeros()), load_floats(p, SECOND * 16))
        v = plus(times(larger(v, zeros()), load_floats(p, FIRST * 16)), below)
    return v


@inline
def _normalized(v, once, p):
    if once:
        return fused(v, load_floats(p, ALPHA * 16), load_floats(p, BETA * 16))
    return plus(times(v, load_floats(p, ALPHA * 16)), load_floats(p, BETA * 16))


@inline
def _value(count, case, p, bases, levels, sums, place, affine):
    """The convolution's output from a count of bits that differ."""
    v = times(to_float(subtract(load_ints(bases, case), add(count, count))), load_floats(p, SCALE * 16))
    if affine:
        v = plus(v, times(splat_float(sums, place), load_floats(p, OFFSET * 16)))
        v = plus(times(v, load_floats(p, LEVEL * 16)), load_floats(levels, case))
    return v


@inline
def _border(at, stride, size, padding):
    """Whether a window is cut off before (1) and behind (2) along one side."""
    return padding * ((at == 0) + 2 * (at * stride + 2 > size))


@inline
def _convolve(op, l, weights, parameters, bases, levels, bits, sums, to, beside, source, start, pitch, row, rows, words, step):
    """Four positions at a time, those of a pool's window or side by side, and sixteen outputs."""
    out, height, width, stride = op[l, OUT], op[l, HEIGHT], op[l, WIDTH], op[l, STRIDE]
    down, across, pool = op[l, ROWS], op[l, COLUMNS], op[l, POOL]
    padding = 1 if op[l, KERNEL] == 3 else 0
    before, after, once, affine = op[l, BEFORE], op[l, AFTER], op[l, FUSED] != 0, op[l, LEVELS] != 0
    keep, added, signs = op[l, TO] != NONE, op[l, FROM] != NONE, op[l, SIGNS]
    to_pitch, to_channel, pitch_out, size = op[l, TO_PITCH], op[l, TO_CHANNEL], op[l, SIGNS_PITCH], op[l, WORDS] * 16
    wide = across
    step_r, step_c = 1, 4
    if pool != UNPOOLED:
        wide, step_r, step_c = across // 2, 2, 2
    for ob in range(out // 16):
        w = op[l, WEIGHTS] + ob * size
        p = parameters + (op[l, PARAMETERS] + ob * BLOCK) * 4
        o = op[l, CASES] + ob * 16
        threshold = load_floats(p, THRESHOLD * 16)
        z = to_channel + ob * 16
        for r in range(0, down, step_r):
            r0 = _border(r, stride, height, padding) * 4
            for c in range(0, across, step_c):
                if pool != UNPOOLED:
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
                n0 = zero()
                n1 = zero()
                n2 = zero()
                n3 = zero()
                j = w
                for dr in range(rows):
                    d = dr * step
                    for _ in range(words):
                        x = load_ints(weights, j)
                        n0 = add(n0, count_ones(xor(x, splat_int(source, i0 + d))))
                        n1 = add(n1, count_ones(xor(x, splat_int(source, i1 + d))))
                        n2 = add(n2, count_ones(xor(x, splat_int(source, i2 + d))))
                        n3 = add(n3, count_ones(xor(x, splat_int(source, i3 + d))))
                        d += 1
                        j += 16
                v0 = _value(n0, k0 * out + o, p, bases, levels, sums, place, affine)
                v1 = _value(n1, k1 * out + o, p, bases, levels, sums, s1, affine)
                v2 = _value(n2, k2 * out + o, p, bases, levels, sums, s2, affine)
                v3 = _value(n3, k3 * out + o, p, bases, levels, sums, s3, affine)
                if pool == POOL_FIRST:
                    v0 = larger(larger(v0, v1), larger(v2, v3))
                elif before != 0:
                    v0, v1 = _activated(v0, before, p), _activated(v1, before, p)
                    v2, v3 = _activated(v2, before, p), _activated(v3, before, p)
                if pool == UNPOOLED:
                    v0, v1 = _normalized(v0, once, p), _normalized(v1, once, p)
                    v2, v3 = _normalized(v2, once, p), _normalized(v3, once, p)
                    if added:
                        f = place * out + ob * 16
                        v0 = plus(v0, load_floats(beside, f))
                        v1 = plus(v1, load_floats(beside, f + a1 * out))
                        v2 = plus(v2, load_floats(beside, f + a2 * out))
                        v3 = plus(v3, load_floats(beside, f + a3 * out))
                    if after != 0:
                        v0, v1 = _activated(v0, after, p), _activated(v1, after, p)
                        v2, v3 = _activated(v2, after, p), _activated(v3, after, p)
                    if keep:
                        t = place * to_pitch + z
                        store_floats(to, t, v0)
                        if left > 1:
                            store_floats(to, t + to_pitch, v1)
                        if left > 2:
                            store_floats(to, t + 2 * to_pitch, v2)
                        if left > 3:
                            store_floats(to, t + 3 * to_pitch, v3)
                    if signs != NONE:
                        b = signs + ((r + 1) * (wide + 2) + c + 1) * pitch_out + op[l, SIGNS_BLOCK] + ob
                        store_16(bits, b, at_least(v0, threshold))
                        if left > 1:
                            store_16(bits, b + pitch_out, at_least(v1, threshold))
                        if left > 2:
                            store_16(bits, b + 2 * pitch_out, at_least(v2, threshold))
                        if left > 3:
                            store_16(bits, b + 3 * pitch_out, at_least(v3, threshold))
                else:
                    v0 = _normalized(v0, once, p)
                    if pool == POOL_LAST:
                        v1, v2, v3 = _normalized(v1, once, p), _normalized(v2, once, p), _normalized(v3, once, p)
                        v0 = larger(larger(v0, v1), larger(v2, v3))
                    v0 = _activated(v0, after, p)
                    if keep:
                        store_floats(to, ((r // 2) * wide + c // 2) * to_pitch + z, v0)
                    if signs != NONE:
                        b = signs + ((r // 2 + 1) * (wide + 2) + c // 2 + 1) * pitch_out + op[l, SIGNS_BLOCK] + ob
                        store_16(bits, b, at_least(v0, threshold))


@inline
def _gather(op, l, bits, windows):
    """Windows of a map of 16 channels, one after the other: 3 x 3 x 16 bits as five words of 32, or 16 bits as one."""
    width, stride, i0 = op[l, WIDTH], op[l, STRIDE], op[l, BITS]
    row = width + 2
    for r in range(op[l, ROWS]):
        for c in range(op[l, COLUMNS]):
            i = i0 + r * stride * row + c * stride
            n = r * op[l, COLUMNS] + c
            if op[l, KERNEL] == 3:
                x0, x1, x2 = load_64(bits, i), load_64(bits, i + row), load_64(bits, i + 2 * row)
                store_64(windows, n * 10, (x0 & LOW_48) | (x1 << SHIFT_48))
                store_64(windows, n * 10 + 4, ((x1 & LOW_48) >> SHIFT_16) | (x2 << SHIFT_32))
                store_16(windows, n * 10 + 8, np.uint16(x2 >> SHIFT_32))
                store_16(windows, n * 10 + 9, np.uint16(0))
            else:
                store_16(windows, n * 2, load_16(bits, i + row + 1))
                store_16(windows, n * 2 + 1, np.uint16(0))


@kernel
def convolve(op, l, weights, parameters, bases, levels, bits, windows, sums, to, beside):
    stride, width = op[l, STRIDE], op[l, WIDTH]
    if op[l, IN] == 16:
        _gather(op, l, bits, windows)
        if op[l, KERNEL] == 3:
            across = op[l, COLUMNS] * 5
            _convolve(op, l, weights, parameters, bases, levels, bits, sums, to, beside, windows, 0, 5, across, 1, 5, 0)
            return
        source, start, pitch, row, rows, words, step = windows, 0, 1, op[l, COLUMNS], 1, 1, 0
    else:
        n = op[l, IN] // 32
        step = (width + 2) * n
        source, start, pitch, row = bits, op[l, BITS] // 2, stride * n, stride * step
        if op[l, KERNEL] == 3:
            rows, words = 3, 3 * n
            if n == 1:
                _convolve(op, l, weights, parameters, bases, levels, bits, sums, to, beside, bits, start, pitch, row, 3, 3, step)
                return
            if n == 2:
                _convolve(op, l, weights, parameters, bases, levels, bits, sums, to, beside, bits, start, pitch, row, 3, 6, step)
                return
        else:
            start += step + n
            rows, words = 1, n
    _convolve(
        op, l, weights, parameters, bases, levels, bits, sums, to, beside, source, start, pitch, row, rows, words, step
    )


@kernel
def window_sums(op, l, bits, counts, sums):
    """The sum of the signs under each window, zeros of the padding apart."""
    channels, height, width, stride = op[l, IN], op[l, HEIGHT], op[l, WIDTH], op[l, STRIDE]
    n, row = channels // 16, width + 2
    for r in range(height + 2):
        for c in range(row):
            ones, i = 0, op[l, BITS] + (r * row + c) * n
            for k in range(n):
                ones += count_16(load_16(bits, i + k))
            inside = 0 < r <= height and 0 < c <= width
            store_float(counts, r * row + c, np.float32(2 * ones - channels * inside))
    for r in range(op[l, ROWS]):
        for c in range(op[l, COLUMNS]):
            i = r * stride * row + c * stride
            if op[l, KERNEL] == 3:
                total = np.float32(0)
                for _ in range(3):
                    total += load_float(counts, i) + load_float(counts, i + 1) + load_float(counts, i + 2)
                    i += row
            else:
                total = load_float(counts, i + row + 1)
            store_float(sums, r * op[l, COLUMNS] + c, total)


@inline
def _finished(x, i, op, l, p):
    return _normalized(_activated(load_floats(x, i), op[l, BEFORE], p), op[l, FUSED] != 0, p)


@kernel
def finish(op, l, parameters, bits, to, x):
    """What follows a real convolution whose output is (HEIGHT, WIDTH, OUT); rows and columns are those after the pool."""
    channels, width, height, pool = op[l, OUT], op[l, WIDTH], op[l, HEIGHT], op[l, POOL]
    for ob in range(channels // 16):
        p = parameters + (op[l, PARAMETERS] + ob * BLOCK) * 4
        threshold = load_floats(p, THRESHOLD * 16)
        for r in range(op[l, ROWS]):
            for c in range(op[l, COLUMNS]):
                if pool == UNPOOLED:
                    v = _activated(_finished(x, (r * width + c) * channels + ob * 16, op, l, p), op[l, AFTER], p)
                elif pool == POOL_THREE:
                    v = zeros()
                    first = True
                    for y in range(max(2 * r - 1, 0), min(2 * r + 2, height)):
                        for k in range(max(2 * c - 1, 0), min(2 * c + 2, width)):
                            u = _finished(x, (y * width + k) * channels + ob * 16, op, l, p)
                            u = _activated(u, op[l, AFTER], p)
                            v = u if first else larger(v, u)
                            first = False
                else:
                    i = (2 * r * width + 2 * c) * channels + ob * 16
                    j = i + width * channels
                    if pool == POOL_FIRST:
                        v = larger(larger(load_floats(x, i), load_floats(x, i + channels)), load_floats(x, j))
                        v = _normalized(larger(v, load_floats(x, j + channels)), op[l, FUSED] != 0, p)
                        v = _activated(v, op[l, AFTER], p)
                    else:
                        v = larger(_finished(x, i, op, l, p), _finished(x, i + channels, op, l, p))
                        u = larger(_finished(x, j, op, l, p), _finished(x, j + channels, op, l, p))
                        v = larger(v, u)
                n = r * op[l, COLUMNS] + c
                if op[l, TO] != NONE:
                    store_floats(to, n * channels + ob * 16, v)
                if op[l, SIGNS] != NONE:
                    b = op[l, SIGNS] + ((r + 1) * (op[l, COLUMNS] + 2) + c + 1) * op[l, SIGNS_PITCH] + ob
                    store_16(bits, b, at_least(v, threshold))


@kernel
def sign(op, l, parameters, bits, x):
    """Signs by a threshold of each channel."""
    channels, width = op[l, IN], op[l, WIDTH]
    for ob in range(channels // 16):
        threshold = load_floats(parameters + (op[l, PARAMETERS] + ob * BLOCK) * 4, THRESHOLD * 16)
        for r in range(op[l, HEIGHT]):
            for c in range(width):
                v = load_floats(x, (r * width + c) * channels + ob * 16)
                b = op[l, SIGNS] + ((r + 1) * (width + 2) + c + 1) * op[l, SIGNS_PITCH] + ob
                store_16(bits, b, at_least(v, threshold))


@kernel
def total(x, n, work):
    """The sum of n floats, a multiple of 16, in the order in which torch adds up a contiguous image.

    There are 32 sums side by side, each over four levels, of which one passes its sum on to the next after a power of two
    of numbers; then four eights are added up, then their places. `work` has room for 32 floats.
    """
    rounds, logarithm = n // 32, 0
    while (1 << logarithm) < rounds:
        logarithm += 1
    power = max(4, logarithm // 4)
    step, mask = 1 << power, (1 << power) - 1
    a0, a1, a2, a3 = zeros(), zeros(), zeros(), zeros()
    b0, b1, b2, b3 = zeros(), zeros(), zeros(), zeros()
    i = 0
    while i + step <= rounds:
        for _ in range(step):
            a0 = plus(a0, load_floats(x, i * 32))
            b0 = plus(b0, load_floats(x, i * 32 + 16))
            i += 1
        a1, b1 = plus(a1, a0), plus(b1, b0)
        a0, b0 = zeros(), zeros()
        if i & (mask << power) == 0:
            a2, b2 = plus(a2, a1), plus(b2, b1)
            a1, b1 = zeros(), zeros()
            if i & (mask << (2 * power)) == 0:
                a3, b3 = plus(a3, a2), plus(b3, b2)
                a2, b2 = zeros(), zeros()
    while i < rounds:
        a0 = plus(a0, load_floats(x, i * 32))
        b0 = plus(b0, load_floats(x, i * 32 + 16))
        i += 1
    store_floats(work, 0, plus(plus(plus(a0, a1), a2), a3))
    store_floats(work, 16, plus(plus(plus(b0, b1), b2), b3))
    found = np.float32(0)
    for k in range(8):
        place = load_float(work, k)
        # Eights beyond the last whole round.
        for j in range(rounds * 32, n, 8):
            place = np.float32(place + load_float(x, j + k))
        place = np.float32(place + load_float(work, 8 + k))
        place = np.float32(place + load_float(work, 16 + k))
        found = np.float32(found + np.float32(place + load_float(work, 24 + k)))
    return found


@kernel
def centre(op, l, bits, x, work):
    """Signs of an image less its mean; returns whether torch may round a distance from the mean to nothing.

    (x - mean) / std >= 0 is x >= mean, unless the quotient underflows, or a square overflows in the deviation.
    """
    channels, width = op[l, IN], op[l, WIDTH]
    n = op[l, HEIGHT] * width * channels
    most = zeros()
    for i in range(0, n, 16):
        most = larger(most, magnitude(load_floats(x, i)))
    mean = np.float32(total(x, n, work) / np.float32(n))
    store_floats(work, 0, most)
    top = np.float32(1)
    for k in range(16):
        top = max(top, load_float(work, k))
    doubt = top > np.float32(1e15)
    if abs(mean) < top * np.float32(2.0**-100):
        for i in range(n):
            distance = abs(np.float32(load_float(x, i) - mean))
            if 0 < distance < top * np.float32(2.0**-120):
                doubt = True
    threshold = everywhere(mean)
    for r in range(op[l, HEIGHT]):
        for c in range(width):
            b = op[l, SIGNS] + ((r + 1) * (width + 2) + c + 1) * op[l, SIGNS_PITCH]
            for ob in range(channels // 16):
                v = load_floats(x, (r * width + c) * channels + ob * 16)
                store_16(bits, b + ob, at_least(v, threshold))
    return doubt


@kernel
def shrink(op, l, to, x):
    """The mean of 2 x 2 positions (MEAN) or every STRIDE-th one (TAKE), with zeros for new channels on either side."""
    channels, out, width, stride = op[l, IN], op[l, OUT], op[l, WIDTH], op[l, STRIDE]
    half = (out - channels) // 2
    for r in range(op[l, ROWS]):
        for c in range(op[l, COLUMNS]):
            o = (r * op[l, COLUMNS] + c) * out
            i = (r * stride * width + c * stride) * channels
            for k in range(0, out, 16):
                store_floats(to, o + k, zeros())
            for k in range(0, channels, 16):
                v = load_floats(x, i + k)
                if op[l, KIND] == MEAN:
                    v = plus(v, load_floats(x, i + channels + k))
                    v = plus(v, load_floats(x, i + width * channels + k))
                    v = over(plus(v, load_floats(x, i + (width + 1) * channels + k)), fours())
                store_floats(to, o + half + k, v)


@inline
def _at(place, offset, given, beside, wanted, own):
    if place == 0:
        return given + offset * 4
    if place == 1:
        return beside + offset * 4
    if place == 2:
        return wanted + offset * 4
    return own + offset * 4


@kernel
def run(op, tables, memory, given, beside, wanted, sizes, first, last):
    """Run a segment on images `first` to `last`; returns how many of them are in doubt.

    `tables`: addresses of filters, parameters, constants by border (int32, float32). `memory`: of a thread's own bits,
    windows, counts, sums, work and floats. `given`, `beside`, `wanted`: addresses of floats, `sizes` an image.
    """
    weights, parameters, bases, levels = tables[0], tables[1], tables[2], tables[3]
    bits, windows, counts, sums, work, own = memory[0], memory[1], memory[2], memory[3], memory[4], memory[5]
    doubts = 0
    for n in range(first, last):
        a, b, c = given + n * sizes[0] * 4, beside + n * sizes[1] * 4, wanted + n * sizes[2] * 4
        doubt = False
        for l in range(len(op)):
            to = _at(op[l, TO], op[l, TO_AT], a, b, c, own)
            x = _at(op[l, FROM], op[l, FROM_AT], a, b, c, own)
            kind = op[l, KIND]
            if kind == CONVOLVE:
                if op[l, LEVELS] != 0:
                    window_sums(op, l, bits, counts, sums)
                convolve(op, l, weights, parameters, bases, levels, bits, windows, sums, to, x)
            elif kind == FINISH:
                finish(op, l, parameters, bits, to, x)
            elif kind == SIGN:
                sign(op, l, parameters, bits, x)
            elif kind == CENTRE:
                doubt |= centre(op, l, bits, x, work)
            else:
                shrink(op, l, to, x)
        doubts += doubt
    return doubts


@kernel
def look_up(pixels, table, out, n):
    """Normalized pixels (n, 3) from a table (256, 3) of what each byte becomes."""
    for i in range(n):
        for c in range(3):
            store_float(out, i * 3 + c, load_float(table, np.intp(load_byte(pixels, i * 3 + c)) * 3 + c))
