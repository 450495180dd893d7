"""Intervals against statsmodels-free closed forms and simulated coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy

from lcrbench.bench import stats
from lcrbench.bench.stats import intervals
from lcrbench.errors import UserError


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


class TestBootstrap:
    def test_of_a_mean_is_near_students_interval(self) -> None:
        x = np.random.default_rng(0).normal(1, 2, 400)
        i = stats.bootstrap([x], lambda v, axis: v.mean(axis))
        t = stats.mean(x)
        assert i.value == pytest.approx(t.value)
        assert (i.low, i.high) == pytest.approx((t.low, t.high), abs=0.03)
        assert i == stats.bootstrap([x], lambda v, axis: v.mean(axis))

    def test_pairs_stay_together(self) -> None:
        x = np.random.default_rng(0).lognormal(0, 2, 100)
        i = stats.bootstrap([x, x + 0.5], lambda a, b, axis: b.mean(axis) - a.mean(axis))
        assert (i.low, i.high) == pytest.approx((0.5, 0.5))

    def test_without_an_interval_where_a_resample_has_no_value(self) -> None:
        i = stats.bootstrap([[0.0, 0.0, 1.0]], lambda v, axis: np.log(v.mean(axis)))
        assert (i.low, i.high) == (None, None)


def median_gap(a: list[np.ndarray], b: list[np.ndarray]) -> stats.Gap:
    return stats.gap(stats.resampled_medians(a), stats.resampled_medians(b))


class TestMedianGap:
    @pytest.mark.parametrize("n", [1, 2, 9, 100])
    def test_resampled_medians_are_those_of_the_drawn_images(self, n: int) -> None:
        x = np.random.default_rng(n).normal(size=n).round(1)
        counts = stats.resampling._image_counts(n)
        assert (counts.sum(0) == n).all()
        expected = [np.median(np.repeat(x, counts[:, k])) for k in range(counts.shape[1])]
        np.testing.assert_allclose(stats.resampled_medians([x]).draws, expected)

    def test_images_are_drawn_in_pairs_for_all_seeds(self) -> None:
        x = np.random.default_rng(0).normal(size=50)
        assert np.ptp(stats.resampled_medians([x + 1]).draws - stats.resampled_medians([x, x + 2]).draws) < 1e-12

    def test_of_one_network_each_is_paired_over_images(self) -> None:
        x = np.random.default_rng(0).lognormal(0, 2, 200)
        gap = median_gap([1.1 * x], [x])
        assert gap.interval.value == pytest.approx(0.1 * np.median(x))
        assert 0 < gap.interval.low < gap.interval.high
        assert 0 < gap.p < 2 / 2001, "no resample lies on the other side: the normal tail tells how far that is"
        assert "paired" in gap.interval.how
        turned = median_gap([x], [1.1 * x])
        assert turned.interval.value == pytest.approx(-gap.interval.value)

    def test_far_in_the_tail_it_is_the_normal_p(self) -> None:
        """Of normal images a sample's median has variance pi / (2 n) times theirs, as n grows."""
        z = np.random.default_rng(0).normal(size=2000)
        shift = 4.5 * np.sqrt(np.pi / 2 / 2000)
        p = median_gap([z - np.median(z) + shift], [np.zeros(2000)]).p
        assert 3.9 < scipy.stats.norm.isf(p / 2) < 5.1
        near = median_gap([z - np.median(z) + shift * 2 / 4.5], [np.zeros(2000)]).p
        assert near == pytest.approx(2 * scipy.stats.norm.sf(2), rel=0.5)
        assert median_gap([z - np.median(z) + 20 * shift], [np.zeros(2000)]).p == 1e-6, "no smaller one is known"

    def test_few_images_have_no_normal_tail(self) -> None:
        x = np.random.default_rng(0).normal(size=19)
        assert median_gap([x + 100], [x]).p == pytest.approx(2 / 2001)
        x = np.random.default_rng(0).normal(size=20)
        assert median_gap([x + 100], [x]).p == 1e-6

    def test_covers_the_difference_of_two_networks(self) -> None:
        """95 % nominal: of 200 samples of 60 images, the interval must miss the true difference in 2 to 22."""
        missed = 0
        for k in range(200):
            z = np.random.default_rng(k).normal(size=(2, 60))
            i = median_gap([z[0]], [0.5 * z[0] + z[1] - 0.3]).interval
            missed += not i.low <= 0.3 <= i.high
        assert 2 <= missed <= 22, missed


def test_correlation_against_scipy_and_its_refusal() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal(20)
    y = x + rng.standard_normal(20)
    i = stats.correlation(x, y)
    assert i.value == pytest.approx(scipy.stats.spearmanr(x, y).statistic, abs=1e-12)
    assert i.low < i.value < i.high
    assert np.isnan(stats.correlation(np.ones(9), np.arange(9)).value)
    with pytest.raises(UserError, match="at least 8 points, not 7"):
        stats.correlation(x[:7], y[:7])


def test_open_quantiles_are_left_out_among_the_infinite() -> None:
    x = np.array([*np.arange(70.0), *[np.inf] * 30])
    i = stats.open_quantile(x, 0.5)
    assert i.value == 49.5
    assert i.high is not None
    assert stats.open_quantile(x, 0.68).high is None
    assert stats.open_quantile(x, 0.8) is None


def test_many_shares_at_once_are_those_of_one_at_a_time() -> None:
    """Counts, means of counts, numbers that are no share, and those outside the range that 64 bits hold."""
    draw = np.random.default_rng(0)
    values = [0.0, 1.0, 2.0**-9, 1e-12, 1.5, -0.25, 1 / 3, 1 - 1e-16, *draw.random(300)]
    for n in (1, 7, 100, 2000, 10_000_000):
        values += [k / n for k in draw.integers(0, n + 1, 60)]
        values += [float(np.mean(draw.integers(0, n + 1, 15) / n)) for _ in range(60)]
    expected = [(share.numerator, share.denominator) for share in map(stats.share, values)]
    assert stats.counted(values) == expected
    assert stats.counted([]) == []
    assert stats.mean_share(stats.counted([0.1 + 0.2, 0.3])) == 0.3


def test_numbers_that_are_no_share_are_gone_through_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most numbers of a search are none, and a large report has hundreds of thousands."""
    values = [*np.random.default_rng(0).uniform(0.01, 1, 1000).tolist(), 1e-12, 1.5]
    expected = [(share.numerator, share.denominator) for share in map(stats.share, values)]
    alone: list[float] = []
    one = intervals._counts
    monkeypatch.setattr(intervals, "_counts", lambda value: alone.append(value) or one(value))
    assert stats.counted(values) == expected
    assert alone == [1e-12, 1.5]
