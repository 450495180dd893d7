"""Intervals against statsmodels-free closed forms and simulated coverage."""

from __future__ import annotations

import math

import numpy as np

from lcrbench.bench import stats


def test_wilson_closed_form() -> None:
    k, n, z = 600, 1000, 1.959963984540054
    centre, half = (k + z * z / 2) / (n + z * z), z / (n + z * z) * math.sqrt(k * (n - k) / n + z * z / 4)
    i = stats.proportion(k, n)
    assert (i.value, i.n) == (0.6, n)
    assert math.isclose(i.low, centre - half, rel_tol=1e-9)
    assert math.isclose(i.high, centre + half, rel_tol=1e-9)


def test_mean() -> None:
    i = stats.mean([1.0, 2.0, 3.0])
    assert i.value == 2
    assert math.isclose(i.high - i.value, 4.302652729911275 / math.sqrt(3), rel_tol=1e-9)
    assert stats.mean([5.0]) == stats.Interval(5.0, None, None, 1, "")


def test_quantile_interval_covers() -> None:
    rng = np.random.default_rng(0)
    for q, n in ((0.5, 60), (0.95, 150)):
        truth = -math.log(1 - q)
        hits = 0
        for _ in range(400):
            i = stats.quantile(rng.exponential(size=n), q)
            hits += i.low is not None and i.low <= truth and (i.high is None or truth <= i.high)
        assert hits / 400 > 0.92
    assert stats.quantile(np.arange(20), 0.95).high is None
