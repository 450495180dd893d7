"""Intervals with a closed form: of a proportion, a mean and a quantile.

scipy.stats takes most of a second to import, so a function that needs it imports it: who only reads records does not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike


class Interval(NamedTuple):
    """A value with its two-sided 95 % interval, the number of units it rests on, and how the interval was found."""

    value: float
    low: float | None
    high: float | None
    n: int
    how: str


LEVEL = 0.95


MOST_OUTCOMES = 10**7
"""Most outcomes (images, times severities and corruptions) of a network that a share of them is recognized by."""


def share(value: float) -> Fraction:
    """Return the share of counted outcomes that a float stands for, exactly; a number that is none as it is.

    Sums of outcomes in another order differ in the last bit. Methods are compared and ranked by the counts, so that
    equal counts tie.

    >>> 0.1 + 0.2 == 0.3, share(0.1 + 0.2) == share(0.3)
    (False, True)
    """
    return Fraction(*_counts(value))


def mean_share(counts: Sequence[tuple[int, int]]) -> float:
    """Return the mean of shares as `counted` has them, one a network: equal floats where the counts are equal."""
    top, bottom = 0, 1
    for p, q in counts:
        top, bottom = top * q + p * bottom, bottom * q
    return top / (bottom * len(counts))  # of whole numbers: rounded once


def counted(values: Sequence[float]) -> list[tuple[int, int]]:
    """Return the numerator and denominator of `share` of each number: of thousands at once, as a large report needs.

    >>> counted([0.1 + 0.2, 0.25])
    [(3, 10), (1, 4)]
    """
    x = np.asarray(values, np.float64)
    # What stands for no share stays the float's own fraction, as most numbers of a search do.
    found = [value.as_integer_ratio() for value in x.tolist()]
    inside = (x > 2.0**-9) & (x <= 1)
    # The steps of `_counts` in whole numbers of 64 bits, which hold the fractions of numbers of this size. No step
    # overflows: one of more than 1e15 / q^2 would follow only on a convergent that was close enough.
    left = np.flatnonzero(inside)
    x = x[left]
    size, exponent = np.frexp(x)
    n, d = np.ldexp(size, 53).astype(np.int64), np.left_shift(np.int64(1), 53 - exponent.astype(np.int64))
    p0, q0, p1, q1 = (np.full(x.size, k, np.int64) for k in (0, 1, 1, 0))
    while left.size:
        a = n // d
        p0, q0, p1, q1 = p1, q1, p0 + a * p1, q0 + a * q1
        done = (np.abs(p1 / q1 - x) <= 1e-15) & (q1 <= MOST_OUTCOMES)
        for k, p, q in zip(left[done].tolist(), p1[done].tolist(), q1[done].tolist(), strict=True):
            found[k] = p, q
        rest = n - a * d
        on = ~done & (q1 <= MOST_OUTCOMES) & (rest > 0)
        left, x, n, d = left[on], x[on], d[on], rest[on]
        p0, q0, p1, q1 = p0[on], q0[on], p1[on], q1[on]
    for k in np.flatnonzero(~inside).tolist():
        found[k] = _counts(values[k])
    return found


@lru_cache(maxsize=2**14)
def _counts(value: float) -> tuple[int, int]:
    """Return the fraction with a denominator of at most `MOST_OUTCOMES` within 1e-15 of a float, else the float's own.

    Two such fractions are at least 1e-14 apart, so there is one at most, and by Legendre's theorem it is a convergent of
    the float's continued fraction: the first that is close enough.
    """
    n, d = whole = value.as_integer_ratio()
    p0, q0, p1, q1 = 0, 1, 1, 0
    while d:
        a = n // d
        p0, q0, p1, q1 = p1, q1, p0 + a * p1, q0 + a * q1
        if q1 > MOST_OUTCOMES:
            break
        if abs(p1 / q1 - value) <= 1e-15:
            return p1, q1
        n, d = d, n - a * d
    return whole


def proportion(successes: int, n: int) -> Interval:
    """Return a proportion with its Wilson score interval, n independent images.

    >>> proportion(600, 1000).how
    'Wilson 95 %'
    """
    from scipy import stats

    ci = stats.binomtest(successes, n).proportion_ci(LEVEL, method="wilson")
    return Interval(successes / n, float(ci.low), float(ci.high), n, "Wilson 95 %")


@cache
def _t(df: int) -> float:
    """Return Student's two-sided quantile: a report asks for it thousands of times."""
    from scipy import stats

    return float(stats.t.ppf((1 + LEVEL) / 2, df))


def mean(values: ArrayLike, unit: str = "images") -> Interval:
    """Return the mean of independent values with Student's t interval; with one value there is no interval."""
    x = np.asarray(values, dtype=np.float64)
    n = x.size
    if n < 2:
        return Interval(float(x.mean()), None, None, n, "")
    # numpy's own mean and standard deviation, to the bit, without the checks that take most of their time here.
    flat = x.ravel()
    m = float(np.add.reduce(flat)) / n
    d = flat - m
    half = _t(n - 1) * math.sqrt(float(np.add.reduce(d * d)) / (n - 1)) / math.sqrt(n)
    return Interval(m, m - half, m + half, n, f"t over {unit} 95 %")


def quantile(values: ArrayLike, q: float) -> Interval:
    """Return a quantile with its distribution-free interval from order statistics.

    The interval is [x_(l), x_(u)] with l and u from the binomial distribution, so that it covers with at least 95 %;
    where the sample is too small for an end, that end is None. The quantile itself is numpy's linear interpolation.
    """
    from scipy import stats

    x = np.sort(np.asarray(values, dtype=np.float64))
    n = x.size
    low = int(stats.binom.ppf((1 - LEVEL) / 2, n, q))
    high = int(stats.binom.ppf((1 + LEVEL) / 2, n, q)) + 1
    return Interval(
        float(np.quantile(x, q)),
        float(x[low - 1]) if low >= 1 else None,
        float(x[high - 1]) if high <= n else None,
        n,
        "order statistics 95 %",
    )


def open_quantile(values: ArrayLike, q: float) -> Interval | None:
    """Return a quantile with its interval where some values may be infinite; None if the quantile itself is."""
    x = np.asarray(values, dtype=np.float64)
    far = 1e300
    i = quantile(np.where(np.isinf(x), far, x), q)
    # Interpolation between a finite value and `far` gives neither.
    if i.value > np.max(x, where=np.isfinite(x), initial=0.0):
        return None
    return i._replace(high=None if i.high == far else i.high)
