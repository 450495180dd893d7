"""The tables of the Lipschitz part of a report: what they show, what stands below them, and what others add."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lcrbench.bench.records.by_image import ImageKey, Kept
from lcrbench.bench.records.measurement import Detail, Measurement, MetricInfo, Ranking, Scale
from lcrbench.bench.records.store import Store
from lcrbench.reports import comparison, lipschitz, writers
from lcrbench.reports.comparison import Key
from lcrbench.reports.context import Context
from lcrbench.reports.figures import lipschitz as lipschitz_picture
from lcrbench.reports.figures import lipschitz_quantiles
from lcrbench.reports.lipschitz import Figure, Lipschitz, fidelity
from lcrbench.reports.lipschitz import folder as lipschitz_folder
from lcrbench.reports.table import Table
from lcrbench.reports.tables import lipschitz as lipschitz_table
from lcrbench.reports.words.lipschitz import others

from . import make_store
from .lipschitz_runs import FLIP, KAPPA, METHODS, SEARCHED, cell, figure_table, found_in, several


def test_tables_say_what_they_must(tmp_path: Path) -> None:
    found = found_in(tmp_path, efforts=2)
    text = "\n".join(map(writers.markdown, lipschitz_folder.tables(found)))
    for said in (
        "not separated: a shorter and the longest search disagree on the order",
        "∞ (signs jump)",
        "≤ 1.24e+03",
        "product bound of the surrogate",
        "rank by kappa",
        "rank by relative gain",
        "60 random candidates",
        "kappa below 1 proves nothing",
        "No correlation from fewer than 8 points",
        "fail (× 1.10)",
        "pass (× 1.00)",
    ):
        assert writers.escape_markdown(said) in text, said
    assert "omega" not in " ".join(r.label for r in figure_table(found).rows if "rank" in r.label)


@pytest.mark.parametrize(
    ("radii", "value", "text"),
    [
        ((50, 150), None, "> 128 (6 of 8 seeds)"),
        ((10, 20, 30, 40), None, "> 128 (4 of 8 seeds)"),
        ((10, 20, 30, 40, 50), 45.0, ""),
        ((10, 20, 30, 40, 50, 60, 70), 45.0, ""),
        ((10, 20, 30, 40, 50, 60, 70, 80), 45.0, ""),
    ],
)
def test_a_seed_without_a_median_counts_as_larger_than_all(
    radii: tuple[int, ...], value: float | None, text: str
) -> None:
    """Without it the mean over the other seeds would be that of the networks that are easiest to flip."""
    flips = [*radii, *[None] * (8 - len(radii))]
    found = several([{SEARCHED: 0.4} | ({FLIP: r / 255} if r is not None else {}) for r in flips])
    shown = cell(found, "flip radius, median")
    assert shown.text == text
    assert shown.value == (None if value is None else pytest.approx(value))
    if value:
        assert shown.n == 8
        assert (shown.low is None) == (len(radii) < 8), "a t interval has no place where a seed is infinite"


def test_an_infinite_median_kappa_is_not_passed_over() -> None:
    found = several([{SEARCHED: 0.4, KAPPA: 0.3}, {SEARCHED: 0.4, KAPPA: 0.5}, {SEARCHED: 0.4}])
    shown = cell(found, "kappa, median")
    assert (shown.value, shown.low, shown.n) == (0.5, None, 3)
    found = several([{SEARCHED: 0.4, KAPPA: 0.3}, {SEARCHED: 0.4}])
    assert cell(found, "kappa, median").text == "∞ (1 of 2 seeds)"


def test_methods_on_other_images_are_not_compared(tmp_path: Path) -> None:
    """Equal indices are not equal images: of another size or data set they are others."""
    found = found_in(tmp_path)
    for index, row in enumerate(found.rows):
        found.searches[row.index] = [replace(s, images=bytes([index == 3])) for s in found.searches[row.index]]
    assert {(v.first.label, v.second.label) for v in found.verdicts} == set(itertools.combinations(METHODS[:3], 2))
    assert found.rank(found.rows[3], Figure("lipschitz_kappa", "l2", 16.0)) == ""
    assert others(found).startswith("LCR on IR-Net: measured on other images")
    assert any("measured on other images" in note for note in figure_table(found).notes)


def test_a_radius_of_many_digits_is_found_again(tmp_path: Path) -> None:
    found = found_in(tmp_path)
    odd = 16.3456789
    for row in found.rows:
        values = found.searches[row.index][0].figures
        for effort, f in [k for k in values if k[1].radius_255 == 16]:
            values[effort, replace(f, radius_255=odd)] = values.pop((effort, f))
        for key in [k for k in row.values if k.radius == 16 / 255]:
            row.values[key._replace(radius=odd / 255)] = row.values.pop(key)
    ranks = next(r for r in figure_table(found).rows[3:] if r.label == "rank by kappa")
    assert found.primary == Figure("lipschitz_kappa", "l2", odd)
    assert all(c.text for c in ranks.cells)
    assert all(row.values[Key("lipschitz_kappa", "q50", norm="l2", radius=odd / 255)] for row in found.rows)
    table = {r.label: [c.text for c in r.cells] for r in figure_table(found).rows}
    assert any(label.startswith("kappa, median, ℓ2, radius 0.0641") for label in table)


def test_seeds_stay_together_where_one_lacks_a_cell() -> None:
    proxy = Key("lipschitz_proxy", layer="a", detail=Detail(form="p1"))
    seeds = [{proxy: float(k), SEARCHED: 0.4} | ({KAPPA: 10.0 - k} if k != 2 else {}) for k in range(1, 11)]
    (found,) = [
        c.found
        for c in fidelity.correlations(several(seeds))
        if c.points == "seeds of method, by layer" and c.proxy.startswith("p1") and c.truth.startswith("kappa")
    ]
    assert found is not None
    assert (found.value, found.n) == (pytest.approx(-1), 9)


def test_a_surrogate_that_is_another_classifier_stands_in_brackets() -> None:
    product, agreement = (
        Key("lipschitz_product", "upper", norm="l2", detail=Detail(form="surrogate")),
        Key("lipschitz_agreement"),
    )
    assert cell(several([{product: 123.0, agreement: 0.95}]), "product bound").value == 123.0
    assert cell(several([{product: 123.0, agreement: 0.5}]), "product bound").text == "(123: agrees on 50%)"


def test_reasons_stand_below_the_table(tmp_path: Path) -> None:
    store = Store(tmp_path, create=True)
    for label in ("full_precision", "irnet"):
        record, files = make_store.make(label, 0)
        reasons = {"lipschitz_proxy": "no layers", "lipschitz_probes": "no layers"} if label != "irnet" else {}
        make_store.write(store, record.model_copy(update={"left_out": reasons, "metrics": make_store.INFOS}), files)
    found = lipschitz.read(comparison.read(store).settings[0], store)
    assert found is not None
    notes = figure_table(found).notes
    assert "Left out or incomplete: lipschitz_proxy, lipschitz_probes of full_precision: no layers." in notes


def test_a_bound_holds_for_every_seed() -> None:
    product = Key("lipschitz_product", "upper", norm="l2", detail=Detail(form="network"))
    found = several([{product: 100.0}, {product: 123.01}, {product: 90.0}])
    assert cell(found, "Lipschitz constant").text == "≤ 124"
    assert cell(several([{product: 123.0}]), "Lipschitz constant").text == "≤ 123"
    assert all("Lipschitz constant" not in r.label for r in figure_table(several([{product: 9.0}, {}])).rows)


def test_what_stands_beside_the_search_says_what_it_bounds() -> None:
    clever = Key("lipschitz_clever", "q50", norm="l2", radius=0.5)
    found = several(
        [
            {
                Key("lipschitz_gradients", "q95", norm="l2", detail=Detail(form="straight")): 3.0,
                clever: 0.25,
                clever._replace(detail=Detail(form="plain")): 0.125,
                clever._replace(statistic="good"): 0.25,
                clever._replace(statistic="capped"): 0.75,
                Key("lipschitz_smoothing", "mean", norm="l2"): 8 / 255,
                Key("lipschitz_smoothing", "abstained", norm="l2"): 0.1,
                Key("lipschitz_first_layer", "q5", norm="linf", layer="1"): 1 / 255,
                Key("lipschitz_first_flips", norm="l2", radius=8 / 255, layer="1"): 0.5,
            }
        ]
    )
    shown = {r.label: r.cells[0].value for r in figure_table(found).rows}
    bounds = ("estimate, bounds nothing", "certified for the smoothed classifier, not for the network")
    box = "exact without the walls of the box, within it"
    assert shown == {
        f"gradient norm (straight), 95 % quantile, ℓ2, logits per pixel unit ({bounds[0]})": 3.0,
        f"CLEVER, median, ℓ2, radius 0.5, 1/255 pixel units ({bounds[0]})": 255 * 0.25,
        f"CLEVER (plain), median, ℓ2, radius 0.5, 1/255 pixel units ({bounds[0]})": 255 * 0.125,
        "CLEVER, good fits, ℓ2, radius 0.5, % of images (exact on these images)": 25.0,
        "CLEVER, scores capped at the radius, ℓ2, radius 0.5, % of images (exact on these images)": 75.0,
        f"certified radius, mean, ℓ2, 1/255 pixel units ({bounds[1]})": pytest.approx(8),
        f"certified radius, abstained, ℓ2, % of images ({bounds[1]})": 10.0,
        f"distance to the first layer's nearest flip, 5 % quantile, 1, ℓ∞, 1/255 pixel units ({box} a lower bound)": 1.0,
        f"first layer's signs that can each flip, mean, 1, ℓ2, radius 8/255, % of units ({box} an upper bound)": 50.0,
    }


def test_nothing_measured_is_nothing_shown(tmp_path: Path) -> None:
    store = Store(tmp_path, create=True)
    record, files = make_store.make("irnet", 0)
    plain = tuple(m for m in record.measurements if not record.lipschitz(m.metric))
    make_store.write(store, record.model_copy(update={"measurements": plain}), files._replace(by_image={}))
    assert lipschitz.read(comparison.read(store).settings[0], store) is None


WOBBLE = MetricInfo.about(
    "How far it wobbles.", "wobbles", bound="lower", phase="lipschitz", scale=Scale.POSITIVE, title="wobble"
)


def outside(root: Path, infos: dict[str, MetricInfo], kept: str = "") -> Lipschitz | None:
    """Return what a report shows of two methods with a metric from outside, which may keep a figure of each image."""
    store = Store(root, create=True)
    for k, label in enumerate(("full_precision", "irnet")):
        record, files = make_store.make(label, 0)
        own = tuple(
            Measurement(metric=name, value=1.0 + k, n=9, statistic="q50", norm="l2", radius=16 / 255) for name in infos
        )
        values = (2.0 + k + np.random.default_rng(0).random(make_store.IMAGES)).astype(np.float32)
        images = next(iter(files.by_image.values())).images
        if kept:
            key = ImageKey.at(kept, make_store.EFFORTS[0], "l2", 16 / 255)
            files = files._replace(by_image=files.by_image | {key: Kept(values, images)})
        changed = {"measurements": (*record.measurements, *own), "metrics": record.metrics | infos}
        make_store.write(store, record.model_copy(update=changed), files)
    return lipschitz.read(comparison.read(store).settings[0], store)


@pytest.mark.parametrize("name", ["my_pkg.wobble", "wobble"])
def test_the_phase_decides_what_stands_in_the_lipschitz_part(tmp_path: Path, name: str) -> None:
    """And no name: one that is called lipschitz_... and is of another phase stands elsewhere."""
    other = WOBBLE.model_copy(update={"phase": "evaluation", "title": "elsewhere"})
    found = outside(tmp_path, {name: WOBBLE, "lipschitz_else": other})
    assert found is not None
    labels = {r.label: [c.value for c in r.cells] for r in figure_table(found).rows}
    assert labels["wobble, median, ℓ2, radius 16/255, wobbles (lower bound)"] == [1.0, 2.0]
    assert not [label for label in labels if "else" in label]
    assert {k.metric for networks in found.networks.values() for one in networks for k in one} >= {name}
    [setting] = comparison.read(Store(tmp_path)).settings
    text = writers.markdown(lipschitz_table.table(Context(setting, lipschitz=found)) or Table("", "", (), ()))
    assert "wobble" in text


def test_a_metric_from_outside_ranks_networks_if_it_says_so(tmp_path: Path) -> None:
    more = WOBBLE.model_copy(update={"searched": True, "ranking": Ranking(order=9, higher_is_better=True)})
    found = outside(tmp_path, {"my_pkg.wobble": more}, kept="my_pkg.wobble")
    assert found is not None
    figure = Figure("my_pkg.wobble", "l2", 16.0)
    assert found.figures[-1] == figure
    assert found.primary == Figure("lipschitz_kappa", "l2", 16.0), "kappa stays what counts first"
    (verdict,) = [v for v in found.verdicts if v.figure == figure]
    assert verdict.better.label == "irnet", "more is better"
    rows = [r.label for r in figure_table(found).rows]
    assert "wobble, median, ℓ2, radius 16/255" in rows
    assert "rank by wobble" in rows
    picture = lipschitz_quantiles.figure(lipschitz_folder.alone(found))
    assert picture is not None
    assert [p.title for p in picture.panels][-1] == "wobble, ℓ2 16/255"
    ranked = lipschitz_picture.figure(lipschitz_folder.alone(found))
    assert ranked is not None
    assert "median wobble, wobbles" in set(ranked.data["figure"])


def test_the_course_of_a_search_is_drawn_and_not_listed() -> None:
    """A network has a dozen marks a ball and statistic, which were most of the table's lines."""
    info = MetricInfo.about(
        "What was found so far.", "margins", bound="lower", phase="lipschitz", title="search so far"
    )
    clean = Measurement(metric="accuracy", value=0.9, n=100)
    course = [
        Measurement(metric="lipschitz_convergence", statistic="q50", value=0.1, n=9, detail=Detail(passes=51 * k))
        for k in (1, 2, 3)
    ]
    found = lipschitz.of_networks([lipschitz.Alone("net", [clean, *course], {}, {"lipschitz_convergence": info})])
    assert [row.label for row in figure_table(found).rows] == ["clean accuracy, %"]
