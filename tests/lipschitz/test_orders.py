"""Whether an order of two networks that the default effort tells is still there after ten times the passes.

The linf half of the default search alone, which is no shorter without the l2 half, on packed bits, on as many images as an
order needs and a few: some five minutes of one core, where both halves on 100 images took more than an hour.
`pytest tests/lipschitz/test_orders.py --slow -s` prints the medians and flips by effort.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from lcrbench.bench import stats
from lcrbench.bench.data.arrays import Split
from lcrbench.bench.evaluation.engine import served
from lcrbench.bench.lipschitz import options, search
from lcrbench.bench.lipschitz.results import Look
from lcrbench.reports.lipschitz.verdicts import STEEP
from lcrbench.reports.significance import ALPHA

from .peers.attacks import fixture

IMAGES = 24
HALVES = {name: options.EFFORTS[name] // 2 for name in ("trial", "quick", "default")}
TENFOLD = 10 * HALVES["default"]
ASKED = (HALVES["quick"], HALVES["default"], TENFOLD)


def looks(network: nn.Module, test: Split) -> list[Look]:
    """Search with the default effort's linf radii; return what was found after the passes of `ASKED` an image."""
    wanted = options.Options(l2=(), linf=options.RADII["default"]["linf"], images=IMAGES, effort="tenfold")
    oracle, start = search.begin(served(network.eval(), test, IMAGES), wanted)
    return [r.look for r in search.rounds(oracle, start, wanted) if r.look.effort.passes in ASKED]


@pytest.mark.slow
def test_an_order_that_is_told_holds_at_ten_times_the_effort(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the rule of the reports, without their correction for many comparisons, which would tell fewer orders."""
    monkeypatch.setattr(options, "EFFORTS", HALVES | {"tenfold": TENFOLD})
    found = {}
    for label, network in fixture(tmp_path / "store").items():
        found[label] = looks(network.looked.network, network.dataset.test)
        assert tuple(look.effort.passes for look in found[label]) == ASKED
        for look in found[label]:
            told = (
                f"{f.ball.norm} {f.ball.eps * 255:g}: {np.median(f.kappa):.3g}, {f.flipped.sum()}" for f in look.found
            )
            print(f"{label}, {look.effort.passes} passes: median kappa, flips: {'; '.join(told)}", flush=True)
    wrong, told = [], 0
    for (a, ours), (b, theirs) in itertools.combinations(found.items(), 2):
        for k, ball in enumerate(f.ball for f in ours[0].found):
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
