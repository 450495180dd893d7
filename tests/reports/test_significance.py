"""Statistics against oracles that do not share their code: closed forms, plain loops, simulation."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from lcrbench.bench.records.measurement import Measurement
from lcrbench.bench.records.store import Store
from lcrbench.reports import comparison, significance
from lcrbench.reports.comparison import COMMON, Key
from lcrbench.reports.comparison.reading import ERROR
from lcrbench.reports.figures.accuracy_operations import pareto
from lcrbench.reports.figures.critical_difference import ranks_over

from . import make_store


def test_welch_agrees_with_its_textbook_form() -> None:
    x, y = [71.0, 73.5, 72.2, 74.1], [70.2, 69.9, 71.4]
    interval, p = significance.welch(x, y) or pytest.fail("no interval")
    vx, vy = np.var(x, ddof=1) / len(x), np.var(y, ddof=1) / len(y)
    df = (vx + vy) ** 2 / (vx**2 / (len(x) - 1) + vy**2 / (len(y) - 1))
    t = _t_quantile(0.975, df)
    difference = sum(x) / len(x) - sum(y) / len(y)
    assert interval.value == pytest.approx(difference)
    assert interval.low == pytest.approx(difference - t * math.sqrt(vx + vy), abs=1e-4)
    assert interval.high == pytest.approx(difference + t * math.sqrt(vx + vy), abs=1e-4)
    assert (p < 0.05) == (interval.low > 0)


def _t_quantile(q: float, df: float) -> float:
    """Invert Student's distribution by integrating its density, as no library function would be an oracle here."""
    c = math.exp(math.lgamma((df + 1) / 2) - math.lgamma(df / 2)) / math.sqrt(df * math.pi)
    x = np.linspace(0, 60, 600_001)
    density = c * (1 + x**2 / df) ** (-(df + 1) / 2)
    cumulative = 0.5 + np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2 * (x[1] - x[0]))])
    return float(np.interp(q, cumulative, x))


def test_welch_needs_two_values_a_side_and_survives_no_spread() -> None:
    assert significance.welch([1.0], [1.0, 2.0]) is None
    interval, p = significance.welch([2.0, 2.0], [1.0, 1.0]) or pytest.fail("no interval")
    assert (interval.value, interval.low) == (1.0, None)
    assert math.isnan(p)


def test_equal_counts_tie_whatever_the_order_they_were_added_in() -> None:
    """The shares of 5 severities and 3 seeds, of 1,000 images: equal counts, and floats that differ in the last bit."""
    rng = np.random.default_rng(0)
    counts = rng.integers(100, 900, (6, 3, 5))
    rows = []
    for k in range(4):
        values = {}
        for c, name in enumerate(COMMON[:6]):
            mixed = rng.permuted(counts[c].ravel()).reshape(3, 5)
            shares = [float(np.mean([np.float64(n) / 1000 for n in seed])) for seed in mixed]
            values[Key("corruption_error", corruption=name)] = [
                Measurement(metric="corruption_error", value=v, n=1000, corruption=name) for v in shares
            ]
        rows.append(comparison.Row(k, f"m{k}", (), values=values, infos={"corruption_error": ERROR}))
    keys = [Key("corruption_error", corruption=name) for name in COMMON[:6]]
    floats = np.array([[np.mean([m.value for m in r.values[k]]) for r in rows] for k in keys])
    assert np.ptp(floats, axis=1).any(), "the floats differ, else this shows nothing"
    errors = comparison.errors_of(None, rows, keys)  # type: ignore[arg-type]
    ranks, p, _ = ranks_over(errors)
    assert (ranks == 2.5).all()
    assert p == 1.0


def test_equal_outcomes_are_no_difference_by_rounding() -> None:
    """0.1 three times has a standard deviation of 1e-17, and 1/75 + 2/75 is not 3/75."""
    _, p = significance.welch([0.1] * 3, [0.1] * 3) or pytest.fail("no interval")
    assert math.isnan(p)
    assert np.std([0.1] * 3) > 0, "else this shows nothing"
    a = np.array([0.1 + 0.2, 0.3, 0.7] * 20)
    assert significance.paired(a, [0.3, 0.1 + 0.2, 0.7] * 20)[1] == 1.0


@pytest.mark.parametrize(("seeds", "sigmas"), [(3, 3.1), (5, 2.0), (10, 1.3)])
def test_detectable_difference_is_that_of_the_table(seeds: int, sigmas: float) -> None:
    x = np.linspace(-1, 1, seeds)
    x /= x.std(ddof=1)
    assert significance.detectable_between(x, x) == pytest.approx(sigmas, abs=0.06)


def test_detectable_difference_has_power_point_eight_in_a_simulation() -> None:
    rng = np.random.default_rng(0)
    nc = significance.noncentrality(8) * math.sqrt(2 / 5)
    x, y = rng.normal(nc, 1, (4000, 5)), rng.normal(0, 1, (4000, 5))
    pooled = np.sqrt((x.var(axis=1, ddof=1) + y.var(axis=1, ddof=1)) / 2)
    t = (x.mean(axis=1) - y.mean(axis=1)) / (pooled * math.sqrt(2 / 5))
    assert (np.abs(t) > 2.306).mean() == pytest.approx(0.8, abs=0.03)


def test_holm_by_hand_and_its_family_error() -> None:
    assert significance.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert significance.holm([]) == []
    assert significance.holm([0.9, 0.8]) == [1.0, 1.0]
    rng = np.random.default_rng(1)
    false = sum(min(significance.holm(list(rng.random(4)))) < 0.05 for _ in range(2000)) / 2000
    assert false == pytest.approx(0.05, abs=0.015)


