"""One-sided bounds on the difference of two means over training seeds, and what they say beside a margin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from scipy import stats as distributions

Outcome = Literal["pass", "regression", "not comparable", "inconclusive", "not gated"]

ALPHA = 0.05
MOST_MORE_SEEDS = 100


def non_inferiority(
    candidate: Sequence[float],
    reference: Sequence[float],
    margin: float,
    *,
    paired: bool = False,
    alpha: float = ALPHA,
) -> tuple[Outcome, float, float, float]:
    """Return the outcome with the difference and its one-sided 1 - alpha bounds, higher values being better.

    Welch's bounds; with `paired`, Student's over the differences of values at the same place.

    >>> non_inferiority([70.1, 70.3, 69.9], [70.0, 70.2, 70.1, 69.8], margin=1.0)[0]
    'pass'
    """
    x, y = np.asarray(candidate, np.float64), np.asarray(reference, np.float64)
    difference = float(x.mean() - y.mean())
    width = half(x, y, paired=paired, alpha=alpha)
    low, high = difference - width, difference + width
    outcome: Outcome = "pass" if low > -margin else "regression" if high < -margin else "inconclusive"
    return outcome, difference, low, high


def half(x: Any, y: Any, *, paired: bool = False, alpha: float = ALPHA, extra: int = 0) -> float:
    """Return the half width of the interval, were there `extra` more candidate seeds of the same spread."""
    n, m = x.size + extra, y.size
    if paired:
        spread = (x - y).std(ddof=1)
        return float(distributions.t.ppf(1 - alpha, n - 1) * spread / np.sqrt(n)) if spread else 0.0
    vx, vy = x.var(ddof=1) / n, y.var(ddof=1) / m
    if vx + vy == 0:
        return 0.0
    df = (vx + vy) ** 2 / (vx**2 / (n - 1) + vy**2 / (m - 1))
    return float(distributions.t.ppf(1 - alpha, df) * np.sqrt(vx + vy))


def seeds_to_decide(
    candidate: Sequence[float], reference: Sequence[float], margin: float, *, paired: bool = False
) -> int | None:
    """Return how many more candidate seeds would decide, were difference and spread to stay; None if a hundred would not."""
    x, y = np.asarray(candidate, np.float64), np.asarray(reference, np.float64)
    distance = abs(float(x.mean() - y.mean()) + margin)
    return next((k for k in range(1, MOST_MORE_SEEDS + 1) if half(x, y, paired=paired, extra=k) < distance), None)
