"""Products of matrices of whole numbers: the same bits in any order of summation, so in the fastest.

The matrices of one image have 16 to 64 rows and columns, where a general matrix product takes several times as long.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lcrbench.models.compiled import inline, kernel, watched_by_nobody
from lcrbench.vectors import fused, load_floats, splat_float, store_floats, zeros


def fits(*tensors: Tensor) -> bool:
    """Tell whether `multiply` takes (N, positions, channels): dense, float32 on the processor, channels in sixteens.

    It does not where torch's operations are counted or traced.
    """
    return (
        watched_by_nobody()
        and torch.get_num_threads() == 1
        and all(
            type(x) is Tensor and x.is_cpu and x.dtype == torch.float32 and x.is_contiguous() and x.shape[2] % 16 == 0
            for x in tensors
        )
    )


def multiply(factors: Sequence[tuple[Tensor, Tensor, Tensor]]) -> None:
    """Write x^T y of x (N, positions, p) and y (N, positions, q) to out (N, p, q), for each (x, y, out).

    All of them must be as `fits` says, and the outputs of one shape without gaps. The bits are those of any other order if
    all numbers are multiples of one power of two, and no partial sum is more than 2^24 times as large as that.
    """
    if factors:
        table = [(x.data_ptr(), y.data_ptr(), out.data_ptr(), x.shape[1]) for x, y, out in factors]
        _multiply(np.array(table), *factors[0][2].shape)


@kernel
def _multiply(table: Any, n: Any, p: Any, q: Any) -> None:
    # Image by image: the output of a pair is the input of the next, and still in the cache.
    for image in range(n):
        for pair in range(len(table)):
            x, y, out, positions = table[pair, 0], table[pair, 1], table[pair, 2], table[pair, 3]
            for row in range(0, p, 16):
                for column in range(0, q, 16):
                    _tile(
                        x + (image * positions * p + row) * 4,
                        y + (image * positions * q + column) * 4,
                        out + ((image * p + row) * q + column) * 4,
                        positions,
                        p,
                        q,
                    )


@inline
def _tile(a: Any, b: Any, out: Any, positions: Any, p: Any, q: Any) -> None:
    """Sixteen rows and columns of one product."""
    s0, s1, s2, s3, s4, s5, s6, s7 = zeros(), zeros(), zeros(), zeros(), zeros(), zeros(), zeros(), zeros()
    t0, t1, t2, t3, t4, t5, t6, t7 = zeros(), zeros(), zeros(), zeros(), zeros(), zeros(), zeros(), zeros()
    for k in range(positions):
        v = load_floats(b, k * q)
        i = k * p
        s0 = fused(splat_float(a, i + 0), v, s0)
        s1 = fused(splat_float(a, i + 1), v, s1)
        s2 = fused(splat_float(a, i + 2), v, s2)
        s3 = fused(splat_float(a, i + 3), v, s3)
        s4 = fused(splat_float(a, i + 4), v, s4)
        s5 = fused(splat_float(a, i + 5), v, s5)
        s6 = fused(splat_float(a, i + 6), v, s6)
        s7 = fused(splat_float(a, i + 7), v, s7)
        t0 = fused(splat_float(a, i + 8), v, t0)
        t1 = fused(splat_float(a, i + 9), v, t1)
        t2 = fused(splat_float(a, i + 10), v, t2)
        t3 = fused(splat_float(a, i + 11), v, t3)
        t4 = fused(splat_float(a, i + 12), v, t4)
        t5 = fused(splat_float(a, i + 13), v, t5)
        t6 = fused(splat_float(a, i + 14), v, t6)
        t7 = fused(splat_float(a, i + 15), v, t7)
    store_floats(out, 0 * q, s0)
    store_floats(out, 1 * q, s1)
    store_floats(out, 2 * q, s2)
    store_floats(out, 3 * q, s3)
    store_floats(out, 4 * q, s4)
    store_floats(out, 5 * q, s5)
    store_floats(out, 6 * q, s6)
    store_floats(out, 7 * q, s7)
    store_floats(out, 8 * q, t0)
    store_floats(out, 9 * q, t1)
    store_floats(out, 10 * q, t2)
    store_floats(out, 11 * q, t3)
    store_floats(out, 12 * q, t4)
    store_floats(out, 13 * q, t5)
    store_floats(out, 14 * q, t6)
    store_floats(out, 15 * q, t7)
