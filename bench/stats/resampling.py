"""Intervals by resampling: a bootstrap of any statistic, differences of medians, and rank correlations."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from lcrbench.bench.seeds import generator
from lcrbench.bench.stats.intervals import LEVEL, Interval
from lcrbench.errors import UserError

RESAMPLES = 2000
LEAST = 8
"""Fewest points that a correlation is computed from."""


def bootstrap(columns: Sequence[ArrayLike], statistic: Callable[..., np.ndarray]) -> Interval:
    """Return a statistic of several figures of the same n images with its percentile bootstrap interval.

    An image's figures, such as those of two networks, are resampled together. `statistic` takes one array a figure and
    `axis`, as `scipy.stats.bootstrap` has it. There is no interval where a resample has no finite value.
    """
    from scipy import stats

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
"""The smallest p-value that is given: so far out no law is known."""

LEAST_IMAGES = 20
"""Fewest images whose medians a bootstrap can compare: of 3 alike networks' pairs it would tell every fourth apart."""


@dataclass(frozen=True, eq=False)
class Resampled:
    """A method's medians over images (seeds), and the mean over its seeds of each resample's (resamples)."""

    medians: np.ndarray
    draws: np.ndarray
    images: int

    @cached_property
    def value(self) -> float:
        """Return the mean over the seeds."""
        return float(self.medians.mean())

    @cached_property
    def over_seeds(self) -> float:
        """Return the variance of the mean that the spread over the seeds tells; rounding is no spread."""
        return 0.0 if np.ptp(self.medians) == 0 else float(self.medians.var(ddof=1)) / len(self.medians)


