"""The Lipschitz part of a report: which orders are told, what is refused, and what a store's second records add."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure as MplFigure

from lcrbench.bench import stats
from lcrbench.bench.records.by_image import Effort, ImageKey, Images, Kept
from lcrbench.bench.records.measurement import Detail, Measurement, MetricInfo, Ranking, Scale
from lcrbench.bench.records.store import Store
from lcrbench.reports import claims, comparison, drawing, lipschitz, rendering, writers
from lcrbench.reports.comparison import Key
from lcrbench.reports.context import Context
from lcrbench.reports.figures import lipschitz as lipschitz_picture
from lcrbench.reports.figures import lipschitz_fidelity as lipschitz_fidelity_picture
from lcrbench.reports.figures import lipschitz_layers, lipschitz_quantiles, lipschitz_slope
from lcrbench.reports.lipschitz import Figure, Lipschitz, fidelity
from lcrbench.reports.lipschitz import folder as lipschitz_folder
from lcrbench.reports.significance import holm
from lcrbench.reports.table import Cell, Table
from lcrbench.reports.tables import lipschitz as lipschitz_table
from lcrbench.reports.tables import lipschitz_separation
from lcrbench.reports.words.lipschitz import effort_note, others, summary, why_text

from . import make_store


def figure_table(found: Lipschitz) -> Table:
    return lipschitz_table.figures(found) or Table("lipschitz", "", (), ())


METHODS = ("full_precision", "bnn", "irnet", "irnet+lcr")


def found_in(root: Path, efforts: int = 1, seeds: int = 1, methods: tuple[str, ...] = METHODS) -> Lipschitz:
    store = Store(root, create=True)
    for label in methods:
        for seed in range(seeds):
            make_store.add(store, label, seed, efforts=efforts)
    found = lipschitz.read(comparison.read(store).settings[0], store)
    assert found is not None
    return found


QUARTER = Effort(random=1, steps=1)


def agreed(found: Lipschitz) -> Lipschitz:
    """Let a search of a quarter of the effort have found the same: without one no order is told."""
    for search in itertools.chain.from_iterable(found.searches.values()):
        longest = {f: v for (e, f), v in search.figures.items() if e == make_store.EFFORTS[0]}
        search.figures.update({(QUARTER, f): v for f, v in longest.items()})
    return found


def verdicts(found: Lipschitz) -> dict[tuple[str, str], lipschitz.Verdict]:
    figure = Figure("lipschitz_kappa", "l2", 16.0)
    return {(v.first.label, v.second.label): v for v in found.verdicts if v.figure == figure}


def test_one_effort_tells_no_order(tmp_path: Path) -> None:
    """Of whatever age the search is: each finds another share of what is there in each network."""
    found = found_in(tmp_path)
    assert found.verdicts
    assert all(v.why is lipschitz.Why.ONE_EFFORT for v in found.verdicts)


def test_what_the_search_can_tell_is_told(tmp_path: Path) -> None:
    found = agreed(found_in(tmp_path))
    told = verdicts(found)
    assert told["full_precision", "irnet"].separated
    assert told["full_precision", "irnet"].better.label == "full_precision"
    assert told["full_precision", "bnn"].separated, "0.030 against 0.032 for every image"
    alike = told["irnet", "irnet+lcr"]
    assert not alike.separated
    assert alike.why is lipschitz.Why.NO_DIFFERENCE
    ranks = {r.label: found.rank(r, Figure("lipschitz_kappa", "l2", 16.0)) for r in found.rows}
    assert ranks == {"full_precision": "1", "bnn": "2", "irnet": "3–4", "irnet+lcr": "3–4"}


def test_an_order_that_a_longer_search_turns_is_not_separated(tmp_path: Path) -> None:
    found = found_in(tmp_path, efforts=2)
    told = verdicts(found)
    turned = told["full_precision", "bnn"]
    assert not turned.separated
    assert turned.why is lipschitz.Why.EFFORTS_DISAGREE
    assert told["bnn", "irnet"].separated
    ranks = {r.label: found.rank(r, Figure("lipschitz_kappa", "l2", 16.0)) for r in found.rows}
    # The longer search moved full precision's median by far: nothing is said to be worse than it.
    assert ranks == {"full_precision": "1–4", "bnn": "1–2", "irnet": "2–4", "irnet+lcr": "2–4"}
    assert "orders are checked against 5 random candidates and 2 x 5 steps" in effort_note(found)


def test_seeds_are_the_unit_between_methods(tmp_path: Path) -> None:
    found = agreed(found_in(tmp_path, seeds=3))
    v = verdicts(found)["full_precision", "irnet"]
    assert v.gap.n == 6
    assert "seeds" in v.gap.how
    assert v.separated
    lonely = agreed(found_in(tmp_path / "b", seeds=3, methods=("full_precision", "bnn")))
    lonely.searches[1] = lonely.searches[1][:1]
    (v,) = verdicts(lonely).values()
    assert not v.separated
    assert v.why is lipschitz.Why.SINGLE_SEED


def test_many_pairs_are_corrected(tmp_path: Path) -> None:
    """Holm's correction runs over the six pairs of a figure, and a p that would do for one pair need not do for six."""
    found = found_in(tmp_path)
    key = make_store.EFFORTS[0], Figure("lipschitz_kappa", "l2", 16.0)
    for index, row in enumerate(found.rows):
        noise = np.random.default_rng(20 + index).normal(0.09 * index, 0.3, make_store.IMAGES)
        found.searches[row.index][0].figures[key] = 1 + noise
    raw = [
        stats.gap(*(stats.resampled_medians([found.searches[r.index][0].figures[key]]) for r in (a, b))).p
        for a, b in itertools.combinations(found.rows, 2)
    ]
    told = list(verdicts(agreed(found)).values())
    assert [v.p for v in told] == pytest.approx(holm(raw))
    saved = [v for v, p in zip(told, raw, strict=True) if p < 0.05 <= v.p]
    assert saved
    assert all((v.why, v.family) == (lipschitz.Why.BY_CHANCE, 6) for v in saved)


