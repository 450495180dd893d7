"""Bootstrap intervals over images, for what has no closed form: slopes, and differences of quantiles between networks.

The image is the unit, and all figures of an image are resampled together. Never for a maximum: the bootstrap of a sample's
maximum is inconsistent. Between methods the seed is the unit, and none of this applies.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from lcrbench.bench.seeds import generator
from lcrbench.bench.stats import LEVEL, Interval, quantile

RESAMPLES = 2000


def bootstrap(values: ArrayLike, statistic: Callable[[np.ndarray], np.ndarray]) -> Interval:
    """Return a statistic of images (n, figures) with its percentile bootstrap interval; the same input, the same interval.

    `statistic` maps resamples (B, n, figures) to (B). Without an interval where a resample has no finite value.
    """
    x = np.asarray(values, dtype=np.float64)
    n = len(x)
    value = float(statistic(x[None])[0])
    rows = generator(0, "bootstrap", n).integers(0, n, size=(RESAMPLES, n))
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn = np.concatenate([statistic(x[part]) for part in np.array_split(rows, 20)])
    if n < 2 or not np.isfinite(drawn).all():
        return Interval(value, None, None, n, "")
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high), n, "bootstrap over images 95 %")


def difference(a: ArrayLike, b: ArrayLike, q: float = 0.5) -> Interval:
    """Return the q-quantile of a minus that of b, the same images through two networks, resampled in pairs."""
    pairs = np.column_stack([np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)])

    def gap(images: np.ndarray) -> np.ndarray:
        first, second = np.quantile(images, q, axis=1).T
        return np.asarray(first - second)

    return bootstrap(pairs, gap)


def open_quantile(values: ArrayLike, q: float) -> Interval | None:
    """Return a quantile with its interval where some values may be infinite; None if the quantile itself is."""
    x = np.asarray(values, dtype=np.float64)
    far = 1e300
    i = quantile(np.where(np.isinf(x), far, x), q)
    # Interpolation between a finite value and `far` gives neither.
    if i.value > np.max(x, where=np.isfinite(x), initial=0.0):
        return None
    return i._replace(high=None if i.high == far else i.high)
