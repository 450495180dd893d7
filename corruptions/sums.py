"""Weighted sums of shifted rows, kept in vector registers from the first addend to the last.

A sum of each float32 of a row is made in the order of the weights, so that it has the same bits on every processor. What
is read is given by address: all functions here read up to `MARGIN` floats beyond the row that they make, and write
nothing but it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcrbench.corruptions.kernel import forced
from lcrbench.vectors import LANES as LANES
from lcrbench.vectors import (
    everywhere,
    larger,
    load_byte,
    load_floats,
    load_place,
    plus,
    smaller,
    splat_float,
    store_byte,
    store_bytes,
    store_floats,
    times,
    to_int,
    zeros,
)

SIX = 6 * LANES  # floats that are summed up side by side: as many as hide the time that an addition takes
MARGIN = SIX


def room(*shape: int) -> NDArray[np.float32]:
    """Return a new array of this shape, uninitialised, aligned to a vector, and with the margin behind it."""
    size = int(np.prod(shape))
    whole = np.empty(LANES + size + MARGIN, np.float32)
    first = -whole.ctypes.data // 4 % LANES
    return whole[first : first + size].reshape(shape)


@forced
def to_bytes(values: Any, slack: Any) -> Any:
    """Return gray levels as ints: with the slack added, clipped to 0..255 and truncated."""
    return to_int(smaller(larger(plus(values, slack), zeros()), everywhere(np.float32(255.0))))


@forced
def store_levels(target: Any, j: Any, count: Any, levels: Any, spare: Any) -> None:
    """Store levels at target + j, only the first `count` if fewer than sixteen; `spare` has room for sixteen bytes."""
    if count >= LANES:
        store_bytes(target, j, levels)
    else:
        store_bytes(spare, 0, levels)
        for k in range(count):
            store_byte(target, j + k, load_byte(spare, k))


@forced
def _six_taps(source: Any, places: Any, weights: Any, taps: Any, j: Any) -> Any:
    i, w = load_place(places, 0) + j, splat_float(weights, 0)
    a, b, c = (
        times(load_floats(source, i), w),
        times(load_floats(source, i + 16), w),
        times(load_floats(source, i + 32), w),
    )
    d, e = times(load_floats(source, i + 48), w), times(load_floats(source, i + 64), w)
    f = times(load_floats(source, i + 80), w)
    for k in range(1, taps):
        i, w = load_place(places, k) + j, splat_float(weights, k)
        a = plus(a, times(load_floats(source, i), w))
        b = plus(b, times(load_floats(source, i + 16), w))
        c = plus(c, times(load_floats(source, i + 32), w))
        d = plus(d, times(load_floats(source, i + 48), w))
        e = plus(e, times(load_floats(source, i + 64), w))
        f = plus(f, times(load_floats(source, i + 80), w))
    return a, b, c, d, e, f


@forced
def _taps(source: Any, places: Any, weights: Any, taps: Any, j: Any) -> Any:
    a = times(load_floats(source, load_place(places, 0) + j), splat_float(weights, 0))
    for k in range(1, taps):
        a = plus(a, times(load_floats(source, load_place(places, k) + j), splat_float(weights, k)))
    return a


@forced
def _store_six(target: Any, j: Any, a: Any, b: Any, c: Any, d: Any, e: Any, f: Any, extra: Any) -> None:
    """Write six vectors side by side at target + j as gray levels."""
    store_bytes(target, j, to_bytes(a, extra))
    store_bytes(target, j + 16, to_bytes(b, extra))
    store_bytes(target, j + 32, to_bytes(c, extra))
    store_bytes(target, j + 48, to_bytes(d, extra))
    store_bytes(target, j + 64, to_bytes(e, extra))
    store_bytes(target, j + 80, to_bytes(f, extra))


@forced
def weigh(source: Any, places: Any, weights: Any, taps: Any, slack: Any, target: Any, length: Any, spare: Any) -> None:
    """Write sum_k weights[k] * source[places[k] + j] at target + j as gray levels, for j = 0..length-1."""
    extra = everywhere(np.float32(slack))
    j = 0
    while length - j >= SIX:
        a, b, c, d, e, f = _six_taps(source, places, weights, taps, j)
        _store_six(target, j, a, b, c, d, e, f, extra)
        j += SIX
    while j < length:
        store_levels(target, j, length - j, to_bytes(_taps(source, places, weights, taps, j), extra), spare)
        j += LANES


@forced
def _pair(source: Any, i: Any, t: Any, w: Any) -> Any:
    return times(plus(load_floats(source, i - t), load_floats(source, i + t)), w)


@forced
def _six_pairs(source: Any, step: Any, half: Any, reach: Any, i: Any) -> Any:
    w = splat_float(half, 0)
    a, b, c = (
        times(load_floats(source, i), w),
        times(load_floats(source, i + 16), w),
        times(load_floats(source, i + 32), w),
    )
    d, e = times(load_floats(source, i + 48), w), times(load_floats(source, i + 64), w)
    f = times(load_floats(source, i + 80), w)
    for k in range(1, reach + 1):
        t, w = k * step, splat_float(half, k)
        a = plus(a, _pair(source, i, t, w))
        b = plus(b, _pair(source, i + 16, t, w))
        c = plus(c, _pair(source, i + 32, t, w))
        d = plus(d, _pair(source, i + 48, t, w))
        e = plus(e, _pair(source, i + 64, t, w))
        f = plus(f, _pair(source, i + 80, t, w))
    return a, b, c, d, e, f


@forced
def _pairs(source: Any, step: Any, half: Any, reach: Any, i: Any) -> Any:
    a = times(load_floats(source, i), splat_float(half, 0))
    for k in range(1, reach + 1):
        a = plus(a, _pair(source, i, k * step, splat_float(half, k)))
    return a


@forced
def blur(source: Any, step: Any, half: Any, reach: Any, target: Any, length: Any) -> None:
    """Write half[0] s[j] + sum_k half[k] (s[j - k step] + s[j + k step]) at target + j; it takes the margin's place too."""
    j = 0
    while length - j >= SIX:
        a, b, c, d, e, f = _six_pairs(source, step, half, reach, j)
        store_floats(target, j, a)
        store_floats(target, j + 16, b)
        store_floats(target, j + 32, c)
        store_floats(target, j + 48, d)
        store_floats(target, j + 64, e)
        store_floats(target, j + 80, f)
        j += SIX
    while j < length:
        store_floats(target, j, _pairs(source, step, half, reach, j))
        j += LANES


@forced
def blur_to_levels(
    source: Any, step: Any, half: Any, reach: Any, slack: Any, target: Any, length: Any, spare: Any
) -> None:
    """As `blur`, but write gray levels."""
    extra = everywhere(np.float32(slack))
    j = 0
    while length - j >= SIX:
        a, b, c, d, e, f = _six_pairs(source, step, half, reach, j)
        _store_six(target, j, a, b, c, d, e, f, extra)
        j += SIX
    while j < length:
        store_levels(target, j, length - j, to_bytes(_pairs(source, step, half, reach, j), extra), spare)
        j += LANES
