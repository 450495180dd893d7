"""`lcrbench tune`: equally many trials for each method, chosen by held-out training images, and counted later."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from lcrbench.bench import data, planning, tuning
from lcrbench.bench.cli import app
from lcrbench.bench.records import env, toml
from lcrbench.bench.records.grid import make_grid
from lcrbench.bench.records.record import BudgetClass
from lcrbench.bench.records.store import Store
from lcrbench.bench.training import selection
from lcrbench.errors import UserError
from lcrbench.reports.budget_proof import budget_proof
from lcrbench.reports.comparison import read
from lcrbench.reports.words.tables import tuning_notes
from tests.bench.helpers import TABLES, go


@pytest.fixture(scope="module")
def small() -> data.Dataset:
    return data.take(data.load(size=16), 200, 50, seed=0)


GRID = TABLES | {"methods": ["irnet"], "budget": {"images": 200}}


def tune(store: Path, small: data.Dataset, methods: list[str], texts: list[str], **given: Any) -> Any:
    told: list[tuple[tuning.Point, tuning.Result]] = []
    made = tuning.tune(
        make_grid(dict(GRID)),
        methods,
        tuning.read_values(texts),
        store=Store(store, create=True),
        dataset=small,
        provenance=env.provenance("cpu", 1, "test", {}, deterministic=True),
        tell=lambda point, result: told.append((point, result)),
        **({"trials": None, "validation": 50} | given),
    )
    return made, told


# ---------------------------------------------------------------------------------------------------------------- points


def test_options_go_to_the_methods_that_have_them_and_fields_to_all() -> None:
    values = tuning.read_values(["weight=0.1,0.2", "recipe.lr=0.01,0.1"])
    found = tuning.points(["irnet", "irnet+lcr"], values, 2, seed=0)
    assert {p.text for p in found["irnet"]} == {"irnet recipe.lr=0.01", "irnet recipe.lr=0.1"}
    every = tuning.points(["irnet+lcr"], values, None, seed=0)["irnet+lcr"]
    assert [p.text for p in every] == [f"irnet+lcr:weight={w} recipe.lr={lr}" for w in (0.1, 0.2) for lr in (0.01, 0.1)]
    assert set(map(str, found["irnet+lcr"])) <= set(map(str, every))
    assert found == tuning.points(["irnet", "irnet+lcr"], values, 2, seed=0)
    drawn = {tuple(p.text for p in tuning.points(["irnet+lcr"], values, 2, s)["irnet+lcr"]) for s in range(12)}
    assert len(drawn) > 3
    named = tuning.points(["irnet+lcr"], tuning.read_values(["lcr.weight=0.1,0.2"]), None, 0)
    assert [p.method for p in named["irnet+lcr"]] == ["irnet+lcr:weight=0.1", "irnet+lcr:weight=0.2"]


@pytest.mark.parametrize(
    ("methods", "texts", "trials", "said"),
    [
        (["irnet"], ["wieght=1,2"], None, "unknown option of these methods 'wieght'"),
        (["irnet+lcr"], ["lcr.wieght=1,2"], None, "did you mean 'lcr.weight'"),
        (["irnet"], ["recipe.lrr=1,2"], None, "did you mean 'recipe.lr'"),
        (["irnet"], ["weight"], None, "--option takes KEY=VALUE"),
        (["irnet"], ["t_min=1e-3,0.001"], None, "names a value twice"),
        (["irnet"], ["t_min=0.001", "t_min=0.01"], None, "given twice"),
        (["irnet+lcr", "irnet"], ["weight=0.1,0.2"], None, "same number of trials"),
        (["irnet+lcr", "irnet"], ["weight=0.1,0.2"], 2, "state values for 'irnet'"),
        (["irnet+lcr+spectral_penalty"], ["weight=0.1,0.2"], None, "write lcr.weight or spectral_penalty.weight"),
        (["irnet"], ["t_min=fast"], None, "is a number"),
        (["irnet", "irnet"], ["t_min=0.01"], None, "named twice"),
        (["irnet"], ["recipe.validation=10,20"], None, "give --validation"),
    ],
)
def test_what_cannot_be_tried_is_refused_in_one_line(
    methods: list[str], texts: list[str], trials: int | None, said: str
) -> None:
    with pytest.raises(UserError, match=said) as error:
        tuning.points(methods, tuning.read_values(texts), trials, 0)
    assert "\n" not in str(error.value)


# ------------------------------------------------------------------------------------------------------------ the choice


def test_the_best_on_held_out_training_images_is_chosen_and_test_images_have_no_part(
    tmp_path: Path, small: data.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[np.ndarray] = []
    real = selection.accuracy
    monkeypatch.setattr(
        tuning, "accuracy", lambda net, held, device: looked.append(held.images) or real(net, held, device)
    )
    made, told = tune(tmp_path / "a", small, ["irnet"], ["recipe.lr=0.001,0.2"])
    best = max(result.accuracy for _, result in told)
    (entry,) = made.tuned.values()
    assert entry.tuning.accuracy == best
    assert entry.recipe["lr"] == next(p.recipe["lr"] for p, r in told if r.accuracy == best)
    test = {i.tobytes() for i in small.test.images}
    training = {i.tobytes() for i in small.train.images}
    for images in looked:
        assert len(images) == 50
        assert not {i.tobytes() for i in images} & test
        assert {i.tobytes() for i in images} <= training
    assert not list((tmp_path / "a").glob("trainings/*"))
    assert not list((tmp_path / "a").glob("evaluations/*"))
    # Other test images change nothing.
    black = dataclasses.replace(small, test=data.arrays.Split(np.zeros_like(small.test.images), small.test.labels))
    monkeypatch.setattr(tuning, "load_data", lambda choice: black)
    _, again = tune(tmp_path / "b", small, ["irnet"], ["recipe.lr=0.001,0.2"])
    assert [(r.accuracy, r.images) for _, r in again] == [(r.accuracy, r.images) for _, r in told]


def test_a_second_call_repeats_no_trial_and_a_larger_one_adds_to_it(
    tmp_path: Path, small: data.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, told = tune(tmp_path, small, ["irnet"], ["recipe.lr=0.01,0.1"])
    trained = []
    real = tuning.fit
    monkeypatch.setattr(tuning, "fit", lambda spec, *a, **k: trained.append(spec.recipe.lr) or real(spec, *a, **k))
    again, same = tune(tmp_path, small, ["irnet"], ["recipe.lr=0.01,0.1"])
    assert (again, same) == (first, told)
    assert trained == []
    tune(tmp_path, small, ["irnet"], ["recipe.lr=0.01,0.1,0.05"])
    assert trained == [0.05]


def test_a_diverged_trial_is_counted_and_never_chosen(tmp_path: Path, small: data.Dataset) -> None:
    made, told = tune(tmp_path, small, ["full_precision"], ["recipe.lr=1e20,0.05"])
    assert [r.accuracy is None for _, r in told] == [True, False]
    (entry,) = made.tuned.values()
    assert entry.recipe == {"lr": 0.05}
    assert entry.tuning.trials == 2
    assert entry.tuning.images == sum(r.images for _, r in told)
    with pytest.raises(UserError, match="every trial of 'full_precision' diverged"):
        tune(tmp_path, small, ["full_precision"], ["recipe.lr=1e20,1e21"])


def test_a_teacher_is_counted_too(tmp_path: Path, small: data.Dataset) -> None:
    _, told = tune(tmp_path, small, ["irnet+distill"], ["distill.weight=0.5"])
    assert told[0][1].images == 400


# ---------------------------------------------------------------------------------------------------------- what follows


def test_a_run_of_the_result_carries_the_tuning(tmp_path: Path, small: data.Dataset) -> None:
    spec = tmp_path / "small.toml"
    spec.write_text(toml.written(GRID | {"methods": ["bnn"]}))
    out = tmp_path / "tuned.toml"
    words = ["tune", str(spec), "--method", "irnet+lcr", "--method", "irnet", "--option", "weight=0.01,0.1"]
    words += ["--option", "recipe.lr=0.01,0.1", "--trials", "2", "--validation", "20", "--workers", "1"]
    done = CliRunner().invoke(app, [*words, "--store", str(tmp_path / "s"), "--out", str(out)])
    assert done.exit_code == 0, done.output
    tables = tomllib.loads(out.read_text())
    assert tables["recipe"] == GRID["recipe"], "the preset's own"
    grid = make_grid(tables)
    assert len(grid.tuned) == len(grid.methods) == 2
    records = go(tmp_path / "s", tables)
    for record in records:
        entry = grid.tuned[record.spec.label]
        assert record.ledger is not None
        assert record.ledger.tuning == record.spec.training.tuning == entry.tuning
        assert (entry.tuning.trials, entry.tuning.images, entry.tuning.validation) == (2, 400, 20)
        assert entry.tuning.cpu > 0
        assert record.spec.recipe.lr == entry.recipe["lr"]
        assert record.spec.recipe.validation == 0
        assert record.ledger.budget_class == BudgetClass(trials=2)
        assert record.ledger.images == 200, "the run's own"
    (setting,) = read(Store(tmp_path / "s")).settings
    assert all("tuned by 2 trials (400 images seen" in note for note in tuning_notes(setting))
    assert budget_proof(setting).sentence.startswith("Each by its own recipe (what trials on held-out")
    assert not any(row.aside for row in setting.rows)


def test_an_untuned_run_is_another_one_and_its_report_says_nothing(tmp_path: Path, small: data.Dataset) -> None:
    made, _ = tune(tmp_path, small, ["irnet"], ["t_min=0.01,0.1"])
    (text,) = made.methods
    (tuned,) = planning.plan(made, small)
    plain = GRID | {"methods": [text]}
    (untuned,) = planning.plan(make_grid(plain), small)
    assert tuned.training.recipe == untuned.training.recipe
    assert tuned.training.recipe_of == "comparison", "options alone were tuned"
    assert tuned.training.train_id != untuned.training.train_id
    go(tmp_path, plain)
    (setting,) = read(Store(tmp_path)).settings
    assert tuning_notes(setting) == []
    go(tmp_path, made.model_dump(mode="json", exclude_defaults=True))
    (setting,) = read(Store(tmp_path)).settings
    assert len(tuning_notes(setting)) == 1
    assert {bool(row.aside) for row in setting.rows} == {True, False}, "as another budget"


def test_seconds_and_the_accuracy_found_are_no_identity(small: data.Dataset) -> None:
    entry = {"tuning": {"trials": 2, "images": 400, "validation": 50, "cpu": 1.0, "wall": 1.0, "accuracy": 0.5}}
    ids = set()
    for change in ({}, {"cpu": 9.0}, {"accuracy": 0.7}, {"wall": 2.0}):
        tables = GRID | {"tuned": {"irnet": {"tuning": entry["tuning"] | change}}}
        ids.add(planning.plan(make_grid(tables), small)[0].training.train_id)
    assert len(ids) == 1


@pytest.mark.parametrize(
    ("tuned", "said"),
    [
        ({"irnet": {"tuning": {"trials": 0, "images": 1, "validation": 1}}}, "trials"),
        ({"irnet": {}}, "tuning"),
        ({"nothing": {"tuning": {"trials": 1, "images": 1, "validation": 1}}}, "unknown method 'nothing'"),
        (
            {"irnet": {"tuning": {"trials": 1, "images": 1, "validation": 1}, "recipe": {"lrr": 1}}},
            "did you mean 'lr'",
        ),
        ({"irnet": {"tuning": {"trials": 1, "images": 1, "validation": 1}, "recipe": {"lr": -1}}}, "greater than 0"),
        ({"irnet": {"tuning": {"trials": 1, "images": 1, "validation": 1, "trails": 3}}}, "trails"),
        (
            {"irnet": {"tunning": {}, "tuning": {"trials": 1, "images": 1, "validation": 1}}},
            "did you mean 'tuned.irnet.tuning'",
        ),
    ],
)
def test_a_damaged_entry_is_named(small: data.Dataset, tuned: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said) as error:
        planning.plan(make_grid(GRID | {"tuned": tuned}), small)
    assert "\n" not in str(error.value)


def test_tables_come_back_from_toml() -> None:
    tables = {
        "a": 1, "b": 1e-5, "c": True, "d": 'quo"ted\\ \n\x7f é', "e": ["x", 2.5, [1]],
        "t": {"k.v": {"weight": [0.1]}, "irnet+lcr:weight=0.1": {"x": {"y": 3}}}, "empty": {},
    }  # fmt: skip
    assert tomllib.loads(toml.written(tables)) == tables
