"""Which margins a gate accepts: unchanged code passes, a drop of twice the margin fails, by simulation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lcrbench.bench.records.measurement import Scale
from lcrbench.bench.records.store import Store
from lcrbench.errors import UserError
from lcrbench.reports import gate
from lcrbench.reports.gate import margins, power

from . import make_store

Draw = Callable[[np.random.Generator, int], np.ndarray]


def rates(
    margin: float | Callable[[np.ndarray], float],
    drop: float,
    *,
    sigma: float,
    candidates: int,
    references: int,
    paired: bool = False,
    shared: float = 0.0,
    runs: int = 2000,
) -> dict[str, float]:
    """Return how often each outcome comes; `drop` is in margins, `shared` the part of the spread that a seed brings."""
    rng = np.random.default_rng([candidates, references, int(10 * drop), int(paired)])
    found = []
    for _ in range(runs):
        seed = rng.normal(0, sigma * np.sqrt(shared), references)
        y = 60 + seed + rng.normal(0, sigma * np.sqrt(1 - shared), references)
        m = margin(y) if callable(margin) else margin
        x = 60 - drop * m + seed[:candidates] + rng.normal(0, sigma * np.sqrt(1 - shared), candidates)
        y = y[:candidates] if paired else y
        found.append(gate.non_inferiority(list(x), list(y), m, paired=paired)[0])
    return {outcome: found.count(outcome) / runs for outcome in ("pass", "regression", "inconclusive")}


def test_false_alarms_and_detection_are_as_rigour_asks() -> None:
    how = {"sigma": 0.35, "candidates": 5, "references": 10}
    none, two = rates(1.0, 0.0, **how), rates(1.0, 2.0, **how)
    assert none["pass"] > 0.99
    assert none["regression"] < 0.002
    assert two["regression"] > 0.99
    assert two["pass"] < 0.002
    # At the margin itself, each kind of error has its nominal rate of 5 %.
    edge = rates(1.0, 1.0, **how)
    assert edge["pass"] == pytest.approx(0.05, abs=0.02)
    assert edge["regression"] == pytest.approx(0.05, abs=0.02)


@pytest.mark.parametrize(
    ("candidates", "references", "paired", "shared"),
    [(10, 10, False, 0.0), (5, 10, False, 0.0), (10, 10, True, 0.0), (10, 10, True, 0.6), (3, 10, False, 0.0)],
)
def test_the_margin_that_update_chooses_passes_unchanged_code_and_fails_twice_the_margin(
    candidates: int, references: int, paired: bool, shared: float
) -> None:
    """The margin is chosen anew from each simulated reference, as somebody who writes one does."""

    def chosen(y: np.ndarray) -> float:
        return margins.least(list(y / 100), Scale.SHARE, candidates, paired=paired)

    how = {"sigma": 1.3, "candidates": candidates, "references": references, "paired": paired, "shared": shared}
    unchanged, dropped = rates(chosen, 0.0, **how), rates(chosen, 2.0, **how)
    # 2,000 runs tell a rate of 95 % to half a point (one standard error).
    assert unchanged["pass"] >= 0.94
    assert unchanged["regression"] <= 0.005
    assert dropped["regression"] >= 0.94
    assert dropped["pass"] <= 0.005


@pytest.mark.parametrize("paired", [False, True])
def test_the_chance_is_that_of_a_simulation(paired: bool) -> None:
    """A margin fixed before, as a multiple of the true spread, is another quantity: so the reference's own is used."""

    def fixed(y: np.ndarray) -> float:
        return float(1.2 * y.std(ddof=1))

    how = {"sigma": 2.0, "candidates": 5, "references": 10, "paired": paired, "runs": 4000}
    assert power.chance(5, 10, 1.2, paired=paired) == pytest.approx(rates(fixed, 0.0, **how)["pass"], abs=0.03)


def test_the_documented_set_up_of_before_would_be_refused() -> None:
    """A spread of 2.45 points and a margin of 1: unchanged code passed 16 % of checks."""
    values = np.linspace(-1, 1, 10)
    values = 0.6 + 0.0245 * (values / values.std(ddof=1))
    found = margins.of(list(values), Scale.SHARE, 1.0, 5)
    assert found is not None
    assert found.chance == pytest.approx(0.16, abs=0.01)
    assert not found.enough
    assert "standard deviation" in found.text(1.0)
    assert "enough for 95 %" in found.text(1.0).replace("95%", "95 %")
    assert margins.of(list(values), Scale.SHARE, found.least, 5).enough  # type: ignore[union-attr]
    assert not margins.of(list(values), Scale.SHARE, 0.9 * found.least, 5).enough  # type: ignore[union-attr]


@pytest.mark.parametrize("references", [4, 10])
def test_more_seeds_need_a_smaller_margin_and_those_named_are_enough(references: int) -> None:
    ratios = [power.least_ratio(n, references) for n in (2, 5, 10, 40)]
    assert ratios == sorted(ratios, reverse=True)
    n = power.seeds(references, ratios[2])
    assert n is not None
    assert n <= 10
    assert power.chance(n, references, ratios[2]) >= power.LEAST
    assert power.seeds(references, 0.01) is None
    both = power.both(0.8)
    assert both is not None
    assert power.chance(both, both, 0.8) >= power.LEAST > power.chance(both - 1, both - 1, 0.8)


def store(root: Path, **options: object) -> Store:
    made = Store(root, create=True)
    for seed in range(10):
        make_store.add(made, "irnet", seed, **options)
    return made


def test_update_states_its_margin_and_refuses_one_that_unchanged_code_would_not_pass(tmp_path: Path) -> None:
    before = store(tmp_path / "before", spread=0.3)
    path = tmp_path / "robustness.json"
    with pytest.raises(UserError, match=r"'irnet': over 10 seeds .* unchanged code passes .*--anyway"):
        gate.update(path, before, "first", margin=0.5)
    assert not path.exists()
    held = gate.update(path, before, "first").methods["irnet"]
    assert held.gate is not None
    assert held.gate.seeds == tuple(range(10))
    found = margins.of(list(held.values[held.gate.endpoint].values()), Scale.SHARE, held.gate.margin, 10)
    assert found is not None
    assert found.enough
    assert f"{held.gate.margin:.3g} points" in gate.described(held)
    gate.update(path, before, "smaller", margin=0.5, anyway=True)
    assert gate.load(path).methods["irnet"].gate.margin == 0.5  # type: ignore[union-attr]
    # Few seeds: no gate without being asked for one.
    few = Store(tmp_path / "few", create=True)
    make_store.add(few, "irnet", 0)
    with pytest.raises(UserError, match="a gate needs 2 a side"):
        gate.update(tmp_path / "few.json", few, "first")


@pytest.mark.parametrize("margin", [0.0, -1.0, float("nan"), float("inf"), 20.5])
def test_a_margin_is_finite_and_bounded(tmp_path: Path, margin: float) -> None:
    before = store(tmp_path / "before", spread=0.3)
    with pytest.raises(UserError, match="margin"):
        gate.update(tmp_path / "robustness.json", before, "first", margin=margin, anyway=True)
    gate.update(tmp_path / "robustness.json", before, "first")
    with pytest.raises(UserError, match="margin"):
        gate.check(before, gate.load(tmp_path / "robustness.json"), margin=margin)
