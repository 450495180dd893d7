"""A store of schema 4, made by the version before text became fields: read, reported and gone on with.

Its spec is grid.toml beside it: irnet with a teacher on a subset of 60 test images, and every kind of Lipschitz number.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lcrbench import registry
from lcrbench.bench.evaluation import on_request
from lcrbench.bench.records import before_5, predictions
from lcrbench.bench.records.by_image import Effort, ImageKey
from lcrbench.bench.records.files import unpack
from lcrbench.bench.records.measurement import MetricInfo, Probe, Scale
from lcrbench.bench.records.predictions import Predictions
from lcrbench.bench.records.record import SCHEMA_VERSION, BudgetClass, Record
from lcrbench.bench.records.spec import CLEAN
from lcrbench.bench.records.store import WEIGHTS, Store
from lcrbench.reports import comparison, lipschitz
from lcrbench.reports.cost import passes

FIXTURE = Path(__file__).resolve().parents[1] / "fixtures" / "store-schema-4"
SCHEMA_3 = FIXTURE.with_name("store-schema-3")
SEARCH = Effort(random=10, steps=10, searches=2)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    shutil.copytree(FIXTURE, tmp_path / "store")
    return tmp_path / "store"


def raw(shelf: str) -> dict[str, Any]:
    (path,) = FIXTURE.glob(f"{shelf}/*/record.json")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def only(store: Store) -> Record:
    (record,) = store.records()
    return record


def numbers(record: Record) -> list[tuple[float, float | None, float | None, int]]:
    return [(m.value, m.low, m.high, m.n) for m in record.measurements]


def test_every_number_is_read(old: Path) -> None:
    record = only(Store(old))
    assert record.schema_version == SCHEMA_VERSION
    (batch,) = raw("evaluations")["batches"]
    before = [m for measured in batch["measured"] for m in measured["measurements"]]
    assert numbers(record) == [(m["value"], m["low"], m["high"], m["n"]) for m in before]
    keys = [comparison.Key.of(m) for m in record.measurements]
    assert len(set(keys)) == len(keys), "no two of them are taken for one"
    assert not [
        m for m in record.measurements if m.layer.startswith("stage") or " " in m.statistic.replace("all images", "")
    ]


def test_what_was_text_has_fields(old: Path) -> None:
    record = only(Store(old))
    by: dict[str, list[Any]] = {}
    for m in record.measurements:
        by.setdefault(m.metric, []).append(m)
    found = [m for m in by["lipschitz_kappa"] if m.statistic == "found" and m.radius == 8 / 255]
    assert [m.detail.form for m in found] == ["random", "warm", "frank-wolfe", "projected"]
    assert sum(m.value for m in found) == pytest.approx(1)
    assert {m.detail.search for m in by["lipschitz_modulus"] if m.statistic == "mean" and m.detail} == {1, 2}
    spans = {(m.detail.inner_radius, m.radius) for m in by["lipschitz_slope"]}
    assert spans <= {(2 / 255, 8 / 255), (8 / 255, 128 / 255)}
    assert {m.detail.form for m in by["lipschitz_gradients"]} == {"true", "straight", "surrogate"}
    assert [m.detail and m.detail.form for m in by["lipschitz_clever"] if m.statistic == "q50"] == [None, "plain"]
    assert {m.detail.form for m in by["lipschitz_proxy"]} == {"p1", "sigma_1"}
    assert {m.detail.stage for m in by["lipschitz_proxy"] if not m.layer} == {2, 3, 4}
    assert {m.detail.stage for m in by["lipschitz_product"]} == {0, 1, 2, 3, 4}
    assert {(m.detail.probe, m.statistic) for m in by["lipschitz_probes"]} == {
        (probe, statistic) for probe in Probe for statistic in ("worst", "passed")
    }


def test_a_teachers_training_is_with_the_teachers(old: Path) -> None:
    ledger = only(Store(old)).ledger
    assert ledger is not None
    before = raw("trainings")["ledger"]
    assert ledger.budget_class == BudgetClass(teachers=("full_precision",))
    assert ledger.forward.keys() == {"student", "teacher"}
    spent = sum(before["forward"].values()) + sum(before["backward"].values())
    assert passes(only(Store(old))) == spent


def test_figures_by_image_and_chosen_images_are_read(old: Path) -> None:
    store = Store(old)
    record = only(store)
    (search,) = store.searches(record.run_id)
    kept = search.by_image()
    (path,) = FIXTURE.glob("evaluations/*/by_image-0.npz")
    arrays = unpack(path.read_bytes())
    assert len(kept) == len(arrays) - 2, "all but the images and their pixels"
    key = ImageKey.at("lipschitz_kappa", SEARCH, "l2", 8 / 255)
    assert kept[key].values.tolist() == arrays["lipschitz/" + TEXT + "/kappa/l2/8"].tolist()
    assert kept[key].images.indices.tolist() == arrays["lipschitz/images"].tolist()
    evaluation = store.evaluation_of(record.run_id)
    assert evaluation is not None
    found = store.predictions(evaluation)
    assert found.chosen(record.spec.protocol.test).tolist() == found.indices.tolist()
    again = Predictions.unpack(found.pack(), found.cells)
    assert again.subsets.keys() == {60}
    assert again.subsets[60].tolist() == found.subsets[60].tolist()
    assert "chosen" in unpack(found.pack())


TEXT = "10 random candidates and 2 x 10 steps an image and radius, 2 searches"


def test_it_is_reported(old: Path) -> None:
    store = Store(old)
    found = lipschitz.read(comparison.read(store).settings[0], store)
    assert found is not None
    assert found.efforts[-1] == SEARCH
    assert [f.title for f in found.figures] == ["kappa"] * 3 + ["relative gain"] * 3 + ["flip radius"]
    assert found.primary == lipschitz.Figure("lipschitz_kappa", "l2", 8.0)


def test_reading_changes_nothing_and_going_on_loses_nothing(old: Path) -> None:
    """The first thing that is added writes the evaluation in the present form, with all that it held."""
    before = {p: p.read_bytes() for p in old.rglob("*") if p.is_file()}
    store = Store(old)
    record = only(store)
    figures = store.searches(record.run_id)[0].by_image()
    store.verify(record.run_id)
    assert {p: p.read_bytes() for p in old.rglob("*") if p.is_file()} == before
    shown = record.spec.evaluation
    known, _ = on_request.of_run(store, record.run_id, shown, {"calibration_error": {"bins": 7}}, test=60, stale="keep")
    assert known.evaluation.batches[-1].cells == (CLEAN,), "nothing was shown again but these, for their logits"
    after = only(Store(old))
    assert after.run_id == record.run_id
    assert numbers(after)[: len(record.measurements)] == numbers(record)
    (path,) = old.glob("evaluations/*/record.json")
    assert json.loads(path.read_text(encoding="utf-8"))["schema_version"] == SCHEMA_VERSION
    again = Store(old).searches(record.run_id)[0].by_image()
    assert again.keys() == figures.keys()
    assert all(np.array_equal(again[key].values, figures[key].values) for key in figures)
    weights = Store(old).training_file(record.spec.training.train_id, WEIGHTS)
    assert weights == next(FIXTURE.glob(f"trainings/*/{WEIGHTS}")).read_bytes()


def test_schema_3_has_the_same_figures() -> None:
    """Runs of schema 3 wrote the same text."""
    store = Store(SCHEMA_3)
    for record in store.records():
        assert record.metrics["lipschitz_kappa"].ranking is not None
        assert record.metrics["accuracy"].scale is Scale.SHARE
        (search,) = store.searches(record.run_id)
        assert {key.metric for key in search.by_image()} == {
            f"lipschitz_{name}" for name in ("kappa", "relative_gain", "flip_radius")
        }
        assert {key.effort for key in search.by_image()} == {Effort(random=5, steps=5)}


@pytest.mark.parametrize("name", registry.names("metric"))
def test_what_older_records_are_given_is_what_the_metric_says_now(name: str) -> None:
    """So that old and new records of one metric are shown in one way."""
    info: MetricInfo = registry.load("metric", name).INFO
    if name not in {measured["metric"] for measured in raw("evaluations")["batches"][0]["measured"]}:
        pytest.skip("not measured in the store of schema 4")
    read = only(Store(FIXTURE)).metrics[name]
    told = {"phase", "scale", "title", "note", "open", "searched", "ranking"}
    assert read.model_dump(include=told) == info.model_dump(include=told)
    assert {s: (k.scale, k.title) for s, k in read.other.items()} == {
        s: (k.scale, k.title) for s, k in info.other.items()
    }


def test_predictions_without_chosen_images_are_read_from_both_forms() -> None:
    new = Predictions.none().widen(np.arange(3), np.arange(3), [CLEAN])
    assert predictions.Predictions.unpack(new.pack(), [CLEAN]).subsets == {}
    arrays = {name: a for name, a in unpack(new.pack()).items() if name not in ("chosen", "positions")}
    assert before_5.subsets(arrays)["chosen"].size == 0
