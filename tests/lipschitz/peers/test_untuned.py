"""The search on networks that it was not tuned on: ResNet-20 by three methods, another seed than the fixture's.

Slow: an hour and more of one core. `pytest tests/lipschitz/peers/test_untuned.py --slow -s` prints the flips of each attack.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import pytest

from .attacks import resnets
from .compared import BALLS, Compared, case, compared, finds_its_share

METHODS = ("bnn", "irnet", "adabin")
SEED = 1
IMAGES = 60

FARTHER = 1.5
"""By what factor the median flip radius of the default search may exceed that of all together, beyond one grey value."""

GREY = 1 / 255

MEDIAN = "median l2"

NOT_YET: dict[tuple[str | int, ...], str] = {
    ("irnet", "l2", 8): "it found 46 of 53, four times its passes 53",
    ("adabin", "l2", 8): "it found 32 of 38, four times its passes 38",
    ("adabin", "l2", 128): "it found 43 of 51, four times its passes 51",
    ("adabin", "linf", 8): "it found 45 of 51, four times its passes 50",
    ("adabin", MEDIAN): "it found 5.74/255, all together 0.94/255",
}
"""Where the search does not find as much yet, and what was found."""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Compared]:
    """Return what compares the attacks on a network, once, by its label."""
    networks = resnets(tmp_path_factory.mktemp("untuned") / "store", METHODS, SEED)
    return functools.cache(lambda label: compared(label, networks[label], IMAGES))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("label", "norm", "grey"), [case(NOT_YET, label, *ball) for label in METHODS for ball in BALLS]
)
def test_the_default_search_finds_what_any_attack_finds(
    label: str, norm: str, grey: int, found: Callable[[str], Compared]
) -> None:
    assert finds_its_share(label, norm, grey, found(label))


@pytest.mark.slow
@pytest.mark.parametrize(("label", "what"), [case(NOT_YET, label, MEDIAN) for label in METHODS])
def test_the_median_flip_radius_is_that_of_any_attack(label: str, what: str, found: Callable[[str], Compared]) -> None:
    each = found(label)
    middle, longer, least = (float(np.median(r["l2"])) for r in (each.ours, each.longer, each.union))
    figures = f"{255 * middle:.2f}, full effort {255 * longer:.2f}, all together {255 * least:.2f}"
    print(f"{label}: median flip radius in l2, 1/255: default {figures}", flush=True)
    assert middle <= max(GREY, FARTHER * least)
