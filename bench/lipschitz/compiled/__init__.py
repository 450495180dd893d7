"""Compiled loops of the search over sets of first signs (`lipschitz.sets`): the nearest point at which a set turns.

For an image x, windows b_v(x) = <W_c, patch_v(x)> + ... of units (`lipschitz.stem`), and the constraints of a set,

    minimize ||d||_2    over s_q (b_q(x + d) - h_q) >= 0 for each constraint q, -x <= d <= 1 - x

has the solution d = clip(sum_q s_q lambda_q g_q, -x, 1 - x) with lambda >= 0, g_q the window as an image. Coordinate ascent
takes one lambda after the other to where its constraint holds just so (Hildreth 1957, the walls of the box in the place of
further constraints: a pixel at its wall leaves its share of a step to the others). A point that is not yet exact is a bad
guess and nothing else: the network judges each.

A unit that turns off needs all of its windows below the threshold; one that turns on needs one above, and takes the nearest.

Arrays of one image: x, d, y (3, H, W) float64, y the sum before it is clipped; of its M nearest units, the nearest first:
`place` (M, 3) channel, row and column, `base` (M, m) windows at x, -infinity for none, `tau` (M), `on` (M). A set is a list
of ranks among these (`ids`, the first `count`), with a lambda for each window (`lam`).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lcrbench import kernels

kernel = kernels.of(Path(__file__).parent)
inline = kernels.forced

CYCLES = 12
TOLERANCE = 1e-3
"""How much less than aimed at suffices, as a share of the radius."""
BEYOND = 1e-5
"""How far behind its threshold a turned unit lies at least, in pixel units."""
TOGGLE, SWAP = 0, 1
ATTEMPTS = 8
"""Changes of a set that are tried until one is near enough; none of them costs a pass."""


class Image(NamedTuple):
    """An image, the windows of its network, and its nearest units, as above."""

    x: np.ndarray
    w: np.ndarray
    length: np.ndarray
    """||W_c||_2 (C)"""
    geometry: tuple[int, int, int, int, int]
    """the windows' stride and padding, and the pool's kernel, stride and padding"""
    place: np.ndarray
    base: np.ndarray
    tau: np.ndarray
    on: np.ndarray


@inline
def _random(state: np.uint64) -> tuple[np.uint64, float]:
    """Return the next state of a splitmix64 generator (Steele et al. 2014), and a number in [0, 1)."""
    state = state + np.uint64(0x9E3779B97F4A7C15)
    z = state
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return state, (z >> np.uint64(11)) / 9007199254740992.0


@inline
def _inside(top: int, k: int, extent: int) -> tuple[int, int]:
    """Return the taps of a window of k from `top` on that lie on the image."""
    return max(0, -top), min(k, extent - top)


@inline
def _dot(w: np.ndarray, c: int, top: int, left: int, v: np.ndarray) -> float:
    """Return <W_c, v> at a window."""
    i0, i1 = _inside(top, w.shape[2], v.shape[1])
    j0, j1 = _inside(left, w.shape[3], v.shape[2])
    total = 0.0
    for channel in range(w.shape[1]):
        for i in range(i0, i1):
            for j in range(j0, j1):
                total += w[c, channel, i, j] * v[channel, top + i, left + j]
    return total


@inline
def _slope(w: np.ndarray, c: int, top: int, left: int, y: np.ndarray, x: np.ndarray, side: float) -> float:
    """Return d/dt <W_c, clip(y + t side W_c)> to the right of t = 0: the squares of the taps whose pixels can move."""
    i0, i1 = _inside(top, w.shape[2], x.shape[1])
    j0, j1 = _inside(left, w.shape[3], x.shape[2])
    total = 0.0
    for channel in range(w.shape[1]):
        for i in range(i0, i1):
            for j in range(j0, j1):
                move = side * w[c, channel, i, j]
                at = x[channel, top + i, left + j] + y[channel, top + i, left + j]
                if (at > 0 or move > 0) and (at < 1 or move < 0):
                    total += move * move
    return total


@inline
def _push(
    w: np.ndarray, c: int, top: int, left: int, y: np.ndarray, d: np.ndarray, x: np.ndarray, share: float
) -> None:
    """Add a share of a window to y, and clip d there."""
    i0, i1 = _inside(top, w.shape[2], x.shape[1])
    j0, j1 = _inside(left, w.shape[3], x.shape[2])
    for channel in range(w.shape[1]):
        for i in range(i0, i1):
            for j in range(j0, j1):
                r, q = top + i, left + j
                y[channel, r, q] += share * w[c, channel, i, j]
                low = -x[channel, r, q]
                d[channel, r, q] = min(max(y[channel, r, q], low), 1 + low)


@kernel
def nearest(
    image: Image,
    ids: np.ndarray,
    count: int,
    lam: np.ndarray,
    radius: float,
    y: np.ndarray,
    d: np.ndarray,
) -> float:
    """Set d to the least displacement that turns a set of units, from the lambdas of a set like it; return ||d||_2."""
    x, w, length, geometry, place, base, tau, on = image
    stride, padding, kernel_size, pool_stride, pool_padding = geometry
    m = kernel_size * kernel_size
    y[:] = 0
    d[:] = 0
    n = 0
    which, window = np.empty(count * m, np.int64), np.empty(count * m, np.int64)
    tops, lefts = np.empty(count * m, np.int64), np.empty(count * m, np.int64)
    for k in range(count):
        unit = ids[k]
        first, last = 0, m
        if not on[unit]:
            first = int(np.argmax(base[unit]))
            last = first + 1
        for v in range(first, last):
            if base[unit, v] == -np.inf:
                continue
            which[n], window[n] = k, v
            tops[n] = (place[unit, 1] * pool_stride - pool_padding + v // kernel_size) * stride - padding
            lefts[n] = (place[unit, 2] * pool_stride - pool_padding + v % kernel_size) * stride - padding
            if lam[k, v] > 0:
                side = -1.0 if on[unit] else 1.0
                _push(w, place[unit, 0], tops[n], lefts[n], y, d, x, side * lam[k, v])
            n += 1
    # What no step has touched since it was looked at is as it was.
    touched = np.ones(n, np.bool_)
    for _ in range(CYCLES):
        worst = 0.0
        for q in range(n):
            if not touched[q]:
                continue
            touched[q] = False
            k, v, top, left = which[q], window[q], tops[q], lefts[q]
            unit = ids[k]
            c = place[unit, 0]
            side = -1.0 if on[unit] else 1.0
            threshold = tau[unit] + side * (BEYOND + TOLERANCE * radius) * length[c]
            gap = side * (threshold - base[unit, v] - _dot(w, c, top, left, d))
            if gap <= 0 and lam[k, v] == 0:
                continue
            far = abs(gap) / length[c]
            worst = max(worst, far)
            if far < TOLERANCE * radius:
                continue
            slope = _slope(w, c, top, left, y, x, side if gap > 0 else -side)
            if slope < 1e-12:  # all its pixels are at their walls, so far
                slope = length[c] * length[c]
            new = max(0.0, lam[k, v] + gap / slope)
            if new != lam[k, v]:
                _push(w, c, top, left, y, d, x, side * (new - lam[k, v]))
                lam[k, v] = new
                for p in range(n):
                    if abs(tops[p] - top) < w.shape[2] and abs(lefts[p] - left) < w.shape[3]:
                        touched[p] = True
        if worst < TOLERANCE * radius:
            break
    total = 0.0
    for channel in range(x.shape[0]):
        for i in range(x.shape[1]):
            for j in range(x.shape[2]):
                total += d[channel, i, j] * d[channel, i, j]
    return math.sqrt(total)


@kernel
def changed(
    kind: int,
    seed: int,
    following: int,
    among: int,
    image: Image,
    ids: np.ndarray,
    count: int,
    lam: np.ndarray,
    radius: float,
    new_ids: np.ndarray,
    new_lam: np.ndarray,
    y: np.ndarray,
    d: np.ndarray,
) -> tuple[int, int]:
    """Change a set by one of the `among` nearest units, the next in turn, and set d to where it turns.

    TOGGLE: the unit more or fewer. SWAP: the unit in the place of a random one. A set that turns further out than `radius`
    is passed over, for a few attempts. Return the size of the new set, and the unit to begin the next change with.
    """
    state = np.uint64(seed)
    n = 0
    for _ in range(ATTEMPTS):
        for k in range(count):
            new_ids[k] = ids[k]
            new_lam[k] = lam[k]
        n = count
        at, unit = -1, 0
        for _ in range(among):
            unit = following % among
            following += 1
            at = -1
            for k in range(n):
                if new_ids[k] == unit:
                    at = k
            if kind == TOGGLE or at < 0:
                break
        if at >= 0:
            n -= 1
            new_ids[at] = new_ids[n]
            new_lam[at] = new_lam[n]
        elif n < len(ids) and (kind == TOGGLE or n == 0):
            new_ids[n] = unit
            new_lam[n] = 0
            n += 1
        elif n:
            state, share = _random(state)
            k = int(share * n)
            new_ids[k] = unit
            new_lam[k] = 0
        if nearest(image, new_ids, n, new_lam, radius, y, d) <= radius * 1.02:
            break
    return n, following % among