def test_paired_difference_clusters_on_base_images(store: Store) -> None:
    setting = comparison.read(store).settings[0]
    outcomes = significance.Outcomes(store)
    pairs = significance.against_base(setting)
    assert [(a.label, b.label) for a, b in pairs] == [("irnet+lcr", "irnet")]
    found = significance.differences(setting, outcomes, pairs, "common")[0]

    # The same from the definition of the data, image by image.
    d = np.zeros(make_store.N)
    for seed in (0, 1):
        for name in make_store.COMMON_RAN:
            for s in make_store.SEVERITIES:
                cells = [make_store.right(m, seed, name, s).astype(float) for m in ("irnet+lcr", "irnet")]
                d += (cells[0] - cells[1]) / (2 * len(make_store.COMMON_RAN) * 5)
    assert found.images is not None
    assert found.images.value == pytest.approx(sum(d) / len(d))
    assert found.images.n == make_store.N
    half = 1.97196 * math.sqrt(sum((d - d.mean()) ** 2) / (len(d) - 1) / len(d))
    assert found.images.high == pytest.approx(d.mean() + half, abs=1e-5)
    # Taking the 25 copies of an image for independent would give an interval far too short.
    copies = np.concatenate(
        [
            make_store.right("irnet+lcr", 0, c, s).astype(float) - make_store.right("irnet", 0, c, s)
            for c in make_store.COMMON_RAN
            for s in make_store.SEVERITIES
        ]
    )
    assert half > 2 * 1.96 * copies.std() / math.sqrt(copies.size)


def test_the_difference_of_methods_is_over_seeds(store: Store) -> None:
    setting = comparison.read(store).settings[0]
    found = significance.differences(setting, None, significance.against_reference(setting), "common")
    assert [d.row.label for d in found] == ["irnet", "irnet+lcr"]
    # Each method loses one point from seed 0 to seed 1, so the spread is known: sd = 0.01 / sqrt(2) a side, 2 degrees.
    for d, gap in zip(found, (-0.13, -0.11), strict=True):
        assert d.unit == "seeds"
        assert d.seeds is not None
        assert d.seeds.value == pytest.approx(gap)
        assert d.seeds.high == pytest.approx(gap + 4.302653 * 0.01 / math.sqrt(2), abs=1e-6)
        assert d.images is None
    p = [d.p or 0.0 for d in found]
    assert [d.holm for d in found] == pytest.approx([max(2 * min(p), max(p))] * 2)


def test_one_family_asks_one_question(tmp_path: Path) -> None:
    mixed = make_store.small_store(tmp_path)
    make_store.add(mixed, "dorefa", 0)
    setting = comparison.read(mixed).settings[0]
    found = significance.differences(
        setting, significance.Outcomes(mixed), significance.against_reference(setting), "common"
    )
    by_name = {d.row.label: d for d in found}
    # One seed of dorefa says nothing about the method, so it has no p-value and takes no part in Holm's correction.
    alone = by_name["dorefa"]
    assert (alone.unit, alone.p, alone.holm, alone.seeds) == ("images", None, None, None)
    assert alone.images is not None
    p = [d.p for d in found if d.row.label != "dorefa"]
    assert [d.holm for d in found if d.row.label != "dorefa"] == pytest.approx(significance.holm([x or 0.0 for x in p]))


def test_statistics_agree_with_statsmodels() -> None:
    pytest.importorskip("statsmodels")
    from statsmodels.stats.multitest import multipletests
    from statsmodels.stats.power import TTestIndPower, TTestPower
    from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

    rng = np.random.default_rng(3)
    for n, m in ((3, 3), (5, 5), (10, 4)):
        x, y = rng.normal(1, 2, n), rng.normal(0, 1, m)
        interval, p = significance.welch(x, y) or pytest.fail("no interval")
        compared = CompareMeans(DescrStatsW(x), DescrStatsW(y))
        assert (interval.low, interval.high) == pytest.approx(compared.tconfint_diff(0.05, usevar="unequal"))
        assert p == pytest.approx(compared.ttest_ind(usevar="unequal")[1])
        pooled = math.sqrt(((n - 1) * x.var(ddof=1) + (m - 1) * y.var(ddof=1)) / (n + m - 2))
        effect = (significance.detectable_between(x, y) or 0.0) / pooled
        assert TTestIndPower().power(effect, n, 0.05, ratio=m / n) == pytest.approx(0.8, abs=1e-3)
        effect = (significance.detectable_paired(x) or 0.0) / x.std(ddof=1)
        assert TTestPower().power(effect, n, 0.05) == pytest.approx(0.8, abs=1e-3)
        p_values = list(rng.random(7) ** 3)
        assert significance.holm(p_values) == pytest.approx(list(multipletests(p_values, method="holm")[1]))


def test_critical_difference_is_demsars() -> None:
    # Demsar (2006), table 5: q for 4 methods is 2.569; his example of 14 data sets gives 1.25.
    errors = np.tile([0.1, 0.2, 0.3, 0.4], (14, 1))
    ranks, _, distance = ranks_over(errors)
    assert ranks.tolist() == [1, 2, 3, 4]
    assert distance == pytest.approx(1.25, abs=0.005)


def test_the_pareto_front_keeps_the_cheaper_of_equals() -> None:
    assert pareto([(2, 5), (1, 5), (3, 6)]) == [(1, 5), (3, 6)]
