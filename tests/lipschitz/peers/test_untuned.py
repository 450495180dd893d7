"""The search on networks that it was not tuned on: ResNet-20 by three methods, another seed than the fixture's.

Slow: some half an hour of one core. `pytest --slow -s` prints the flips of each attack.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lcrbench
from lcrbench.bench.evaluation.engine import Served
from lcrbench.bench.lipschitz import search, subjects
from lcrbench.bench.lipschitz.options import EFFORTS, Options
from lcrbench.bench.records.store import Store

from .attacks import HAIR, RADII, Logits, attacks, first_images, on_bits

METHODS = ("bnn", "irnet", "adabin")
SEED = 1
IMAGES = 20
SHARES = {("l2", 8 / 255): 0.85, ("l2", 128 / 255): 0.95, ("linf", 8 / 255): 0.95}
"""Least share of the flips of all together that the default search has to find, in the balls of `RADII`.

Most flips of these networks lie within one step of a grey value. The few that lie farther, though within l2 8/255, take the
default search longest: it found 18 of 19 (bnn), 15 of 15 (irnet) and 12 of 13 (adabin) there.
"""

FARTHER = 1.5
"""By what factor the median flip radius of the default search may exceed that of all together, beyond one grey value."""

GREY = 1 / 255

NOT_YET = pytest.mark.xfail(
    strict=True,
    reason="of 17 flips within l2 128/255 it found 14, of 17 within linf 8/255 13; "
    "four times its passes found 16 and 17. Its median radius in l2 was 1.64/255, that of all together 0.19",
)


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    place: Path = tmp_path_factory.mktemp("untuned") / "store"
    runs = lcrbench.run(
        "quick",
        place,
        backbone="resnet20",
        methods=METHODS,
        seeds=(SEED,),
        budget={"images": 24_000},
        evaluation={"corruptions": ("fog",), "severities": (1,)},
        metrics={"accuracy": {}},
        workers=1,
        quiet=True,
    )
    return dict(zip(METHODS, (subjects.of_run(Store(place), run) for run in runs), strict=True))


def radii(subject: Served, effort: str, seed: int) -> dict[str, np.ndarray]:
    """Return the flip radii of each norm that a search finds, in the images' order."""
    asked: Any = {norm: tuple(255 * r for r in balls) for norm, balls in RADII.items()}
    found = search.modulus(subject, Options(**asked, images=IMAGES, effort=effort, seed=seed))
    back = np.argsort(found.start.indices)
    return {norm: found.looks[-1].radius[norm][back] for norm in RADII}


@pytest.mark.slow
@pytest.mark.parametrize("label", ["bnn", "irnet", pytest.param("adabin", marks=NOT_YET)])
def test_the_default_search_finds_what_any_attack_finds(label: str, networks: dict[str, Any]) -> None:
    """Against four times its passes from another seed, and against peers at as many passes as it takes a norm."""
    for needed in ("foolbox", "art"):
        pytest.importorskip(needed)
    network, failed = networks[label], []
    images = first_images(network, IMAGES)
    subject = on_bits(network, IMAGES)
    ours, more = radii(subject, "default", 0), radii(subject, "full", 1)
    assert subject.inference is not None
    assert subject.inference.name.startswith("packed")
    for norm, balls in RADII.items():
        together = np.minimum(ours[norm], more[norm])
        for result in attacks(Logits(subject), images, EFFORTS["default"] // 2, norm):
            print(f"{label} {result}", flush=True)
            together = np.minimum(together, result.radii / (1 + HAIR))
        for ball in balls:
            mine, longer, union = (int((r <= ball).sum()) for r in (ours[norm], more[norm], together))
            print(f"{label} {norm} {ball * 255:g}/255: {mine} flips, full effort {longer}, all {union}", flush=True)
            if mine < SHARES[norm, ball] * union:
                failed.append(f"{norm} {ball * 255:g}/255: {mine} of {union} flips")
        middle, least = np.median(ours[norm]), np.median(together)
        print(f"{label} {norm}: median radius {255 * middle:.2f}/255, of all together {255 * least:.2f}", flush=True)
        if norm == "l2" and middle > max(GREY, FARTHER * least):
            failed.append(f"{norm}: median radius {255 * middle:.2f}/255, of all together {255 * least:.2f}")
    assert not failed, failed
