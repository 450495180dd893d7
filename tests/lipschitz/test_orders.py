"""Whether an order of two networks that the default effort tells is still there after ten times the passes.

`pytest tests/lipschitz/test_orders.py --slow -s` prints the medians and flips by effort: more than an hour of one core.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lcrbench.bench import stats
from lcrbench.bench.lipschitz import options, search
from lcrbench.bench.lipschitz.results import Look
from lcrbench.reports.lipschitz.verdicts import STEEP
from lcrbench.reports.significance import ALPHA

from .nets import subject
from .peers.attacks import first_images, fixture

TENFOLD = 10 * options.EFFORTS["default"]


def looks(network: object, images: np.ndarray) -> list[Look]:
    """Search with the default effort's radii; return what was found after 600, 2,400 and 24,000 passes an image."""
    asked = replace(options.of_effort("default"), images=len(images), effort="tenfold")
    result = search.modulus(subject(network, images, block=len(images)), asked)  # type: ignore[arg-type]
    return [look for look in result.looks if look.effort.passes in (600, 2400, TENFOLD)]


@pytest.mark.slow
def test_an_order_that_is_told_holds_at_ten_times_the_effort(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the rule of the reports, without their correction for many comparisons, which would tell fewer orders."""
    monkeypatch.setitem(options.EFFORTS, "tenfold", TENFOLD)
    monkeypatch.delitem(options.EFFORTS, "full")
    found = {}
    for label, network in fixture(tmp_path / "store").items():
        images = np.ascontiguousarray(first_images(network, 100).permute(0, 2, 3, 1).numpy())
        found[label] = looks(network.looked.network, images)
        assert [look.effort.passes for look in found[label]] == [600, 2400, TENFOLD]
        for look in found[label]:
            told = (
                f"{f.ball.norm} {f.ball.eps * 255:g}: {np.median(f.kappa):.3g}, {f.flipped.sum()}" for f in look.found
            )
            print(f"{label}, {look.effort.passes} passes: median kappa, flips: {'; '.join(told)}", flush=True)
    wrong, told = [], 0
    for (a, ours), (b, theirs) in itertools.combinations(found.items(), 2):
        for k, ball in enumerate(options.of_effort("default").balls()):
            sides = [[stats.resampled_medians([look.found[k].kappa]) for look in side] for side in (ours, theirs)]
            gaps = [stats.gap(x, y) for x, y in zip(*sides, strict=True)]
            quick, default, ten = (g.interval.value for g in gaps)
            better = sides[0 if default < 0 else 1]
            moved = abs(better[1].value - better[0].value) / max(abs(better[0].value), 1e-12)
            if np.sign(quick) == -np.sign(default) or moved > STEEP or gaps[1].p >= ALPHA:
                continue
            told += 1
            if np.sign(ten) == -np.sign(default) and gaps[2].p < ALPHA:
                wrong.append(f"{a} against {b}, {ball}: {default:.3g} (p {gaps[1].p:.2g}), then {ten:.3g}")
    print(f"{told} orders told by the default effort, turned by ten times the passes: {wrong}")
    assert told
    assert not wrong
