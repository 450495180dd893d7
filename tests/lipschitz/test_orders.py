"""Whether the orders of networks that the default effort tells are still there after ten times the passes.

Searched and told as `lcrbench lipschitz` does at its default effort: its radii, images, passes and rule. Ten times the
passes go on from there. The slow test takes three quarters of an hour of one core.
`pytest tests/lipschitz/test_orders.py --slow -s` prints the medians by effort, and what is told.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from lcrbench import registry
from lcrbench.bench.lipschitz import measure, options
from lcrbench.bench.lipschitz.subjects import Network
from lcrbench.bench.records.by_image import Effort, ImageKey, Images, Kept
from lcrbench.reports import lipschitz as reports
from lcrbench.reports.lipschitz import Lipschitz, Verdict, Why
from lcrbench.reports.words.lipschitz import figure_text, why_text

from .peers.attacks import fixture

KAPPA = "lipschitz_kappa"
NAMED = ({"irnet+lcr", "full_precision"}, "linf", 8.0)
"""The two networks, norm and radius in 1/255 whose order by kappa must be that of ten times the passes, or not be told."""

MORE = 10
UNSURE = {Why.EFFORTS_DISAGREE, Why.NOT_CONVERGED, Why.NO_DIFFERENCE, Why.HOLDS_0, Why.BY_CHANCE}
"""Why no order is told of numbers. The other reasons are about the way they were asked for: too few images or efforts."""


def searched() -> list[str]:
    """Return the metrics of a search that networks are ranked by."""
    return [
        n for n in measure.metrics() if measure.searched(m := registry.load("metric", n)) and m.INFO.ranking is not None
    ]


def told(networks: Mapping[str, Network], asked: options.Options, folder: Path) -> Lipschitz:
    """Return what the command tells of a search of these networks; the rounds that `folder` holds are not searched again."""
    alone = []
    for label, network in networks.items():
        m = measure.measure(network, asked, searched(), folder, None, tell=lambda line: print(line, flush=True))
        alone.append(reports.Alone(label, m.measurements, m.by_image, m.infos, signs=network.has_signs))
    return reports.of_networks(alone)


def line(v: Verdict) -> str:
    """Say what is told of a pair."""
    what = f"{v.first.label} against {v.second.label}, {figure_text(v.figure)}: gap {v.gap.value:.3g}, p {v.p:.2g}"
    return f"{what}: {why_text(v) or f'{v.better.label} is better'}"


def turned(before: Lipschitz, after: Lipschitz) -> list[str]:
    """Return the orders that one search tells and whose medians lie the other way round by another."""
    then = {(v.first.label, v.second.label, v.figure): v for v in after.verdicts}
    wrong = []
    for v in before.verdicts:
        late = then[v.first.label, v.second.label, v.figure]
        if v.separated and v.gap.value * late.gap.value < 0:
            wrong.append(f"{line(v)}; then {line(late)}")
    return wrong


def named(found: Lipschitz) -> Verdict:
    """Return what is told of the named pair."""
    pair, norm, radius = NAMED
    (verdict,) = (
        v
        for v in found.verdicts
        if {v.first.label, v.second.label} == pair
        and (v.figure.metric, v.figure.norm, v.figure.radius_255) == (KAPPA, norm, radius)
    )
    return verdict


@pytest.mark.slow
def test_an_order_that_is_told_holds_at_ten_times_the_effort(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By all figures that networks are ranked by, in all balls; the named pair by kappa at linf 8/255 besides."""
    asked = options.of_effort("default")
    networks = fixture(tmp_path / "store")
    default = told(networks, asked, tmp_path)
    passes = options.EFFORTS["default"]
    assert [e.passes for e in default.efforts] == [passes // 4, passes]
    monkeypatch.setitem(options.EFFORTS, "tenfold", MORE * passes)
    tenfold = told(networks, dataclasses.replace(asked, effort="tenfold"), tmp_path)
    assert tenfold.efforts[-1].passes == MORE * passes
    for found in (default, tenfold):
        print(
            f"\nefforts: {', '.join(f'{e.passes:,}' for e in found.efforts)} passes an image",
            *map(line, found.verdicts),
            sep="\n",
        )
    one, ten = named(default), named(tenfold)
    for found in (default, tenfold):
        for row in found.rows:
            for effort in found.efforts:
                kappa = found.searches[row.index][0].figures[effort, one.figure]
                print(
                    f"{row.label}, {effort.passes} passes: median kappa {np.median(kappa):.4g}, {(kappa >= 1).sum()} flips"
                )
    assert any(v.separated for v in default.verdicts)
    assert not turned(default, tenfold)
    if one.separated:
        assert one.gap.value * ten.gap.value > 0, f"{line(one)}; then {line(ten)}"
    else:
        assert one.why in UNSURE, line(one)


def of_kappa(by_effort: Mapping[str, Sequence[np.ndarray]]) -> Lipschitz:
    """Return what the command tells of networks' kappa (images) in the named ball, after 600 and 2,400 passes."""
    info = registry.load("metric", KAPPA).INFO
    alone = []
    for label, looks in by_effort.items():
        n = len(looks[0])
        images = Images.of(np.arange(n, dtype=np.uint8).reshape(n, 1, 1, 1), np.arange(n))
        kept = {
            ImageKey.at(KAPPA, Effort(passes=passes, gradients=True), NAMED[1], NAMED[2] / 255): Kept(
                v.astype(np.float32), images
            )
            for passes, v in zip((600, 2400), looks, strict=True)
        }
        alone.append(reports.Alone(label, [], kept, {KAPPA: info}))
    return reports.of_networks(alone)


def test_an_order_that_turns_is_seen() -> None:
    """What is told and turns is named, what was not told is not, and neither is what stays."""
    low, high = (np.random.default_rng(k).normal(k, 0.05, 100) for k in (1, 2))
    first = of_kappa({"irnet+lcr": [low, low], "full_precision": [high, high], "bnn": [low, 2 * high]})
    then = of_kappa({"irnet+lcr": [high, high], "full_precision": [low, low], "bnn": [2 * high, 2 * high]})
    assert named(first).separated
    assert named(first).better.label == "irnet+lcr"
    (wrong,) = turned(first, then)
    assert wrong.startswith("irnet+lcr against full_precision, kappa, ")
    assert not turned(first, first)
    unsure = of_kappa({"irnet+lcr": [high, low], "full_precision": [low, high], "bnn": [low, high]})
    assert named(unsure).why in UNSURE
    assert not turned(unsure, then)
