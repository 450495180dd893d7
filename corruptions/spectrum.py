"""Noise of a given amplitude spectrum and random phases: the real part of an inverse Fourier transform, of deviation 1."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcrbench.corruptions import exact
from lcrbench.corruptions.drawn import uniform
from lcrbench.corruptions.draws import Draws
from lcrbench.corruptions.elementary import cosine, sine
from lcrbench.corruptions.kernel import inline, kernel

F64 = NDArray[np.float64]


def phases(draws: Draws, k: int, slot: int, side: int) -> F64:
    """Return the phases (side, side) of picture k, uniform on (0, 2 pi), the same at a place and at the opposite one."""
    half = side // 2
    left = uniform(draws, k, slot, side * half, 0.0, 2.0 * np.pi).reshape(side, half)
    if side % 2 == 0:
        return np.concatenate([left, left[::-1, ::-1]], axis=1)
    middle = uniform(draws, k, slot + 100, half, 0.0, 2.0 * np.pi)
    column = np.concatenate([middle, [0.0], middle[::-1]])[:, None]
    return np.concatenate([left, column, left[::-1, ::-1]], axis=1)


@functools.lru_cache(maxsize=32)
def distances(side: int) -> F64:
    """Return each frequency's distance (side, side) to the middle of the array."""
    d = np.arange(side, dtype=np.float64) - side / 2
    return np.sqrt(d[:, None] ** 2 + d[None] ** 2)


@functools.lru_cache(maxsize=32)
def _plan(side: int) -> tuple[NDArray[np.int64], F64, F64]:
    """Return the prime factors of `side`, and the cosines and sines of its whole turns divided by it."""
    factors, rest = [], side
    for p in range(2, side + 1):
        while rest % p == 0:
            factors.append(p)
            rest //= p
    turns = 2.0 * np.pi * np.arange(side) / side
    return np.array(factors, np.int64), exact.cos(turns), exact.sin(turns)


@inline
def _columns(re: F64, im: F64, re2: F64, im2: F64, factors: Any, cosines: F64, sines: F64) -> Any:
    """Transform the columns by Stockham's method, a pass a factor; return the two buffers that hold the result first."""
    n, lanes = re.shape
    length, stride = n, 1
    for f in range(len(factors)):
        p = factors[f]
        m = length // p
        for q in range(m):
            for r in range(p):
                for s in range(stride):
                    a, b = re2[s + stride * (p * q + r)], im2[s + stride * (p * q + r)]
                    a[:], b[:] = 0.0, 0.0
                    for t in range(p):
                        turn = (r * (t * m + q) * (n // length)) % n
                        c, d = cosines[turn], sines[turn]
                        u, v = re[s + stride * (q + m * t)], im[s + stride * (q + m * t)]
                        for j in range(lanes):
                            a[j] += u[j] * c - v[j] * d
                            b[j] += u[j] * d + v[j] * c
        re, im, re2, im2 = re2, im2, re, im
        length, stride = m, stride * p
    return re, im, re2, im2


@kernel
def _field(amplitude: F64, phase: F64, factors: NDArray[np.int64], cosines: F64, sines: F64) -> F64:
    n = len(amplitude)
    re, im = np.empty((n, n)), np.empty((n, n))
    re2, im2 = np.empty((n, n)), np.empty((n, n))
    for y in range(n):
        for x in range(n):
            row, column = (y + n // 2) % n, (x + n // 2) % n
            re[row, column] = amplitude[y, x] * cosine(phase[y, x])
            im[row, column] = amplitude[y, x] * sine(phase[y, x])
    re, im, re2, im2 = _columns(re, im, re2, im2, factors, cosines, sines)
    for y in range(n):
        for x in range(n):
            re2[x, y], im2[x, y] = re[y, x], im[y, x]
    re, im, re2, im2 = _columns(re2, im2, re, im, factors, cosines, sines)
    total = 0.0
    for x in range(n):
        for y in range(n):
            total += re[x, y]
    mean, square = total / (n * n), 0.0
    for x in range(n):
        for y in range(n):
            square += (re[x, y] - mean) * (re[x, y] - mean)
    scale = 1.0 / np.sqrt(square / (n * n))
    for y in range(n):
        for x in range(n):
            re2[y, x] = re[x, y] * scale
    out: F64 = re2
    return out


def field(amplitude: F64, phase: F64) -> F64:
    """Return the noise (side, side) of an amplitude (side, side), whose middle is frequency 0, and phases in radians."""
    return _field(amplitude, np.ascontiguousarray(phase), *_plan(len(amplitude)))
