"""Intervals: every number that is reported carries one, from scipy or a closed form, and says which.

Questions about one pair of trained networks take the image as their unit, questions about methods the training seed.
Copies of one image under several corruptions are not independent: average over them first, then take the interval over
images. Never a bootstrap of a maximum, which is inconsistent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from lcrbench.bench.seeds import generator
from lcrbench.errors import UserError


class Interval(NamedTuple):
    """A value with its two-sided 95 % interval, the number of units it rests on, and how the interval was found."""

    value: float
    low: float | None
    high: float | None
    n: int
    how: str


LEVEL = 0.95
RESAMPLES = 2000
LEAST = 8
"""Fewest points that a correlation is computed from."""


def proportion(successes: int, n: int) -> Interval:
    """Return a proportion with its Wilson score interval, n independent images.

    >>> proportion(600, 1000).how
    'Wilson 95 %'
    """
    ci = stats.binomtest(successes, n).proportion_ci(LEVEL, method="wilson")
    return Interval(successes / n, float(ci.low), float(ci.high), n, "Wilson 95 %")


@cache
def _t(df: int) -> float:
    """Return Student's two-sided quantile: a report asks for it thousands of times."""
    return float(stats.t.ppf((1 + LEVEL) / 2, df))


def mean(values: ArrayLike, unit: str = "images") -> Interval:
    """Return the mean of independent values with Student's t interval; with one value there is no interval."""
    x = np.asarray(values, dtype=np.float64)
    n = x.size
    if n < 2:
        return Interval(float(x.mean()), None, None, n, "")
    half = _t(n - 1) * float(x.std(ddof=1)) / np.sqrt(n)
    m = float(x.mean())
    return Interval(m, m - half, m + half, n, f"t over {unit} 95 %")


def quantile(values: ArrayLike, q: float) -> Interval:
    """Return a quantile with its distribution-free interval from order statistics.

    The interval is [x_(l), x_(u)] with l and u from the binomial distribution, so that it covers with at least 95 %;
    where the sample is too small for an end, that end is None. The quantile itself is numpy's linear interpolation.
    """
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


def bootstrap(columns: Sequence[ArrayLike], statistic: Callable[..., np.ndarray]) -> Interval:
    """Return a statistic of several figures of the same n images with its percentile bootstrap interval.

    An image's figures, such as those of two networks, are resampled together. `statistic` takes one array a figure and
    `axis`, as `scipy.stats.bootstrap` has it. There is no interval where a resample has no finite value.
    """
    data = [np.asarray(c, dtype=np.float64) for c in columns]
    n = len(data[0])
    value = float(statistic(*data, axis=-1))
    if n < 2:
        return Interval(value, None, None, n, "")
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn = stats.bootstrap(
            data,
            statistic,
            n_resamples=RESAMPLES,
            batch=RESAMPLES // 10,
            vectorized=True,
            paired=True,
            confidence_level=LEVEL,
            method="percentile",
            rng=generator(0, "bootstrap", n),
        )
    low, high = drawn.confidence_interval
    if not np.isfinite(drawn.bootstrap_distribution).all():
        return Interval(value, None, None, n, "")
    return Interval(value, float(low), float(high), n, "bootstrap over images 95 %")


LEAST_P = 1e-6
"""The smallest p-value that a bootstrap gives."""


class Gap(NamedTuple):
    """A difference between two networks or methods: its interval, and the bootstrap's two-sided p-value of no difference."""

    interval: Interval
    p: float


def median_gap(a: Sequence[ArrayLike], b: Sequence[ArrayLike]) -> Gap:
    """Return the mean over seeds of the median over images of a, minus that of b: arrays (n images), one a training seed.

    With one seed a side the images are resampled, in pairs, and the answer is about these two networks. With more, each
    resample draws seeds of either side and then images, the same for all (hierarchical bootstrap). The p-value is twice
    the smaller share of resamples on one side of 0, counting the sample itself; where none lies on that side, which says
    no more than p < 2 / resamples, it is the normal one of the difference over the resamples' standard deviation, if
    that is smaller, which a correction over many comparisons needs, and never below 1e-6, so far out no law is known.
    """
    sides = [np.stack([np.asarray(x, dtype=np.float64) for x in side]) for side in (a, b)]
    n = sides[0].shape[1]
    nested = max(len(side) for side in sides) > 1
    draw = generator(0, "median gap", n, *(len(side) for side in sides))
    value = float(np.subtract(*(np.median(side, axis=1).mean() for side in sides)))
    parts = []
    for _ in range(20):
        images = draw.integers(0, n, (RESAMPLES // 20, 1, n))
        seeds = [draw.integers(0, len(side), (len(images), len(side), 1)) for side in sides]
        means = [np.median(side[s, images], axis=2).mean(1) for side, s in zip(sides, seeds, strict=True)]
        parts.append(means[0] - means[1])
    gaps = np.concatenate(parts)
    low, high = np.quantile(gaps, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    tail = int(min((gaps <= 0).sum(), (gaps >= 0).sum()))
    p = min(1.0, 2 * (tail + 1) / (RESAMPLES + 1))
    if tail == 0:
        p = min(p, max(LEAST_P, float(2 * stats.norm.sf(abs(value) / max(float(gaps.std()), 1e-300)))))
    how = "bootstrap over seeds and images 95 %" if nested else "paired bootstrap over images 95 %"
    count = sum(len(side) for side in sides) if nested else n
    return Gap(Interval(value, float(low), float(high), count, how), p)


def correlation(x: ArrayLike, y: ArrayLike) -> Interval:
    """Return Spearman's rank correlation over points (layers, seeds or methods) with its percentile bootstrap interval.

    Raises `UserError` for fewer than 8 points: a correlation of so few says nothing.
    """
    a, b = (np.asarray(v, dtype=np.float64) for v in (x, y))
    n = len(a)
    if n < LEAST:
        raise UserError(f"a correlation needs at least {LEAST} points, not {n}: measure more layers, seeds or methods")
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return Interval(float("nan"), None, None, n, "")

    def spearman(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        p, q = (stats.rankdata(w, axis=-1) for w in (u, v))
        p, q = (w - w.mean(-1, keepdims=True) for w in (p, q))
        return np.asarray((p * q).sum(-1) / np.sqrt((p**2).sum(-1) * (q**2).sum(-1)))

    rows = generator(0, "correlation", n).integers(0, n, size=(RESAMPLES, n))
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn = spearman(a[rows], b[rows])
    # A resample of one point alone has no correlation; so few are left out.
    low, high = np.nanquantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(spearman(a, b)), float(low), float(high), n, "bootstrap over points 95 %")
