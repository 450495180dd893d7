"""Climbs: which surrogates they go through, how far their steps are, what they find, and which images climb where."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from lcrbench.bench.lipschitz import climb, nearer, search
from lcrbench.bench.lipschitz.ball import length
from lcrbench.bench.lipschitz.options import Options
from lcrbench.bench.lipschitz.probe import Probe
from lcrbench.bench.lipschitz.tally import FIGURES, Tally

from .nets import built, grey, subject

NORMS = ("l2", "linf")
RADII: Any = {"l2": (8.0, 128.0), "linf": (2.0, 8.0)}


def begun(norm: str, images: int = 8) -> Probe:
    """Return a probe of a random binary network in two balls."""
    options = Options(**{"l2": (), "linf": (), norm: RADII[norm]}, images=images)
    oracle, start = search.begin(subject(built(size=32), grey(images, 32, seed=2, low=0, high=1)), options)
    return Probe(oracle, Tally(start, options.balls()), 0)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("steps", "runs"), [(1, [1]), (15, [15]), (16, [8, 8]), (24, [8, 8, 8]), (40, [13, 13, 14])])
def test_runs_share_the_steps_which_shrink(
    norm: str, steps: int, runs: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    probe, seen = begun(norm), []
    plain = probe.pull

    def pull(rows: np.ndarray, points: torch.Tensor, weigh: Any, surrogate: Any) -> Any:
        seen.append((surrogate, points))
        return plain(rows, points, weigh, surrogate)

    monkeypatch.setattr(probe, "pull", pull)
    climb.climb(probe, 1, "kappa", steps, "test")
    ball, x = probe.tally.balls[1], probe.tally.start.x
    assert [surrogate for surrogate, _ in seen] == [
        s for s, n in zip(climb.CLIMBED, runs, strict=False) for _ in range(n)
    ]
    assert (probe.passes == 2 * steps + 1).all()
    assert all((ball.length(points.double() - x.double()) <= ball.eps).all() for _, points in seen)
    first = 0
    for number, count in enumerate(runs):
        points = [p for _, p in seen[first : first + count]]
        moved = [float(length(norm, b - a).max()) for a, b in pairwise(points)]
        limit = climb.LATER_STEP if number else climb.FIRST_STEP
        for step, far in enumerate(moved):
            share = 0.05 + 0.95 * (1 + np.cos(np.pi * step / count)) / 2
            assert 0 < far <= limit * share * ball.eps * (1 + 1e-4)
        first += count


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("figure", FIGURES)
def test_a_climb_finds_more_than_as_many_passes_at_random(norm: str, figure: Any) -> None:
    steps = 60
    gradients, random = begun(norm, 16), begun(norm, 16)
    climb.climb(gradients, 1, figure, steps, "test")
    climb.search_within(random, 1, figure, 2 * steps + 1, "test")
    assert (gradients.passes == random.passes).all()
    found, other = (np.median(p.tally.best(figure)[1].value) for p in (gradients, random))
    assert found > 1.05 * other > 0


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("passes", "steps"), [(20, 4), (60, 14), (101, 24), (1000, 24)])
def test_gradients_take_half_of_a_climb_and_no_more_steps_than_help(
    norm: str, passes: int, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe, spent = begun(norm), []
    monkeypatch.setattr(climb, "climb", lambda probe, k, figure, some, name, rows: spent.append(("along", some)))
    monkeypatch.setattr(
        climb, "search_within", lambda probe, k, figure, some, name, rows: spent.append(("random", some))
    )
    climb.search_ball(probe, 1, "kappa", passes, True, None, "test")
    assert set(spent[2:]) == {("along", steps), ("random", passes - 2 * steps - 1)}


@pytest.mark.parametrize("norm", NORMS)
def test_who_climbs_where(norm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first image has no flip, the second one in the larger ball alone, the third in both."""
    passes, probe = 400, begun(norm, 3)
    small, large = (b.eps for b in probe.tally.balls)
    probe.tally.radius = np.array([np.inf, (small + large) / 2, small / 2])
    climbed: list[Counter[tuple[int, str]]] = [Counter(), Counter(), Counter()]
    others = np.zeros(3, dtype=int)

    def search_ball(probe: Probe, k: int, figure: str, some: int, *rest: Any) -> None:
        for row in rest[-1]:
            climbed[row][k, figure] += some

    def elsewhere(rows: np.ndarray, some: int) -> None:
        others[rows] += some

    monkeypatch.setattr(nearer, "search_ball", search_ball)
    monkeypatch.setattr(nearer, "search_sets", lambda probe, units, some, name, rows, begin: elsewhere(rows, some))
    monkeypatch.setattr(nearer, "bring_nearer", lambda probe, some, name, rows: elsewhere(rows, some))
    units: Any = None
    each = {(k, figure): 50 for k in (0, 1) for figure in FIGURES}
    if norm == "l2":
        nearer.sets_next(probe, units, passes, None, "test")
        assert climbed == [{(1, "kappa"): 280}, {}, each]
        assert others.tolist() == [120, 400, 200]
    else:
        nearer.climb_next(probe, passes, None, "test")
        assert climbed == [{(1, "kappa"): 400}, {(0, "kappa"): 400}, each]
        assert others.tolist() == [0, 0, 200]