@pytest.mark.parametrize(("n", "separated"), [(1, False), (5, False), (19, False), (20, True)])
def test_few_images_tell_no_order(tmp_path: Path, n: int, separated: bool) -> None:
    """Of 1 image all resamples are alike, and any two networks would be separated."""
    networks = []
    for k, name in enumerate(("a", "b")):
        values = 1 + k + np.random.default_rng(k).normal(0, 0.01, n)
        key = ImageKey.at("lipschitz_kappa", make_store.EFFORTS[0], "l2", 8 / 255)
        kept = Kept(values.astype(np.float32), Images(np.arange(n), b""))
        by_image = {key: kept, key.model_copy(update={"effort": QUARTER}): kept}
        networks.append(lipschitz.Alone(name, [], by_image, make_store.INFOS))
    (verdict,) = lipschitz.of_networks(networks).verdicts
    assert verdict.separated == separated
    assert separated or why_text(verdict) == f"{n} images are too few for an order: 20 at least"


def test_whole_radii_are_the_same_search_as_numbers_with_a_point(tmp_path: Path) -> None:
    """Records of earlier versions hold radii as whole numbers."""
    store = Store(tmp_path, create=True)
    for label, radii in (("bnn", (4, 16, 64)), ("irnet", (4.0, 16.0, 64.0))):
        record, files = make_store.make(label, 0)
        metrics = {name: {} for name in record.spec.metrics} | {"lipschitz_kappa": {"l2": radii}}
        spec = record.spec.model_copy(update={"metrics": metrics})
        make_store.write(store, record.model_copy(update={"spec": spec}), files)
    setting = next(s for s in comparison.read(store).settings)
    found = lipschitz.read(setting, store)
    assert found is not None
    assert not found.notes
    assert sum(map(len, found.searches.values())) == len(setting.rows) == 2


def test_the_metrics_of_a_search_are_those_of_the_command() -> None:
    from lcrbench import registry
    from lcrbench.bench.lipschitz import measure

    found = [name for name in measure.metrics() if measure.searched(registry.load("metric", name))]
    assert found == lipschitz.searched(make_store.INFOS, found)
    assert len(found) == 7


