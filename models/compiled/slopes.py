"""The gradient of the error decay estimator, for small t without the hyperbolic tangent where its last bit is no matter.

    dS/dx = max(t, 1) (1 - tanh(a)^2),   a = t x            (estimators/ede.py)

Torch rounds a, h = tanh(a), h^2 and the difference to float32. A float32 just below 1 is a multiple of 2^-24, and h^2 is
small where t is, so that an error of h in its last place hardly ever changes which multiple is the nearest. With the series

    T^2 = a^2 - 2/3 a^4 + 17/45 a^6 - 62/315 a^8 + 1382/14175 a^10 - 21844/467775 a^12 + 929569/42567525 a^14 - ...

of tanh(a)^2, to which the rounding error of a^2 is added, the result is torch's if 1 - T^2 is farther from the middle
between two multiples than torch's h^2 may be from T^2. That is 5 T^2 2^-24: 4 for a tanh that is right to one unit in its
last place, as those of MKL and SLEEF are, and 1 for rounding h^2. Elsewhere torch's own tanh is taken: at t = 0.1 for 2 in
100 of what enters the signs of ResNet-20. Where |x| = 1, as in all that Hardtanh cuts off, there is one slope, by torch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import types
from torch import Tensor

from lcrbench.models.compiled import kernel
from lcrbench.vectors import (
    at_least,
    everywhere,
    first_one,
    fused,
    load_float,
    load_floats,
    load_four,
    magnitude,
    minus,
    plus,
    store_float,
    store_floats,
    store_four,
    times,
    where_equal,
    zeros,
)

HIGHEST = 0.2
"""The largest t for which the series is tried: above it, too many numbers would be left to torch."""

AT_ONCE = 2**17
"""Numbers that are worked on together: few enough to stay in a processor's cache."""

C1, C2, C3 = np.float32(-2 / 3), np.float32(17 / 45), np.float32(-62 / 315)
C4, C5, C6 = np.float32(1382 / 14175), np.float32(-21844 / 467775), np.float32(929569 / 42567525)
MIDDLE = np.float32(2.0**-25)
UNSURE = np.float32(-5.25 * 2.0**-24)  # 5 T^2 2^-24, and a margin for what is rounded here
ONE = np.float32(1.0)


def gradient(grad: Tensor, z: Tensor, t: float) -> Tensor:
    """Return grad max(t, 1) (1 - tanh(t z)^2), to the bit as by torch, for tensors that `serves` takes."""
    if t > HIGHEST:
        h = torch.mul(z, t).tanh_()
        _in_place(h.data_ptr(), grad.data_ptr(), z.numel(), np.float32(max(t, 1.0)))
        return h
    out, n = torch.empty_like(z), z.numel()
    some = max(1, min(n, AT_ONCE))
    places, left = torch.empty(some, dtype=torch.int32), torch.empty(some)
    end = np.float32(1) - torch.full((1,), t).tanh_().square_().numpy()[0]
    x, g, o = z.data_ptr(), grad.data_ptr(), out.data_ptr()
    for first in range(0, n, some):
        at = 4 * first
        count = _by_series(
            x + at, g + at, o + at, min(some, n - first), np.float32(t), end, places.data_ptr(), left.data_ptr()
        )
        if count:
            h = left[:count].tanh_()
            _by_tanh(g + at, o + at, places.data_ptr(), h.data_ptr(), count)
    return out


@kernel
def _by_series(x: Any, grad: Any, out: Any, n: Any, t: Any, end: Any, places: Any, left: Any) -> Any:
    """Write n gradients; write a and the place of each that is left to torch, and return how many these are."""
    factor, one, at_end, middle, unsure = (
        everywhere(t),
        everywhere(ONE),
        everywhere(end),
        everywhere(MIDDLE),
        everywhere(UNSURE),
    )
    c1, c2, c3, c4, c5, c6 = (
        everywhere(C1),
        everywhere(C2),
        everywhere(C3),
        everywhere(C4),
        everywhere(C5),
        everywhere(C6),
    )
    count = 0
    whole = n // 16 * 16
    for i in range(0, whole, 16):
        z = load_floats(x, i)
        a = times(z, factor)
        square = times(a, a)
        series = fused(fused(fused(c6, square, c5), square, c4), square, c3)
        series = fused(fused(series, square, c2), square, c1)
        # T^2 = square + rest: what the square's rounding cut off, and the other terms.
        rest = fused(times(square, square), series, fused(a, a, minus(zeros(), square)))
        near = minus(one, square)
        # 1 - T^2 = near + off: both differences are exact.
        off = minus(minus(minus(one, near), square), rest)
        slope = plus(near, off)
        distance = magnitude(plus(minus(near, slope), off))
        allowed = fused(plus(square, rest), unsure, middle)
        ends = magnitude(z)
        slope = where_equal(ends, one, at_end, slope)
        distance = where_equal(ends, one, minus(allowed, one), distance)
        store_floats(out, i, times(slope, load_floats(grad, i)))
        # A comparison with what is not a number is false.
        mask: Any = types.uint16(at_least(allowed, distance)) ^ types.uint16(0xFFFF)
        while mask:
            k: Any = i + np.intp(first_one(mask))
            mask &= mask - types.uint16(1)
            store_four(places, 4 * count, np.uint32(k))
            store_float(left, count, load_float(x, k) * t)
            count += 1
    for k in range(whole, n):
        store_four(places, 4 * count, np.uint32(k))
        store_float(left, count, load_float(x, k) * t)
        count += 1
    return count


@kernel
def _by_tanh(grad: Any, out: Any, places: Any, h: Any, n: Any) -> None:
    """Write the gradients at n places from the tanh of their a."""
    for j in range(n):
        k, v = np.intp(load_four(places, 4 * j)), load_float(h, j)
        store_float(out, k, (ONE - v * v) * load_float(grad, k))


@kernel
def _in_place(h: Any, grad: Any, n: Any, t: Any) -> None:
    """Put n gradients in the place of the tanh of their a."""
    one, factor = everywhere(ONE), everywhere(t)
    whole = n // 16 * 16
    for i in range(0, whole, 16):
        v = load_floats(h, i)
        store_floats(h, i, times(times(minus(one, times(v, v)), factor), load_floats(grad, i)))
    for k in range(whole, n):
        v = load_float(h, k)
        store_float(h, k, (ONE - v * v) * t * load_float(grad, k))
