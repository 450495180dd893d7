"""Which orders of networks the Lipschitz part of a report tells, and which it does not."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from lcrbench.bench import stats
from lcrbench.bench.records.by_image import Effort, ImageKey, Images, Kept
from lcrbench.bench.records.measurement import Measurement
from lcrbench.bench.records.store import Store
from lcrbench.reports import comparison, lipschitz, report, writers
from lcrbench.reports.comparison import Key
from lcrbench.reports.lipschitz import Figure
from lcrbench.reports.lipschitz import folder as lipschitz_folder
from lcrbench.reports.lipschitz.verdicts import STEEP
from lcrbench.reports.significance import holm
from lcrbench.reports.tables import lipschitz_separation
from lcrbench.reports.words.lipschitz import effort_note, moved, rank_note, rank_text, summary, why_text

from . import make_store
from .lipschitz_runs import FLIP, METHODS, QUARTER, SEARCHED, agreed, figure_table, found_in, verdicts


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


def curves(metric: str, *ends: tuple[str, float, float]) -> lipschitz.Lipschitz:
    """Return networks with a median after a quarter of the passes and one after all, in a figure at l2 8/255."""
    networks = []
    for name, *medians in ends:
        by_image = {}
        for passes, median in zip((150, 600), medians, strict=True):
            key = ImageKey.at(metric, Effort(passes=passes), "l2", 8 / 255)
            values = median * np.linspace(0.99, 1.01, 64)
            by_image[key] = Kept(values.astype(np.float32), Images(np.arange(64), b""))
        key = Key(metric, "q50", norm="l2", radius=None if metric == FLIP.metric else 8 / 255)
        measured = [Measurement(value=medians[-1], n=64, **key._asdict())]
        networks.append(lipschitz.Alone(name, measured, by_image, make_store.INFOS))
    return lipschitz.of_networks(networks)


@pytest.mark.parametrize(
    ("metric", "better", "worse", "moved_by"),
    [
        ("lipschitz_kappa", 1.0, 2.0, 1.195),
        ("lipschitz_kappa", 1.0, 2.0, 1.205),
        ("lipschitz_flip_radius", 0.02, 0.01, 0.805),
        ("lipschitz_flip_radius", 0.02, 0.01, 0.795),
    ],
)
def test_a_curve_that_still_rises_is_not_converged(metric: str, better: float, worse: float, moved_by: float) -> None:
    """From the stated slope on, and of the better one alone it decides: what is found of the worse one makes it worse."""
    rises = abs(moved_by - 1) > 0.2
    assert abs(abs(moved_by - 1) - STEEP) < 0.01, "just below and just above the stated slope"
    mark = ", not converged" * rises

    def told(*ends: tuple[str, float, float]) -> tuple[list[str], lipschitz.Verdict, str]:
        found = curves(metric, *ends)
        (verdict,) = found.verdicts
        return [rank_text(found, r, verdict.figure) for r in found.rows], verdict, rank_note(found)

    ranks, verdict, note = told(("a", better, better * moved_by), ("b", worse, worse))
    assert ranks == ([f"1–2{mark}", "1–2"] if rises else ["1", "2"])
    assert verdict.why == (lipschitz.Why.NOT_CONVERGED if rises else None)
    assert note.startswith("'Not converged' beside a figure or a rank: the network's curve still rises") == rises
    assert ("by more than 20% of what a shorter one had found" in note) == rises
    ranks, verdict, _ = told(("a", better, better), ("b", worse, worse * moved_by))
    assert ranks == ["1", f"2{mark}"]
    assert verdict.separated


def test_a_network_alone_says_that_it_has_not_converged() -> None:
    found = curves("lipschitz_kappa", ("a", 1.0, 1.5))
    assert [c.text for r in figure_table(found).rows if r.label == "rank by kappa" for c in r.cells] == [
        "not converged"
    ]
    assert rank_note(found)
    assert summary(found) == ""


def test_one_effort_tells_no_slope(tmp_path: Path) -> None:
    found = found_in(tmp_path)
    assert {rank_text(found, r, f) for r in found.rows for f in found.figures} == {"1–4"}
    assert rank_note(found) == ""


def test_ranks_that_have_not_converged_say_so_in_every_form(tmp_path: Path) -> None:
    store = Store(tmp_path, create=True)
    for label in METHODS:
        make_store.add(store, label, 0, efforts=2)
    page = report.write(store, tmp_path / "report")
    found = found_in(tmp_path / "again", efforts=2)
    forms = {
        "page": page.read_text(encoding="utf-8"),
        "data": (page.parent / "lipschitz_table.csv").read_text(encoding="utf-8"),
        "markdown": writers.markdown(figure_table(found)),
    }
    for form, text in forms.items():
        assert "1–4, not converged" in text, form
        assert "1–2, not converged" not in text, "of bnn the longest search moved the median by an eighth alone"
    assert "&#39;Not converged&#39; beside a figure or a rank" in forms["page"]
    lines = lipschitz_folder.lines(found)
    assert [line.endswith("not converged") for line in lines if "kappa >=" in line] == [True] * 3 + [False] * 9


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


def test_the_answer_names_the_nearest_and_the_farthest_flips() -> None:
    kept = {
        ImageKey.at("lipschitz_kappa", Effort(passes=600), "l2", 0.5): Kept(np.ones(3, "f4"), Images(np.arange(3), b""))
    }

    def alone(name: str, median: float | None) -> lipschitz.Alone:
        values = {SEARCHED: 0.4} | ({} if median is None else {FLIP: median / 255})
        measured = [Measurement(value=v, n=64, **k._asdict()) for k, v in values.items()]
        return lipschitz.Alone(name, measured, kept, make_store.INFOS)

    near, middle, far, beyond = alone("a", 2.91), alone("b", 7.5), alone("c", 38.4), alone("d", None)
    said = "Half of the images change class within ℓ2 2.91/255 (a) to {}: upper bounds by 600 passes an image."
    for networks, end in (
        ((middle, far, near), "38.4/255 (c)"),
        ((near, middle), "7.5/255 (b)"),
        ((beyond, far, near), "more than was searched (d)"),
        ((near, beyond), "more than was searched (d)"),
    ):
        assert moved(lipschitz.of_networks(networks)) == said.format(end)
    for networks in ((near,), (beyond,), (beyond, alone("e", None)), ()):
        assert moved(lipschitz.of_networks(networks)) == ""
    elsewhere = {key: Kept(k.values, Images(np.arange(3), b"other")) for key, k in kept.items()}
    assert moved(lipschitz.of_networks((near, middle._replace(by_image=elsewhere)))) == "", "their radii do not compare"
    assert moved(None) == ""


def test_one_figure_is_primary(tmp_path: Path) -> None:
    found = found_in(tmp_path)
    assert found.primary == Figure("lipschitz_kappa", "l2", 16.0)
    table = lipschitz_separation.pairs(found)
    assert sum("(primary)" in r.label for r in table.rows) == 6
    assert "pairs and figures of all others together" in " ".join(table.notes)


def test_of_many_methods_the_most_accurate_are_compared(tmp_path: Path) -> None:
    found = found_in(tmp_path, methods=("full_precision", *(f"method_{k}" for k in range(19))))
    assert len(found.every) == 20
    assert len(found.rows) == comparison.MOST_COLUMNS == 16
    assert found.rows[0].label == "full_precision"
    assert len(found.verdicts) == 6 * 16 * 15 // 2
    assert any("15 most accurate of 20 methods" in note for note in figure_table(found).notes)
    assert len(found.networks) == 20