def test_the_other_figures_are_corrected_together(tmp_path: Path) -> None:
    """Kappa at the outer radii and the relative gain: six pairs each, in one family; the primary figure in its own."""
    found = agreed(found_in(tmp_path))
    others = [f for f in found.figures if f != found.primary]
    assert len(others) == 5
    keys = [(make_store.EFFORTS[0], f) for f in others]
    for index, row in enumerate(found.rows):
        draw = np.random.default_rng(20 + index)
        for key in keys:
            noise = 1 + draw.normal(0.15 * index, 0.3, make_store.IMAGES)
            found.searches[row.index][0].figures.update({key: noise, (QUARTER, key[1]): noise})
    raw = [
        stats.gap(*(stats.resampled_medians([found.searches[r.index][0].figures[key]]) for r in (a, b))).p
        for key in keys
        for a, b in itertools.combinations(found.rows, 2)
    ]
    told = [v for v in found.verdicts if v.figure != found.primary]
    assert [v.p for v in told] == pytest.approx(holm(raw))
    assert any(v.separated for v in told)
    alone = [p for k in range(5) for p in holm(raw[6 * k : 6 * k + 6])]
    assert any(p < 0.05 <= v.p for v, p in zip(told, alone, strict=True)), "more figures are more chances"


def test_one_sentence_tells_the_order(tmp_path: Path) -> None:
    found = agreed(found_in(tmp_path))
    caption = figure_table(found).caption
    key = Key("lipschitz_kappa", "q50", norm="l2", radius=16 / 255)
    values = [f"{row.per_seed(key)[0]:.2g}" for row in found.rows]
    ranks = ("1", "2", "3–4", "3–4")
    said = ", ".join(f"{row.name} {v} (rank {r})" for row, v, r in zip(found.rows, values, ranks, strict=True))
    assert f"within ℓ2 16/255, over the margin (kappa, median; 1 is a flip, less is better): {said}." in caption
    assert summary(found_in(tmp_path / "one", methods=METHODS[:1])) == ""


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


def several(figures: list[dict[Key, float]]) -> Lipschitz:
    """Return one method with these measurements in each seed, and a search of each."""
    networks = []
    for values in figures:
        ms = [Measurement(value=v, n=64, **k._asdict()) for k, v in values.items()]
        networks.append(lipschitz.Alone("method", ms, {}, make_store.INFOS))
    return lipschitz.of_networks(networks)


SEARCHED = Key("lipschitz_kappa", "flipped", norm="l2", radius=128 / 255)
FLIP = Key("lipschitz_flip_radius", "q50", norm="l2")
KAPPA = SEARCHED._replace(statistic="q50")


def cell(found: Lipschitz, label: str) -> Cell:
    return next(r for r in figure_table(found).rows if r.label.startswith(label)).cells[0]


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


def test_quantiles_over_images_are_drawn_by_seed(tmp_path: Path) -> None:
    found = found_in(tmp_path, seeds=2)
    picture = lipschitz_quantiles.figure(lipschitz_folder.alone(found))
    assert picture is not None
    assert [p.title for p in picture.printed] == ["kappa, ℓ2 16/255", "relative gain, ℓ2 16/255"]
    assert [p.scale for p in picture.panels] == ["log", "linear"] * 2
    data = picture.data.set_index(["method", "figure", "level", "seed"])["value"]
    key = make_store.EFFORTS[0], Figure("lipschitz_kappa", "l2", 16.0)
    for seed in (0, 1):
        ordered = np.sort(found.searches[0][seed].figures[key])
        assert data["full_precision", "kappa", 0.5, seed] == pytest.approx(ordered[31]), "the 32nd of 64 images"
        assert data["full_precision", "kappa", 0.95, seed] == pytest.approx(ordered[60]), "the 61st"
    rendering.save(picture, tmp_path, ["svg"])
    for seeds in found.searches.values():
        for search in seeds:
            search.figures[key] = np.full(64, np.inf, np.float32)
    assert "nan" not in "".join(rendering.inline(lipschitz_quantiles.figure(lipschitz_folder.alone(found)), "x"))  # type: ignore[arg-type]


