"""Compiled loops over the maps of one image: what follows a real convolution, signs, means, shortcuts."""

from __future__ import annotations

from typing import Any

import numpy as np

from lcrbench.models.packed import fields as f
from lcrbench.models.packed.after import activated, normalized
from lcrbench.models.packed.compiled import inline, kernel
from lcrbench.vectors import (
    at_least,
    everywhere,
    fours,
    larger,
    load_float,
    load_floats,
    magnitude,
    over,
    plus,
    store_16,
    store_floats,
    zeros,
)


@inline
def _finished(x: Any, i: Any, op: Any, line: Any, p: Any) -> Any:
    return normalized(activated(load_floats(x, i), op[line, f.BEFORE], p), op[line, f.FUSED] != 0, p)


@kernel
def finish(op: Any, line: Any, parameters: Any, bits: Any, to: Any, x: Any) -> Any:
    """What follows a real convolution whose output is (HEIGHT, WIDTH, OUT); rows and columns are those after the pool."""
    channels, width, height, pool = op[line, f.OUT], op[line, f.WIDTH], op[line, f.HEIGHT], op[line, f.POOL]
    for ob in range(channels // 16):
        p = parameters + (op[line, f.PARAMETERS] + ob * f.BLOCK) * 4
        threshold = load_floats(p, f.THRESHOLD * 16)
        for r in range(op[line, f.ROWS]):
            for c in range(op[line, f.COLUMNS]):
                if pool == f.UNPOOLED:
                    v = activated(_finished(x, (r * width + c) * channels + ob * 16, op, line, p), op[line, f.AFTER], p)
                elif pool == f.POOL_THREE:
                    v = zeros()
                    first = True
                    for y in range(max(2 * r - 1, 0), min(2 * r + 2, height)):
                        for k in range(max(2 * c - 1, 0), min(2 * c + 2, width)):
                            u = _finished(x, (y * width + k) * channels + ob * 16, op, line, p)
                            u = activated(u, op[line, f.AFTER], p)
                            v = u if first else larger(v, u)
                            first = False
                else:
                    i = (2 * r * width + 2 * c) * channels + ob * 16
                    j = i + width * channels
                    if pool == f.POOL_FIRST:
                        v = larger(larger(load_floats(x, i), load_floats(x, i + channels)), load_floats(x, j))
                        v = normalized(larger(v, load_floats(x, j + channels)), op[line, f.FUSED] != 0, p)
                        v = activated(v, op[line, f.AFTER], p)
                    else:
                        v = larger(_finished(x, i, op, line, p), _finished(x, i + channels, op, line, p))
                        u = larger(_finished(x, j, op, line, p), _finished(x, j + channels, op, line, p))
                        v = larger(v, u)
                n = r * op[line, f.COLUMNS] + c
                if op[line, f.TO] != f.NONE:
                    store_floats(to, n * channels + ob * 16, v)
                if op[line, f.SIGNS] != f.NONE:
                    b = op[line, f.SIGNS] + ((r + 1) * (op[line, f.COLUMNS] + 2) + c + 1) * op[line, f.SIGNS_PITCH] + ob
                    store_16(bits, b, at_least(v, threshold))


@kernel
def sign(op: Any, line: Any, parameters: Any, bits: Any, x: Any) -> Any:
    """Signs by a threshold of each channel."""
    channels, width = op[line, f.IN], op[line, f.WIDTH]
    for ob in range(channels // 16):
        threshold = load_floats(parameters + (op[line, f.PARAMETERS] + ob * f.BLOCK) * 4, f.THRESHOLD * 16)
        for r in range(op[line, f.HEIGHT]):
            for c in range(width):
                v = load_floats(x, (r * width + c) * channels + ob * 16)
                b = op[line, f.SIGNS] + ((r + 1) * (width + 2) + c + 1) * op[line, f.SIGNS_PITCH] + ob
                store_16(bits, b, at_least(v, threshold))


@kernel
def total(x: Any, n: Any, work: Any) -> Any:
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
def centre(op: Any, line: Any, bits: Any, x: Any, work: Any) -> Any:
    """Signs of an image less its mean; returns whether torch may round a distance from the mean to nothing.

    (x - mean) / std >= 0 is x >= mean, unless the quotient underflows, or a square overflows in the deviation.
    """
    channels, width = op[line, f.IN], op[line, f.WIDTH]
    n = op[line, f.HEIGHT] * width * channels
    most = zeros()
    for i in range(0, n, 16):
        most = larger(most, magnitude(load_floats(x, i)))
    mean = np.float32(total(x, n, work) / np.float32(n))
    store_floats(work, 0, most)
    top = np.float32(1)
    for k in range(16):
        top = max(top, load_float(work, k))
    doubt: Any = top > np.float32(1e15)
    if abs(mean) < top * np.float32(2.0**-100):
        for i in range(n):
            distance = abs(np.float32(load_float(x, i) - mean))
            if 0 < distance < top * np.float32(2.0**-120):
                doubt = True
    threshold = everywhere(mean)
    for r in range(op[line, f.HEIGHT]):
        for c in range(width):
            b = op[line, f.SIGNS] + ((r + 1) * (width + 2) + c + 1) * op[line, f.SIGNS_PITCH]
            for ob in range(channels // 16):
                v = load_floats(x, (r * width + c) * channels + ob * 16)
                store_16(bits, b + ob, at_least(v, threshold))
    return doubt


@kernel
def shrink(op: Any, line: Any, to: Any, x: Any) -> Any:
    """The mean of 2 x 2 positions (MEAN) or every STRIDE-th one (TAKE), with zeros for new channels on either side."""
    channels, out, width, stride = op[line, f.IN], op[line, f.OUT], op[line, f.WIDTH], op[line, f.STRIDE]
    half = (out - channels) // 2
    for r in range(op[line, f.ROWS]):
        for c in range(op[line, f.COLUMNS]):
            o = (r * op[line, f.COLUMNS] + c) * out
            i = (r * stride * width + c * stride) * channels
            for k in range(0, out, 16):
                store_floats(to, o + k, zeros())
            for k in range(0, channels, 16):
                v = load_floats(x, i + k)
                if op[line, f.KIND] == f.MEAN:
                    v = plus(v, load_floats(x, i + channels + k))
                    v = plus(v, load_floats(x, i + width * channels + k))
                    v = over(plus(v, load_floats(x, i + (width + 1) * channels + k)), fours())
                store_floats(to, o + half + k, v)
