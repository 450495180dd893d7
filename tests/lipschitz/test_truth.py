"""What the search finds against exact answers.

`pytest -s` prints the found over the true figures of each kind of network. Networks without gradients are held to the same
standard of flip radii, and to a lower one of moduli: half of their passes is shared by the balls and figures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pytest
from torch import nn

from .cases import JUMPS, NORMS, SMOOTH
from .searched import Searched, searched
from .truth import Bracket, Cells, Hardtanh, Linear

PARTS = {"jumping": (0.5, 1.0, 2.0, 4.0), "smooth": (1.0, 4.0, 12.0)}
"""Radii of omega and kappa as multiples of the median flip radius; the last ones reach where hardtanh is at its ends."""


class Case(NamedTuple):
    """The exact answers for each image, the radii, and what the search reports."""

    flips: list[Bracket]
    omega: list[list[Bracket]]
    kappa: list[list[Bracket]]
    found: Searched


def _case(network: nn.Module, exact: list[Cells] | list[Linear] | list[Hardtanh], images: np.ndarray) -> Case:
    flips = [e.flip_radius() for e in exact]
    middle = float(np.median([f.certain for f in flips if np.isfinite(f.certain)]))
    if isinstance(exact[0], Cells):
        radii = [part * middle for part in PARTS["jumping"]]
    else:
        room = min(images.min(), 1 - images.max())
        radii = sorted({float(min(part * middle, room)) for part in PARTS["smooth"]})
    omega, kappa = ([[getattr(e, name)(r) for e in exact] for r in radii] for name in ("omega", "kappa"))
    return Case(flips, omega, kappa, searched(network, images, None, exact[0].norm, radii))


@cache
def jumping(kind: str, norm: str) -> list[Case]:
    cases = []
    for k, make in enumerate(JUMPS[kind]):
        network = make()
        images = np.random.default_rng(100 + k).uniform(0, 1, (16, *network.size, 3)).astype(np.float32)
        cases.append(_case(network, [Cells(network, image, norm) for image in images], images))
    return cases


@cache
def smooth(kind: str, norm: str) -> list[Case]:
    cases = []
    for k in range(2):
        make, exact = SMOOTH[kind]
        images = np.random.default_rng(200 + k).uniform(0.42, 0.58, (6, 2, 2, 3)).astype(np.float32)
        network = make(k)
        cases.append(_case(network, [exact(network, image, norm) for image in images], images))
    return cases


def flip_ratios(cases: list[Case]) -> np.ndarray:
    """Return found over true flip radii, of the images that have one."""
    pairs = [(r, f.certain) for case in cases for r, f in zip(case.found.radii, case.flips, strict=True)]
    return np.array([found / true for found, true in pairs if np.isfinite(true)])


def shares(cases: list[Case], name: str) -> np.ndarray:
    """Return found over true omega or kappa, where the true one is not 0."""
    pairs = [
        (v, b.certain)
        for case in cases
        for found, true in zip(getattr(case.found, name), getattr(case, name), strict=True)
        for v, b in zip(found, true, strict=True)
    ]
    return np.array([found / true for found, true in pairs if true > 0])


ALL = [(jumping, kind, norm) for kind in JUMPS for norm in NORMS] + [
    (smooth, kind, norm) for kind in SMOOTH for norm in NORMS
]
NAMES = [f"{kind}, {norm}" for _, kind, norm in ALL]
SLOW = {("one hidden layer", "linf"), ("binary convolutions", "linf"), ("no gradient", "linf"), ("hardtanh", "linf")}
"""What takes most of a minute and differs least from the others: with `--slow` alone."""


def those(kinds: Iterable[str]) -> list[Any]:
    """Return kind and norm as parameters of a test."""
    slow = pytest.mark.slow
    return [pytest.param(k, n, marks=[slow] if (k, n) in SLOW else []) for n in NORMS for k in kinds]


def all_of_them() -> list[Any]:
    slow = pytest.mark.slow
    return [
        pytest.param(*one, id=name, marks=[slow] if one[1:] in SLOW else [])
        for one, name in zip(ALL, NAMES, strict=True)
    ]


@pytest.mark.parametrize(("cases", "kind", "norm"), all_of_them())
def test_nothing_found_passes_the_truth(cases: Callable[[str, str], list[Case]], kind: str, norm: str) -> None:
    for case in cases(kind, norm):
        limits = np.array([f.limit for f in case.flips])
        assert (case.found.radii >= limits * (1 - 1e-7)).all(), "a flip nearer than the nearest"
        for name in ("omega", "kappa"):
            limit = np.array([[b.limit for b in row] for row in getattr(case, name)])
            # Logits are rounded to float32 on their way out.
            over = getattr(case.found, name) - limit * (1 + 1e-5)
            assert (over <= 1e-5).all(), f"{name} above the truth by {over.max()}"


@pytest.mark.parametrize(("kind", "norm"), those(JUMPS))
def test_flip_radii_are_near_the_truth(kind: str, norm: str) -> None:
    ratios = flip_ratios(jumping(kind, norm))
    middle, most = np.median(ratios), np.quantile(ratios, 0.95, method="higher")
    print(f"{kind}, {norm}: flip radius found/true median {middle:.3f}, 95 % {most:.2f}, most {ratios.max():.2f}")
    assert middle <= 1.10
    assert most <= 1.6


@pytest.mark.parametrize(("kind", "norm"), those(JUMPS))
def test_moduli_are_near_the_truth(kind: str, norm: str) -> None:
    omega, kappa = (shares(jumping(kind, norm), name) for name in ("omega", "kappa"))
    print(f"{kind}, {norm}: found/true omega mean {omega.mean():.3f} least {omega.min():.2f}, kappa {kappa.mean():.3f}")
    least = 0.75 if kind == "no gradient" else 0.9
    assert omega.mean() >= least
    assert kappa.mean() >= least


@pytest.mark.parametrize(("kind", "norm"), those(SMOOTH))
def test_smooth_networks_are_found_out(kind: str, norm: str) -> None:
    cases = smooth(kind, norm)
    found = {"radius": 1 / flip_ratios(cases), "omega": shares(cases, "omega"), "kappa": shares(cases, "kappa")}
    print(f"{kind}, {norm}: " + ", ".join(f"{k} mean {v.mean():.4f} least {v.min():.3f}" for k, v in found.items()))
    for name, share in found.items():
        assert share.mean() >= 0.98, name