def test_one_figure_is_primary(tmp_path: Path) -> None:
    found = found_in(tmp_path)
    assert found.primary == Figure("lipschitz_kappa", "l2", 16.0)
    table = lipschitz_separation.pairs(found)
    assert sum("(primary)" in r.label for r in table.rows) == 6
    assert "pairs and figures of all others together" in " ".join(table.notes)


def test_a_proxy_of_0_in_one_layer_has_no_mean() -> None:
    keys = [Key("lipschitz_proxy", layer=str(k), detail=Detail(form="p1")) for k in range(3)]
    mean = (keys[0]._replace(layer=""), False)
    whole = fidelity._summary(dict.fromkeys(keys, 2.0))
    assert whole.means[mean] == pytest.approx(np.log(2))
    assert mean not in fidelity._summary(dict.fromkeys(keys, 2.0) | {keys[1]: 0.0}).means


def test_correlations_over_layers_seeds_and_methods(tmp_path: Path) -> None:
    few = {c.points: c for c in fidelity.correlations(found_in(tmp_path, seeds=2))}
    assert few["layers of IR-Net"].found is not None
    seeds = few["seeds of IR-Net, by layer"]
    assert (seeds.found, seeds.n) == (None, 2)
    found = found_in(tmp_path / "b", seeds=8, methods=("bnn", "irnet"))
    by = {(c.points, c.proxy, c.truth): c for c in fidelity.correlations(found)}
    norm = "operator norm (upper bound)"
    everything = "networks of all methods and seeds, by layer"
    for points, n in (("layers of IR-Net", 9), ("seeds of IR-Net, by layer", 8), (everything, 16)):
        exact, released = (by[points, proxy, norm].found for proxy in ("sigma 1, exact", "p1, as released"))
        assert exact is not None
        assert released is not None
        assert exact.n == n
        assert exact.value == pytest.approx(1)
        assert released.value == pytest.approx(-1)
    assert ("seeds of IR-Net, by layer", "sigma 1, exact", "omega, ℓ2, radius 16/255") in by


def test_the_claim_is_judged_by_the_layers(tmp_path: Path) -> None:
    store = Store(tmp_path, create=True)
    for label in METHODS:
        make_store.add(store, label, 0)
    judged = {j.claim: j for j in claims.judge(comparison.read(store).settings[0])}
    claim = judged["The retention matrix tracks the spectral norm"]
    assert claim.verdict == "supported"
    assert "n=9" in claim.measured


def test_of_many_methods_the_most_accurate_are_compared(tmp_path: Path) -> None:
    found = found_in(tmp_path, methods=("full_precision", *(f"method_{k}" for k in range(19))))
    assert len(found.every) == 20
    assert len(found.rows) == comparison.MOST_COLUMNS == 16
    assert found.rows[0].label == "full_precision"
    assert len(found.verdicts) == 6 * 16 * 15 // 2
    assert any("15 most accurate of 20 methods" in note for note in figure_table(found).notes)
    assert len(found.networks) == 20


def test_nothing_measured_is_nothing_shown(tmp_path: Path) -> None:
    store = Store(tmp_path, create=True)
    record, files = make_store.make("irnet", 0)
    plain = tuple(m for m in record.measurements if not record.lipschitz(m.metric))
    make_store.write(store, record.model_copy(update={"measurements": plain}), files._replace(by_image={}))
    assert lipschitz.read(comparison.read(store).settings[0], store) is None


def network(name: str, layers: tuple[str, ...], radii: tuple[int, ...] = (2, 8)) -> lipschitz.Alone:
    """Return a network with a norm and a proxy of these layers, and slopes between neighbouring radii."""
    measured = []
    for k, layer in enumerate(layers):
        where = {"layer": layer, "n": 1}
        measured.append(
            Measurement(metric="lipschitz_norms", value=2.0 + k, low=2.0, statistic="upper", norm="l2", **where)
        )
        measured.append(Measurement(metric="lipschitz_proxy", value=3.0 + k, detail=Detail(form="sigma_1"), **where))
    for low, high in itertools.pairwise(radii):
        slope = stats.Interval(0.5, 0.4, 0.7, 64, "bootstrap")
        measured.append(
            Measurement.of(
                "lipschitz_slope", slope, norm="l2", radius=high / 255, detail=Detail(inner_radius=low / 255)
            )
        )
    return lipschitz.Alone(name, measured, {}, make_store.INFOS)


