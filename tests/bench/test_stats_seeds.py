"""The interval over seeds and images: against closed forms, and its coverage by simulation where the truth is known.

A method's figure of an image is image + method x image + seed + noise, each normal or, "skewed", its sinh. Both methods
have the same law, so their true difference is 0, and an interval that leaves it out misses.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytest
import scipy

from lcrbench.bench import stats
from lcrbench.bench.stats import resampling


class Law(NamedTuple):
    """Standard deviations: of images, of what a method does with an image, of seeds, and of what a seed does with it."""

    image: float
    method: float
    seed: float
    noise: float
    skewed: bool = False


LAWS = {
    "seeds alone": Law(0, 0, 1, 0.01),
    "seeds vary more than images": Law(1, 0.1, 1, 0.1),
    "as much": Law(1, 1, 0.12, 0.5),
    "less": Law(1, 0.5, 0.05, 0.5),
    "seeds are alike": Law(1, 0.5, 0, 0.5),
    "images alone": Law(0, 1, 0, 0.01),
    "noise alone": Law(0, 0, 0, 1),
    "skewed": Law(0.5, 0.7, 0.3, 0.5, skewed=True),
}

FEW = ("seeds vary more than images", "as much", "less", "seeds are alike", "skewed")
"""Those of the fast test."""


def coverage(law: Law, seeds: tuple[int, int], times: int, images: int = 100) -> float:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(times):
        common = rng.normal(0, law.image, images)
        sides = []
        for n in seeds:
            x = common + rng.normal(0, law.method, images) + rng.normal(0, law.seed, (n, 1))
            x += rng.normal(0, law.noise, (n, images))
            sides.append(stats.resampled_medians([*(np.sinh(x) if law.skewed else x)]))
        found = stats.gap(*sides)
        assert found.interval.low is not None
        assert found.interval.high is not None
        inside = found.interval.low <= 0 <= found.interval.high
        assert inside == (found.p >= 0.05), "interval and p tell the same"
        covered += inside
    return covered / times


@pytest.fixture
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A variance over 200 resamples is known to 10 %, and the simulation is ten times as fast."""
    monkeypatch.setattr(resampling, "RESAMPLES", 200)
    resampling._image_counts.cache_clear()
    yield
    resampling._image_counts.cache_clear()


@pytest.mark.usefixtures("few_resamples")
@pytest.mark.parametrize("seeds", [(2, 2), (3, 3), (5, 5), (8, 8)], ids=str)
@pytest.mark.parametrize("law", [LAWS[name] for name in FEW], ids=FEW)
def test_it_covers(law: Law, seeds: tuple[int, int]) -> None:
    """95 % nominal; of 100 samples a true 95 % is at least 89 % with probability .99."""
    assert coverage(law, seeds, 100) >= 0.89


@pytest.mark.slow
@pytest.mark.usefixtures("few_resamples")
@pytest.mark.parametrize("seeds", [(2, 2), (3, 3), (5, 5), (8, 8), (2, 8), (3, 5)], ids=str)
@pytest.mark.parametrize("law", LAWS.values(), ids=[*LAWS])
def test_it_covers_at_length(law: Law, seeds: tuple[int, int]) -> None:
    """Of two seeds against eight Welch's interval itself covers 92 %."""
    assert coverage(law, seeds, 2000) >= (0.905 if seeds == (2, 8) else 0.935)


def gap(a: list[np.ndarray], b: list[np.ndarray]) -> stats.Gap:
    return stats.gap(stats.resampled_medians(a), stats.resampled_medians(b))


def test_where_only_seeds_vary_it_is_welchs() -> None:
    shifts = np.array([0.1, 0.5, 0.2]), np.array([0.0, 0.3, 0.1, -0.2])
    found = gap(*([np.full(50, s) for s in side] for side in shifts))
    welch = scipy.stats.ttest_ind(*shifts, equal_var=False)
    assert (found.interval.low, found.interval.high) == pytest.approx(tuple(welch.confidence_interval()))
    assert found.p == pytest.approx(welch.pvalue)
    assert "seeds and images" in found.interval.how
    assert found.interval.n == 7


def test_where_only_images_vary_it_is_that_of_one_network_each() -> None:
    x, y = np.random.default_rng(0).normal(size=(2, 400))
    one, many = gap([x], [y]), gap([x] * 3, [y] * 3)
    assert many.interval.value == pytest.approx(one.interval.value)
    width = [g.interval.high - g.interval.low for g in (one, many)]
    assert width[1] == pytest.approx(width[0], rel=0.1)


def test_one_seed_says_nothing_of_a_method_and_nor_does_no_spread() -> None:
    x = np.random.default_rng(0).normal(size=50)
    lonely = gap([x], [x + 1, x + 2])
    assert (lonely.interval.low, lonely.p) == (None, 1.0)
    still = gap([np.full(50, 0.1)] * 3, [np.full(50, 0.2)] * 3)
    assert (still.interval.low, still.p) == (None, 1.0)
    assert still.interval.value == pytest.approx(-0.1)


def test_p_ends_where_no_law_is_known() -> None:
    x = np.random.default_rng(0).normal(size=50)
    assert gap([x, x + 0.01, x - 0.01] * 3, [x + 100, x + 100.01, x + 99.99] * 3).p == stats.LEAST_P
