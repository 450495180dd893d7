"""The kernels that are called: a segment's operations image by image, and the table of normalized pixels.

Each is given addresses, and trusts them: `machine` alone calls `run`, after it has checked every size.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lcrbench.models.packed import fields as f
from lcrbench.models.packed.compiled import inline, kernel
from lcrbench.models.packed.convolution import convolve, window_sums
from lcrbench.models.packed.maps import centre, finish, shrink, sign
from lcrbench.vectors import (
    load_byte,
    load_float,
    store_float,
)


@inline
def _at(place: Any, offset: Any, given: Any, beside: Any, wanted: Any, own: Any) -> Any:
    if place == 0:
        return given + offset * 4
    if place == 1:
        return beside + offset * 4
    if place == 2:
        return wanted + offset * 4
    return own + offset * 4


@kernel
def run(
    op: Any, tables: Any, memory: Any, given: Any, beside: Any, wanted: Any, sizes: Any, first: Any, last: Any
) -> Any:
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
        for line in range(len(op)):
            to = _at(op[line, f.TO], op[line, f.TO_AT], a, b, c, own)
            x = _at(op[line, f.FROM], op[line, f.FROM_AT], a, b, c, own)
            kind = op[line, f.KIND]
            if kind == f.CONVOLVE:
                if op[line, f.LEVELS] != 0:
                    window_sums(op, line, bits, counts, sums)
                convolve(op, line, weights, parameters, bases, levels, bits, windows, sums, to, x)
            elif kind == f.FINISH:
                finish(op, line, parameters, bits, to, x)
            elif kind == f.SIGN:
                sign(op, line, parameters, bits, x)
            elif kind == f.CENTRE:
                doubt |= centre(op, line, bits, x, work)
            else:
                shrink(op, line, to, x)
        doubts += doubt
    return doubts


@kernel
def look_up(pixels: Any, table: Any, out: Any, n: Any) -> Any:
    """Normalized pixels (n, 3) from a table (256, 3) of what each byte becomes."""
    for i in range(n):
        for c in range(3):
            store_float(out, i * 3 + c, load_float(table, np.intp(load_byte(pixels, i * 3 + c)) * 3 + c))