def test_layers_of_other_names_are_drawn_along_their_own_order() -> None:
    ours, theirs = ("stem", "block.0", "head"), ("conv1", "layer1.0", "layer2.0", "fc")
    picture = lipschitz_layers.figure(
        lipschitz_folder.alone(lipschitz.of_networks([network("a", ours), network("b", theirs)]))
    )
    assert picture is not None
    places = picture.data.drop_duplicates(["method", "layer"]).set_index(["method", "layer"])["place"]
    assert places["a"].to_dict() == {"stem": 1, "block.0": 2, "head": 3}
    assert places["b"].to_dict() == {"conv1": 1, "layer1.0": 2, "layer2.0": 3, "fc": 4}
    assert "not the same layer" in picture.caption
    assert "of b: 1 conv1, 2 layer1.0, 3 layer2.0, 4 fc" in picture.caption
    assert ticks(picture) == ["1", "2", "3", "4"]

    found = lipschitz.of_networks([network("a", ours), network("b", ("stem", "head"))])
    shared = lipschitz_layers.figure(lipschitz_folder.alone(found))
    assert shared is not None
    assert shared.data.query("method == 'b'").set_index("layer")["place"].to_dict() == {"stem": 1, "head": 3}
    assert "not the same layer" not in shared.caption
    assert ticks(shared) == ["stem", "block.0", "head"]


def axes(picture: drawing.Picture) -> Axes:
    """Return the first panel of a figure, drawn."""
    ax = MplFigure().add_subplot()
    picture.panels[0].draw(ax, drawing.Hits())
    return ax


def ticks(picture: drawing.Picture) -> list[str]:
    return [label.get_text() for label in axes(picture).get_xticklabels()]


@pytest.mark.parametrize("radii", [(2, 8), (2, 8, 32)])
def test_one_pair_of_radii_has_its_interval_drawn(radii: tuple[int, ...]) -> None:
    networks = [network("a", ("stem",), radii), network("b", ("stem",), radii)]
    picture = lipschitz_slope.figure(lipschitz_folder.alone(lipschitz.of_networks(networks)))
    assert picture is not None
    upright = [ln.get_xydata().tolist() for ln in axes(picture).lines if len(ln.get_xdata()) == 2]
    spans = [(a[0], [a[1], b[1]]) for a, b in upright if a[0] == b[0]]
    if len(radii) == 2:
        assert [ends for _, ends in spans] == [[0.4, 0.7], [0.4, 0.7]]
        assert spans[0][0] != spans[1][0], "side by side"
    else:
        assert spans == []


@pytest.mark.parametrize(("n", "said"), [(7, True), (8, False)])
def test_a_figure_of_few_points_says_that_they_are_no_correlation(n: int, said: bool) -> None:
    layers = tuple(f"layer{k}" for k in range(n))
    picture = lipschitz_fidelity_picture.figure(lipschitz_folder.alone(lipschitz.of_networks([network("a", layers)])))
    assert picture is not None
    assert ("fewer than 8 points" in picture.caption) == said


@pytest.mark.parametrize("low", [0.0, 0.01])
def test_an_axis_that_reaches_0_says_where_it_is_no_longer_logarithmic(low: float) -> None:
    kappa = [
        Measurement.of(
            "lipschitz_kappa", stats.Interval(v, v * low, 2 * v, 64, ""), statistic="q50", norm="l2", radius=r
        )
        for r, v in ((2 / 255, 0.1), (8 / 255, 1.0))
    ]
    picture = lipschitz_picture.figure(
        lipschitz_folder.alone(lipschitz.of_networks([lipschitz.Alone("a", kappa, {}, make_store.INFOS)]))
    )
    assert picture is not None
    assert (drawing.ZERO in picture.caption) == (low == 0)
    assert axes(picture).get_yscale() == ("symlog" if low == 0 else "log")


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
