"""What a search spends: within its budget for any radii, and marks of its curves where every network of a kind has them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lcrbench.bench.lipschitz import search, stored
from lcrbench.bench.lipschitz.options import Options
from lcrbench.bench.lipschitz.oracle import Oracle

from .nets import Linear, built, grey, subject

FULL = {"l2": (1, 2, 4, 8, 16, 32, 64, 128, 255), "linf": (1, 2, 4, 8)}
MANY = {
    "2 and 1": {"l2": (8, 128), "linf": (8,)},
    "4 and 1": {"l2": (2, 8, 32, 128), "linf": (8,)},
    "9 and 4": FULL,
    "19 and 1": {"l2": tuple(range(1, 20)), "linf": (8,)},
    "1 and 19": {"l2": (8,), "linf": tuple(range(1, 20))},
    "20 of l2": {"l2": tuple(range(1, 21))},
    "1 and 70": {"l2": (8,), "linf": tuple(range(1, 71))},
}


@pytest.mark.parametrize("gradients", [True, False])
@pytest.mark.parametrize("radii", [pytest.param(r, id=name) for name, r in MANY.items()])
def test_no_round_passes_its_budget_however_many_radii_it_has(
    radii: dict[str, tuple[float, ...]], gradients: bool
) -> None:
    options = Options(**radii, images=2, gradients=gradients)
    oracle, start = search.begin(subject(built(), grey(2, 16, low=0, high=1)), options)
    for ended in search.rounds(oracle, start, options):
        allowed = ended.look.effort.passes
        assert allowed is not None
        spent = {norm: int(ended.state[f"{norm} passes"].max()) for norm in options.norms()}
        assert sum(spent.values()) <= allowed
        for norm, curve in ended.curves.items():
            at = [mark.passes for mark in curve]
            assert at == sorted(set(at)), "marks at one position would be one record twice"
            assert at[-1] == allowed * len(ended.look.of(norm)) // len(options.balls())
            assert spent[norm] <= at[-1]


@pytest.mark.parametrize("linf", [1, 6, 12])
def test_a_share_too_small_for_a_descent_has_none(linf: int) -> None:
    options = Options(l2=(8,), linf=tuple(range(1, linf + 1)), images=2)
    result = search.modulus(subject(built(), grey(2, 16, low=0, high=1)), options)
    assert (result.of("linf")[-1].omega > 0).all()


def test_marks_stand_where_the_passes_are() -> None:
    """After each part of a round, within a few passes."""
    options = Options(l2=(8, 128), linf=(2, 8), images=6)
    s = subject(built(), grey(6, 16, low=0, high=1))
    oracle, start = search.begin(s, options)
    taken: dict[str, list[int]] = {norm: [] for norm in options.norms()}
    plain = search._marker

    def marker(probe, curve, positions):  # type: ignore[no-untyped-def]
        mark = plain(probe, curve, positions)

        def both(part: int) -> None:
            mark(part)
            taken[probe.tally.norm].append(int(probe.passes.max()))

        return both

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(search, "_marker", marker)
        *_, last = search.rounds(oracle, start, options)
    for norm, curve in last.curves.items():
        assert len(curve) == len(taken[norm]) == 7
        np.testing.assert_allclose([mark.passes for mark in curve], taken[norm], atol=12)


def test_curves_of_networks_that_take_unequal_passes_have_marks_at_equal_positions() -> None:
    """Seeds of a method are joined by position: one whose images hold no flip takes fewer passes, at the same marks."""
    options = Options(l2=(0.5, 1, 2), linf=(0.05, 0.2), images=4)
    at, spent = set(), set()
    for seed, scale in ((0, 1.0), (1, 1.0), (2, 1e-3)):
        images = 0.5 + scale * (grey(4, 16, seed, 0, 1) - 0.5)
        oracle, start = search.begin(subject(built(seed=seed), images), options)
        *_, last = search.rounds(oracle, start, options)
        at.add(tuple(mark.passes for curve in last.curves.values() for mark in curve))
        spent.add(tuple(int(last.state[f"{norm} passes"].max()) for norm in options.norms()))
    assert len(spent) > 1, "all took the same: the test shows nothing"
    assert len(at) == 1


def test_a_radius_draws_from_those_next_to_it_alone() -> None:
    """With up to three radii from all others; more would cost passes by the square of their number."""
    from lcrbench.bench.lipschitz.climb import carry
    from lcrbench.bench.lipschitz.probe import Probe
    from lcrbench.bench.lipschitz.tally import Tally

    for count, each in ((1, 0), (2, 1), (3, 2), (7, 2)):
        options = Options(l2=tuple(range(1, count + 1)), images=2)
        oracle, start = search.begin(subject(Linear(np.eye(3, 48)), grey(2)), options)
        probe = Probe(oracle, Tally(start, options.balls()), 0)
        assert [carry(probe, k, "kappa", 100) for k in range(count)] == [each] * count
        assert (probe.passes == count * each).all()
        assert carry(probe, 0, "kappa", 1) == min(1, each)
        assert carry(probe, 0, "kappa", -3) == 0


def test_a_stored_search_is_one_of_the_images_that_walks_end_at() -> None:
    """Two data sets that agree on all images that are measured, and differ in another one."""
    labels = np.arange(40) % 4
    images = grey(40)
    changed = images.copy()
    options = Options(l2=(8,), images=4)
    at = Oracle.of(subject(Linear(np.eye(3, 48)), images, labels), 4).indices
    rest = np.setdiff1d(np.arange(40), at)
    changed[rest] = 1 - changed[rest]
    names = set()
    for test in (images, images.copy(), changed):
        oracle, start = search.begin(subject(Linear(np.eye(3, 48)), test, labels), options)
        assert np.array_equal(oracle.images, images[at])
        names.add(stored.identity(oracle, start, options))
    assert len(names) == 2
    oracle, start = search.begin(subject(Linear(np.eye(3, 48)), images, labels), options)
    assert stored.identity(oracle, start, dataclasses.replace(options, effort="full")) in names
