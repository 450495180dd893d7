"""The default search of a network against four times its passes and against attacks that others wrote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pytest

from ..searched import at_once
from .attacks import HAIR, RADII, Attacked, Logits, attacks, first_images, on_bits

SHARE = 0.95
"""Least share of the flips of all together that the default search has to find in each ball."""

BALLS = [(norm, round(255 * radius)) for norm, radii in RADII.items() for radius in radii]
"""Norm and radius in 1/255 of each ball."""


class Compared(NamedTuple):
    """Flip radii (n) by norm in pixel units: of the default search, of four times its passes, and of all together.

    `peers` has what each attack found, by norm.
    """

    ours: dict[str, np.ndarray]
    longer: dict[str, np.ndarray]
    union: dict[str, np.ndarray]
    peers: dict[str, list[Attacked]]


def compared(label: str, network: Any, images: int) -> Compared:
    """Compare what finds flips of the first test images of a network.

    One default search for all balls stands against four times its passes from another seed, and against peers at as many
    passes an image as it takes for a norm; they start over for each of their runs.
    """
    for needed in ("foolbox", "art"):
        pytest.importorskip(needed)
    subject = on_bits(network, images)
    ours, longer = at_once(subject, RADII), at_once(subject, RADII, "full", seed=1)
    union = {norm: np.minimum(ours.radii[norm], longer.radii[norm]) for norm in RADII}
    peers: dict[str, list[Attacked]] = {norm: [] for norm in RADII}
    for norm in RADII:
        for result in attacks(Logits(subject), first_images(network, images), ours.passes[norm], norm):
            print(f"{label} {result}", flush=True)
            union[norm] = np.minimum(union[norm], result.radii / (1 + HAIR))
            peers[norm].append(result)
    if "full_precision" not in label and not (subject.inference and subject.inference.name.startswith("packed")):
        pytest.fail(f"{label} is not searched on packed bits")  # also where a test has to fail
    return Compared(ours.radii, longer.radii, union, peers)


def finds_its_share(label: str, norm: str, grey: int, found: Compared) -> bool:
    """Print the flips in a ball, and tell whether the default search finds `SHARE` of all."""
    flips = (int((each[norm] <= grey / 255).sum()) for each in (found.ours, found.longer, found.union))
    mine, longer, union = flips
    print(f"{label} {norm} {grey}/255: default {mine} flips, full effort {longer}, all together {union}", flush=True)
    return mine >= SHARE * union


def case(known: Mapping[tuple[str | int, ...], str], label: str, *what: str | int) -> Any:
    """Return the values of a test, which has to fail where `known` says why."""
    why = known.get((label, *what))
    marks = [] if why is None else [pytest.mark.xfail(strict=True, raises=AssertionError, reason=why)]
    return pytest.param(label, *what, marks=marks)