def resampled_medians(side: Sequence[ArrayLike]) -> Resampled:
    """Return the mean over seeds of the median over images, and its resamples: arrays (n images), one a training seed.

    The images are resampled, the same ones for every seed and method: a resample keeps what they have in common.
    """
    values = np.stack([np.asarray(x, dtype=np.float64) for x in side])
    seeds, n = values.shape
    # As many seeds at once as fit into a few megabytes.
    few = max(1, 10**7 // (n * RESAMPLES))
    draws = np.concatenate([_medians_of_resamples(values[k : k + few]) for k in range(0, seeds, few)])
    return Resampled(np.median(values, axis=1), draws.mean(0), n)


def _medians_of_resamples(x: np.ndarray) -> np.ndarray:
    """Return the median of each resample (seeds, resamples) of x (seeds, n).

    It is the sorted number up to which half of a resample's draws lie: the draws are counted up along the sorted numbers.
    """
    n, order = x.shape[1], np.argsort(x, axis=1)
    drawn = _image_counts(n)[order.T]
    for k in range(1, n):  # cumsum along the first axis takes seven times as long
        drawn[k] += drawn[k - 1]
    x = np.take_along_axis(x, order, 1)
    ends = [(drawn < k).view(np.int8).sum(0, dtype=drawn.dtype) for k in ((n + 1) // 2, n // 2 + 1)]
    below, above = (np.take_along_axis(x, end.astype(np.intp), 1) for end in ends)
    return np.asarray((below + above) / 2)


def _counter(n: int) -> type[np.signedinteger[Any]]:
    """Return the smallest type that counts up to n: adding up is most of a resample's time."""
    return np.int16 if n < 2**15 else np.int32


@lru_cache(maxsize=4)
def _image_counts(n: int) -> np.ndarray:
    """Return how often each resample draws each of n images (n, resamples)."""
    draw = generator(0, "resampled images", n)
    counts = np.empty((n, RESAMPLES), _counter(n))
    for k in range(RESAMPLES):
        counts[:, k] = np.bincount(draw.integers(0, n, n), minlength=n)
    return counts


class Gap(NamedTuple):
    """A difference between two networks or methods: its interval, and the two-sided p-value of no difference."""

    interval: Interval
    p: float


def gap(a: Resampled, b: Resampled) -> Gap:
    """Return a minus b, of the same images, with its interval and p-value: of two networks, or of two methods.

    With one seed a side it is about these two networks, and images are the units (`_of_networks`); with several on both
    it is about the methods, and seeds and images are (`_of_methods`). One seed against several says nothing of the
    first method's seeds: there is no interval, and p is 1.
    """
    seeds = len(a.medians), len(b.medians)
    if max(seeds) == 1:
        return _of_networks(a, b)
    if min(seeds) == 1:
        return Gap(Interval(a.value - b.value, None, None, sum(seeds), ""), 1.0)
    return _of_methods(a, b)


def _of_networks(a: Resampled, b: Resampled) -> Gap:
    """Return the difference of two networks' medians with its percentile interval over resampled images.

    The p-value is twice the smaller share of resamples on one side of 0, counting the sample itself; where none lies on
    that side, which says no more than p < 2 / resamples, it is the normal one of the difference over the resamples'
    standard deviation, if that is smaller, which a correction over many comparisons needs, and never below 1e-6: so far
    out no law is known. From fewer than `LEAST_IMAGES` images neither means much, and there is no normal tail.
    """
    from scipy import stats

    value, gaps = a.value - b.value, a.draws - b.draws
    low, high = np.quantile(gaps, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    tail = int(min((gaps <= 0).sum(), (gaps >= 0).sum()))
    p = min(1.0, 2 * (tail + 1) / (RESAMPLES + 1))
    if tail == 0 and a.images >= LEAST_IMAGES:
        p = min(p, max(LEAST_P, float(2 * stats.norm.sf(abs(value) / max(float(gaps.std()), 1e-300)))))
    return Gap(Interval(value, float(low), float(high), a.images, "paired bootstrap over images 95 %"), p)


def _of_methods(a: Resampled, b: Resampled) -> Gap:
    """Return the difference of two methods' mean medians, for other seeds and other images of the same kind.

        value +- sqrt( t_s^2 V_s + t_i^2 V_i )

    V_s = s_a^2 / n_a + s_b^2 / n_b is the variance of the difference that the spread s of the medians over the n seeds
    tells, with Welch's degrees of freedom for t_s; V_i that over resamples of the images, which are the same for all
    networks, with n images - 1 for t_i. Each part alone is Student's interval of that part. What differs by seed and image
    at once enters both parts, so the interval covers too often where there is no more than that: in simulations it
    covers 94 to 100 % with 2 to 8 seeds a side, whether seeds or images vary more, and 92 % with 2 seeds against 8, as
    Welch's own does (tests/bench/test_stats_seeds.py).
    p is the level at which the interval just reaches 0, and 1 where nothing varies.
    """
    from scipy import optimize, special

    value = a.value - b.value
    gaps = a.draws - b.draws
    over_seeds, over_images = a.over_seeds + b.over_seeds, float(gaps.var())
    low, high = float(gaps.min()), float(gaps.max())
    # The variance of equal numbers may be rounding, and not 0.
    if high - low <= 1e-12 * max(-low, high):
        over_images = 0.0
    n = len(a.medians) + len(b.medians)
    if over_seeds + over_images == 0:
        return Gap(Interval(value, None, None, n, ""), 1.0)
    freedom = 1.0
    if over_seeds:
        freedom = over_seeds**2 / sum(side.over_seeds**2 / (len(side.medians) - 1) for side in (a, b))

    def half(tail: float) -> float:
        # What `stats.t.isf` returns, to the bit, without the checks that take most of its time.
        by_seed, by_image = (float(special.stdtrit(df, tail / 2)) for df in (freedom, max(1, a.images - 1)))
        return math.sqrt(by_seed**2 * over_seeds + by_image**2 * over_images)

    reach = half(1 - LEVEL)
    p = LEAST_P
    if half(1.0) >= abs(value):  # of no gap: scipy before 1.16 has no exact 0 in the middle of t
        p = 1.0
    elif half(LEAST_P) > abs(value):
        p = float(optimize.brentq(lambda tail: half(tail) - abs(value), LEAST_P, 1, xtol=1e-12))
    return Gap(Interval(value, value - reach, value + reach, n, "over seeds and images 95 %, t of each added"), p)


def correlation(x: ArrayLike, y: ArrayLike) -> Interval:
    """Return Spearman's rank correlation over points (layers, seeds or methods) with its percentile bootstrap interval.

    Raises `UserError` for fewer than 8 points: a correlation of so few says nothing.
    """
    from scipy import stats

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
