"""Networks without gradients in the Lipschitz part of a report: they are named, and compared by decisions alone."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from lcrbench.bench.records.by_image import ByImage, Effort, ImageKey, Images, Kept
from lcrbench.bench.records.measurement import Measurement
from lcrbench.reports import lipschitz, writers
from lcrbench.reports.figures import lipschitz_quantiles
from lcrbench.reports.lipschitz import Lipschitz
from lcrbench.reports.lipschitz import folder as lipschitz_folder
from lcrbench.reports.tables import lipschitz_separation
from lcrbench.reports.words.lipschitz import blind_note, effort_note, moved, summary

from . import make_store
from .lipschitz_runs import figure_table

N, RADIUS = 64, 128 / 255
SPREAD = np.linspace(0.9, 1.1, N)
ALONG = tuple(Effort(passes=n) for n in (150, 600))
BY_DECISIONS = tuple(Effort(passes=n, gradients=False) for n in (150, 600))

COMMAND = "lcrbench lipschitz RUN RUN ..."


def network(name: str, kappas: Mapping[Effort, float], flip: float = 40.0) -> lipschitz.Alone:
    """Return a network with a median kappa, and flips at a hundredth of that distance, by each effort; the last counts."""
    by_image: ByImage = {}
    images = Images(np.arange(N), b"")
    for effort, kappa in kappas.items():
        for metric, values in (
            ("lipschitz_kappa", kappa * SPREAD),
            ("lipschitz_flip_radius", np.full(N, flip / 255 + 0.1 * (not effort.gradients))),
        ):
            key = ImageKey.at(metric, effort, "l2", RADIUS)
            by_image[key] = Kept(values.astype(np.float32), images)
    best = max(kappas, key=lambda e: (e.gradients, e.passes or 0))
    measured = [
        Measurement(metric="lipschitz_kappa", statistic="q50", norm="l2", radius=RADIUS, value=kappas[best], n=N),
        Measurement(metric="lipschitz_flip_radius", statistic="q50", norm="l2", value=flip / 255, n=N),
    ]
    return lipschitz.Alone(name, measured, by_image, make_store.INFOS)


def along(kappa: float) -> dict[Effort, float]:
    return dict.fromkeys(ALONG, kappa)


def by_decisions(kappa: float) -> dict[Effort, float]:
    return dict.fromkeys(BY_DECISIONS, kappa)


@pytest.fixture
def stored() -> Lipschitz:
    """Return two networks and one without gradients, as a store has them: each searched in one way alone."""
    return lipschitz.of_networks(
        [network("fine", along(0.5)), network("keen", along(0.8)), network("blunt", by_decisions(0.2), flip=90)]
    )


@pytest.fixture
def alike() -> Lipschitz:
    """Return a network with gradients and one without, both searched by decisions alone, as the command does it."""
    return lipschitz.of_networks(
        [network("fine", along(0.5) | by_decisions(0.125)), network("blunt", by_decisions(0.25), flip=90)]
    )


def cells(found: Lipschitz, label: str) -> list[object]:
    (row,) = [r for r in figure_table(found).rows if r.label == label]
    return [c.text or c.value for c in row.cells]


def test_a_pair_without_a_common_search_is_said_not_to_be_compared(stored: Lipschitz) -> None:
    table = lipschitz_separation.pairs(stored)
    said = {r.label: r.cells[2].text for r in table.rows if r.label.endswith("all 2 figures")}
    assert list(said) == ["fine − blunt: all 2 figures", "keen − blunt: all 2 figures"]
    for (_, text), other in zip(said.items(), ("fine", "keen"), strict=True):
        assert text == f"not compared: blunt gives no gradient, and {other} was not searched without gradients"
    assert any(COMMAND in note for note in table.notes)
    printed = [line for line in lipschitz_folder.lines(stored) if "are not compared: blunt gives no gradient" in line]
    assert [line.partition(" are ")[0] for line in printed] == ["fine and blunt", "keen and blunt"]


def test_a_pair_without_a_common_search_has_a_table_where_it_is_the_only_one() -> None:
    found = lipschitz.of_networks([network("fine", along(0.5)), network("blunt", by_decisions(0.2))])
    assert found.verdicts == []
    table = lipschitz_separation.table(lipschitz_folder.alone(found))
    assert table is not None
    assert [r.label for r in table.rows] == ["fine − blunt: all 2 figures"]
    assert cells(found, "rank by kappa") == ["not compared"] * 2
    assert "fine 0.5 (not compared)" in summary(found)


def test_a_network_that_is_not_compared_may_stand_anywhere(stored: Lipschitz) -> None:
    assert cells(stored, "rank by kappa") == ["1–2", "2–3", "not compared"]
    assert "A rank such as 2–3 means not separated or not compared." in summary(stored)


def test_networks_without_gradients_are_named_wherever_figures_stand(stored: Lipschitz) -> None:
    said = "blunt gives no gradient (or only zeros) and was searched by decisions alone"
    notes = [figure_table(stored).notes, lipschitz_separation.pairs(stored).notes, lipschitz_folder.lines(stored)]
    assert all(any(note.startswith(said) for note in found) for found in notes)
    assert "It is not compared with fine, keen, of which there is no such search: `" + COMMAND in blind_note(stored)
    assert "searches of both" not in blind_note(stored)
    picture = lipschitz_quantiles.figure(lipschitz_folder.alone(stored))
    assert picture is not None
    assert "but without gradients for blunt" in picture.caption
    assert "blunt 0.2 (not compared; searched without gradients)" in summary(stored)
    lines = [line for line in lipschitz_folder.lines(stored) if "kappa >=" in line]
    assert [line.endswith("searched without gradients") for line in lines] == [False, False, True]


def test_the_effort_of_each_network_is_told(stored: Lipschitz) -> None:
    """Also where one round was made alone: a search without gradients is no shorter one of those along gradients."""
    assert effort_note(stored) == (
        "Search effort on 64 images: 600 passes an image, but without gradients for blunt; orders are checked against "
        "150 passes an image."
    )
    trial = lipschitz.of_networks(
        [network("fine", {ALONG[0]: 0.5, BY_DECISIONS[0]: 0.1}), network("blunt", {BY_DECISIONS[0]: 0.2})]
    )
    assert "150 passes an image, but without gradients for blunt. No longer search" in effort_note(trial)


def test_the_medians_that_decide_are_shown(alike: Lipschitz) -> None:
    label = "kappa, median, ℓ2, radius 128/255"
    assert cells(alike, label) == [0.5, 0.25], "by these alone fine would be the worse one"
    assert cells(alike, f"{label}, searched without gradients") == pytest.approx([0.125, 0.25])
    flips = cells(alike, "flip radius, median, ℓ2, 1/255 pixel units, searched without gradients")
    assert flips == pytest.approx([40 + 25.5, 90 + 25.5])
    assert cells(alike, "rank by kappa") == ["1", "2"]
    lines = lipschitz_folder.lines(alike)
    shown = [line.split("kappa >= ")[1] for line in lines if "kappa >= " in line]
    assert [line[:5].strip() for line in shown] == ["0.5", "0.125", "0.25"]
    assert [line.endswith("searched without gradients") for line in shown] == [False, True, True]
    (order,) = [line for line in lines if line.startswith("kappa, ")]
    assert order.startswith("kappa, ℓ2 128/255: fine is better than blunt by 0.125")
    assert order.endswith(", both searched without gradients")
    (verdict, _) = lipschitz_separation.pairs(alike).rows
    assert verdict.cells[2].text == "fine is better than blunt (both searched without gradients)"
    assert (
        "Orders of it and fine are decided by searches of both by decisions alone (600 passes an image, without "
        "gradients)" in blind_note(alike)
    )
    assert "not compared" not in "".join(lines)


def test_without_a_blind_network_no_search_by_decisions_is_shown() -> None:
    for networks in (
        [network("fine", along(0.5)), network("keen", along(0.8))],
        [network("blunt", by_decisions(0.5)), network("dull", by_decisions(0.8))],
    ):
        found = lipschitz.of_networks(networks)
        table = figure_table(found)
        assert not [r.label for r in table.rows if "without gradients" in r.label]
        assert cells(found, "rank by kappa") == ["1", "2"]
        assert "both searched" not in writers.markdown(lipschitz_separation.pairs(found))
        assert bool(blind_note(found)) == bool(found.blind)
    assert blind_note(found).startswith("All networks were searched without gradients")
    assert "600 passes an image, without gradients; orders are checked against 150" in effort_note(found)


def test_the_nearest_and_the_farthest_flips_are_of_one_kind_of_search(stored: Lipschitz, alike: Lipschitz) -> None:
    """The one without gradients would be the farthest, because less of it is found."""
    assert moved(stored) == (
        "Half of the images change class within ℓ2 40/255 (fine) to 40/255 (keen): upper bounds by 600 passes an image. "
        "Left out, because searched without gradients: blunt."
    )
    assert moved(alike) == ""
