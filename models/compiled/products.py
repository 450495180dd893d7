"""Products of matrices of whole numbers: the same bits in any order of summation, so in the fastest.

The matrices of one image have 16 to 64 rows and columns, where a general matrix product takes several times as long.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lcrbench.models.compiled import kernel
from lcrbench.vectors import fused, load_floats, splat_float, store_floats, zeros


def fits(x: Tensor, y: Tensor, out: Tensor) -> bool:
    """Tell whether `product` takes these: plain float32 on the processor, dense, channels in sixteens, one thread."""
    return (
        torch.get_num_threads() == 1
        and all(
            type(a) is Tensor
            and a.device.type == "cpu"
            and a.dtype == torch.float32
            and a.is_contiguous()
            and a.shape[2] % 16 == 0
            for a in (x, y, out)
        )
        and out.shape[1] % 16 == 0
    )


def product(x: Tensor, y: Tensor, out: Tensor) -> None:
    """Write x^T y (N, p, q) of x (N, positions, p) and y (N, positions, q) to `out`, if `fits` takes them.

    The bits are those of any other order if all numbers are multiples of one power of two, and all partial sums at most
    2^24 times as large.
    """
    (n, positions, p), q = x.shape, y.shape[2]
    _product(x.data_ptr(), y.data_ptr(), out.data_ptr(), n, positions, p, q)


@kernel
def _product(x: Any, y: Any, out: Any, n: Any, positions: Any, p: Any, q: Any) -> None:
    for image in range(n):
        for row in range(0, p, 16):
            for column in range(0, q, 16):
                a = x + (image * positions * p + row) * 4
                b = y + (image * positions * q + column) * 4
                s0, s1, s2, s3, s4, s5, s6, s7 = zeros(), zeros(), zeros(), zeros(), zeros(), zeros(), zeros(), zeros()
                t0, t1, t2, t3, t4, t5, t6, t7 = zeros(), zeros(), zeros(), zeros(), zeros(), zeros(), zeros(), zeros()
                for k in range(positions):
                    v = load_floats(b, k * q)
                    i = k * p
                    s0 = fused(splat_float(a, i), v, s0)
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
                to = (image * p + row) * q + column
                store_floats(out, to, s0)
                store_floats(out, to + q, s1)
                store_floats(out, to + 2 * q, s2)
                store_floats(out, to + 3 * q, s3)
                store_floats(out, to + 4 * q, s4)
                store_floats(out, to + 5 * q, s5)
                store_floats(out, to + 6 * q, s6)
                store_floats(out, to + 7 * q, s7)
                store_floats(out, to + 8 * q, t0)
                store_floats(out, to + 9 * q, t1)
                store_floats(out, to + 10 * q, t2)
                store_floats(out, to + 11 * q, t3)
                store_floats(out, to + 12 * q, t4)
                store_floats(out, to + 13 * q, t5)
                store_floats(out, to + 14 * q, t6)
                store_floats(out, to + 15 * q, t7)
