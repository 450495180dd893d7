"""Small squares of one colour: what they change, what they find, and flips that they bring nearer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lcrbench.bench.lipschitz import climb, nearer, search
from lcrbench.bench.lipschitz.moves import PATCH, PATCH_LENGTH, patched
from lcrbench.bench.lipschitz.options import Options
from lcrbench.bench.lipschitz.probe import Probe
from lcrbench.bench.lipschitz.results import kappas_of
from lcrbench.bench.lipschitz.tally import Tally

from .nets import built, grey, subject

NORMS = ("l2", "linf")
SHAPES = [(32, 32), (20, 32), (4, 4), (2, 3), (1, 1)]


def draws(n: int, seed: int = 0) -> list[np.random.Generator]:
    return [np.random.default_rng([seed, k]) for k in range(n)]


def displacements(n: int, h: int, w: int) -> Tensor:
    """Return displacements without an entry that a patch could leave as it is."""
    return torch.from_numpy(np.random.default_rng(1).uniform(3, 4, (n, 3, h, w)).astype(np.float32))


def begun(norm: str, passes: int, images: int = 16) -> Probe:
    """Return a probe of a random binary network, after `passes` passes of random search in a ball of 8/255 or 128/255."""
    radii: Any = {"l2": (), "linf": (), norm: (128.0,) if norm == "l2" else (8.0,)}
    options = Options(**radii, images=images)
    oracle, start = search.begin(subject(built(size=32), grey(images, 32, seed=2, low=0, high=1)), options)
    probe = Probe(oracle, Tally(start, options.balls()), 0)
    climb.search_within(probe, 0, "kappa", passes, "begun")
    return probe


@pytest.mark.parametrize(("h", "w"), SHAPES)
def test_a_patch_in_linf_is_one_square_of_one_colour_at_the_edge_of_the_ball(h: int, w: int) -> None:
    n = 200
    radius = torch.linspace(0.1, 2, n)
    d = displacements(n, h, w)
    moved = patched("linf", radius, d, draws(n))
    sides = set()
    for k in range(n):
        changed = (moved[k] != d[k]).all(0)
        assert torch.equal(changed, (moved[k] != d[k]).any(0)), "a pixel changes in all channels or in none"
        sides.add(side_of(changed))
        inside = moved[k][:, changed]
        assert (inside == inside[:, :1]).all()
        assert (inside.abs() == radius[k]).all()
    assert sides == set(range(1, max(1, max(h, w) // PATCH) + 1))


@pytest.mark.parametrize("filled", [1.0, 0.9, 0.0])
@pytest.mark.parametrize(("h", "w"), SHAPES)
def test_a_patch_in_l2_takes_the_length_of_another_square_and_leaves_the_rest(h: int, w: int, filled: float) -> None:
    """`filled` is the share of the radius that the displacement has already."""
    n = 200
    d = displacements(n, h, w)
    before = d.flatten(1).norm(dim=1)
    radius, d, before = before / max(filled, 0.5), d * (filled > 0), before * (filled > 0)
    moved = patched("l2", radius, d, draws(n))
    after = moved.flatten(1).norm(dim=1)
    sides = set()
    for k in range(n):
        coloured = (moved[k] != d[k]).all(0) & (moved[k] != 0).all(0)
        given = (d[k] != 0).all(0) & (moved[k] == 0).all(0)
        assert torch.equal(coloured | given, (moved[k] != d[k]).any(0)), "the rest stays"
        sides.add(side_of(coloured))
        inside = moved[k][:, coloured]
        assert (inside == inside[:, :1]).all()
        free = max(0.0, float(radius[k] ** 2 - before[k] ** 2))
        more = min(free, (PATCH_LENGTH * float(radius[k])) ** 2 * float(coloured.float().mean()))
        assert float(after[k]) ** 2 == pytest.approx(float(before[k]) ** 2 + more, rel=1e-4)
        assert float(after[k]) <= float(radius[k]) * (1 + 1e-5)
    assert sides == set(range(1, max(1, max(h, w) // PATCH) + 1))


def side_of(square: Tensor) -> int:
    """Return the side of a square of pixels (H, W) that the image may cut off; fails for any other shape."""
    rows, columns = square.any(1).nonzero().flatten(), square.any(0).nonzero().flatten()
    assert len(rows)
    assert square.sum() == len(rows) * len(columns) == (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)
    return max(len(rows), len(columns))


@pytest.mark.parametrize("norm", NORMS)
def test_a_patch_depends_on_its_own_image_alone(norm: str) -> None:
    d, radius = displacements(6, 8, 8), torch.linspace(1, 2, 6)
    together = patched(norm, radius, d, draws(6))
    some = [4, 1]
    assert torch.equal(together[some], patched(norm, radius[some], d[some], [draws(6)[k] for k in some]))


@pytest.mark.parametrize("norm", NORMS)
def test_patches_find_more_than_noise(norm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """At equal passes, over images of a size for which noise alone moves all signs at once."""
    found = {}
    for plan in (("patch",), ("noise",)):
        monkeypatch.setattr(climb, "PLAN", plan)
        probe = begun(norm, 150)
        assert (probe.passes == 150).all()
        found[plan] = np.log(probe.tally.kappa[0].value)
    assert found["patch",].mean() > found["noise",].mean() + 0.1
    assert (found["patch",] > found["noise",]).mean() >= 0.75


@pytest.mark.parametrize("norm", NORMS)
def test_flips_are_brought_nearer(norm: str) -> None:
    probe = begun(norm, 200)
    tally = probe.tally
    tally.radius[[3, 7]] = np.inf
    before, spent = tally.radius.copy(), probe.passes.copy()
    rows = np.arange(1, 16)
    flipped = np.isfinite(before) & np.isin(np.arange(16), rows)
    assert flipped.sum() >= 10
    nearer.bring_nearer(probe, 100, "test", rows)
    assert np.array_equal(probe.passes - spent, np.where(flipped, 100, 0))
    assert (tally.radius <= before).all()
    assert (tally.radius < nearer.NEARER * before)[flipped].mean() >= 0.5
    assert np.array_equal(tally.radius[~flipped], before[~flipped])
    at = np.flatnonzero(flipped)
    some = tally.of(at)
    points = tally.flips[torch.from_numpy(at)]
    assert (kappas_of(some, probe.oracle.logits(points)).max(1) >= 1).all()
    assert points.min() >= 0
    assert points.max() <= 1
    away = tally.balls[0].length(points.double() - some.x.double()).numpy()
    np.testing.assert_array_equal(away, tally.radius[at])


def test_nothing_is_spent_without_a_flip() -> None:
    probe = begun("linf", 1, images=4)
    probe.tally.radius[:] = np.inf
    nearer.bring_nearer(probe, 10, "test", np.arange(4))
    assert (probe.passes == 1).all()
