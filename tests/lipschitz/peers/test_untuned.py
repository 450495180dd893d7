"""The search on networks that it was not tuned on: ResNet-20 by three methods, another seed than the fixture's.

Slow: an hour and more of one core. `pytest tests/lipschitz/peers/test_untuned.py --slow -s` prints the flips of each attack.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from ..searched import at_once
from .attacks import HAIR, RADII, Logits, attacks, first_images, on_bits, resnets

METHODS = ("bnn", "irnet", "adabin")
SEED = 1
IMAGES = 60

SHARE = 0.95
"""Least share of the flips of all together that the default search has to find in each ball."""

FARTHER = 1.5
"""By what factor the median flip radius of the default search may exceed that of all together, beyond one grey value."""

GREY = 1 / 255

MEDIAN = "median l2"

NOT_YET: dict[tuple[str | int, ...], str] = {
    ("adabin", "l2", 8): "it found 12 of 13, four times its passes 13",
    ("adabin", "l2", 128): "it found 14 of 17, four times its passes 16",
    ("adabin", "linf", 8): "it found 13 of 17, four times its passes 17",
    ("adabin", MEDIAN): "it found 1.64/255, all together 0.19/255",
}
"""Where the search does not find as much yet, and what was found of 20 images."""


def case(label: str, *what: str | int) -> Any:
    """Return the values of a test, which has to fail where `NOT_YET` says so."""
    why = NOT_YET.get((label, *what))
    marks = [] if why is None else [pytest.mark.xfail(strict=True, raises=AssertionError, reason=why)]
    return pytest.param(label, *what, marks=marks)


class Compared(NamedTuple):
    """Flip radii (n) by norm in pixel units: of the default search, of four times its passes, and of all together."""

    ours: dict[str, np.ndarray]
    longer: dict[str, np.ndarray]
    union: dict[str, np.ndarray]


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Compared]:
    """Return what compares the attacks on a network, once, by its label."""
    for needed in ("foolbox", "art"):
        pytest.importorskip(needed)
    networks = resnets(tmp_path_factory.mktemp("untuned") / "store", METHODS, SEED)

    @functools.cache
    def of(label: str) -> Compared:
        subject = on_bits(networks[label], IMAGES)
        images = first_images(networks[label], IMAGES)
        ours, longer = at_once(subject, RADII), at_once(subject, RADII, "full", seed=1)
        if subject.inference is None or not subject.inference.name.startswith("packed"):
            pytest.fail(f"{label} is not searched on packed bits")  # also where a test has to fail
        union = {norm: np.minimum(ours.radii[norm], longer.radii[norm]) for norm in RADII}
        for norm in RADII:
            for result in attacks(Logits(subject), images, ours.passes[norm], norm):
                print(f"{label} {result}", flush=True)
                union[norm] = np.minimum(union[norm], result.radii / (1 + HAIR))
        return Compared(ours.radii, longer.radii, union)

    return of


@pytest.mark.slow
@pytest.mark.parametrize(
    ("label", "norm", "grey"),
    [case(label, norm, round(255 * r)) for label in METHODS for norm, balls in RADII.items() for r in balls],
)
def test_the_default_search_finds_what_any_attack_finds(
    label: str, norm: str, grey: int, compared: Callable[[str], Compared]
) -> None:
    """Against four times its passes from another seed, and against peers at as many passes as it takes for a norm."""
    mine, longer, union = (int((each[norm] <= grey / 255).sum()) for each in compared(label))
    print(f"{label} {norm} {grey}/255: default {mine} flips, full effort {longer}, all together {union}", flush=True)
    assert mine >= SHARE * union


@pytest.mark.slow
@pytest.mark.parametrize(("label", "what"), [case(label, MEDIAN) for label in METHODS])
def test_the_median_flip_radius_is_that_of_any_attack(
    label: str, what: str, compared: Callable[[str], Compared]
) -> None:
    middle, longer, least = (float(np.median(each["l2"])) for each in compared(label))
    figures = f"{255 * middle:.2f}, full effort {255 * longer:.2f}, all together {255 * least:.2f}"
    print(f"{label}: median flip radius in l2, 1/255: default {figures}", flush=True)
    assert middle <= max(GREY, FARTHER * least)
