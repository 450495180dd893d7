"""Each method by the recipe of its paper: what is recommended, what is refused, and how a report heads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lcrbench import registry
from lcrbench.bench import data, planning
from lcrbench.bench.records.budget import Recipe
from lcrbench.bench.records.grid import make_grid
from lcrbench.bench.records.record import BudgetClass
from lcrbench.bench.records.store import Store
from lcrbench.bench.training import parts
from lcrbench.errors import UserError
from lcrbench.models import api
from lcrbench.models import network as networks
from lcrbench.reports.budget_proof import budget_proof
from lcrbench.reports.comparison import read
from lcrbench.reports.words import findings, notes
from tests.bench.helpers import TABLES, go


@pytest.fixture(scope="module")
def small() -> data.Dataset:
    return data.take(data.load(size=16), 200, 50, seed=0)


@pytest.mark.parametrize("backbone", registry.names("backbone"))
@pytest.mark.parametrize("method", registry.names("method"))
def test_a_recommended_recipe_is_one(method: str, backbone: str) -> None:
    chosen = networks.choose(method).method
    given = chosen.recipe(backbone)
    if type(chosen).recipe is api.Method.recipe:
        assert not given, "a method recommends none unless it says so"
        return
    recipe = parts.settled(Recipe.model_validate(given))
    assert all(getattr(recipe, k) == v for k, v in given.items()), "written in the form that is recorded"
    doc = type(chosen).recipe.__doc__ or ""
    assert any(word in doc for word in ("code", "arXiv")), "its source is named, or why there is none"


def test_irnet_has_a_rate_of_its_own_on_vgg_small() -> None:
    recipe = networks.choose("irnet").method.recipe
    assert (recipe("vgg_small")["lr"], recipe("resnet20")["lr"]) == (0.007, 0.1)


def plan(small: data.Dataset, **change: Any) -> Any:
    tables = TABLES | {"methods": ["irnet", "recu"], "budget": {"images": 1000}, "recipe": "paper"} | change
    return planning.plan(make_grid(tables), small)


def test_each_method_gets_its_own(small: data.Dataset) -> None:
    one, two = plan(small)
    assert (one.recipe.weight_decay, two.recipe.weight_decay) == (1e-4, 5e-4)
    assert (one.recipe.batch, two.recipe.batch) == (128, 256)
    assert {s.training.recipe_of for s in (one, two)} == {"paper"}
    (also, _) = plan(small, recipe={"like": "paper", "validation": 20})
    assert (also.recipe.validation, also.recipe.batch) == (20, 128)


def test_whose_recipe_it_is_is_part_of_what_a_training_is(small: data.Dataset) -> None:
    (paper,) = plan(small, methods=["irnet"])
    (given,) = plan(small, methods=["irnet"], recipe=paper.recipe.model_dump())
    assert given.recipe == paper.recipe
    assert given.training.recipe_of == "comparison"
    assert given.training.train_id != paper.training.train_id


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"methods": ["dorefa"]}, "'dorefa' recommends no recipe"),
        ({"recipe": {"like": "paper", "lr": 0.1}}, "recipe.lr is a part of what 'irnet' recommends"),
        ({"recipe": "papr"}, "recipe is a table of fields, or 'paper', not 'papr'"),
        ({"recipe": {"like": "mine"}}, "not 'mine'"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(small: data.Dataset, change: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said) as error:
        plan(small, **change)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 200


def test_a_report_heads_it_each_by_its_own_recipe_and_never_identical(tmp_path: Path) -> None:
    """Not even where the recipes are equal; and methods under the comparison's recipe stand aside."""
    tables = TABLES | {"methods": ["irnet", "adabin"], "budget": {"images": 512}, "recipe": "paper"}
    go(tmp_path, tables)
    (setting,) = read(Store(tmp_path)).settings
    proof = budget_proof(setting)
    assert not proof.identical
    assert proof.sentence.startswith("Each by its own recipe (that of its paper): no field differs")
    assert "dentical budgets" not in proof.sentence
    assert [r.aside for r in setting.rows] == ["", ""]
    assert "each by its own recipe" in findings.summary(read(Store(tmp_path)))
    assert any("each by its own recipe" in note.text for note in notes.methods_notes(read(Store(tmp_path))))
    record = setting.rows[0].any
    assert record.ledger is not None
    assert record.ledger.budget_class == BudgetClass(by_paper=True)

    go(tmp_path, tables | {"methods": ["irnet", "recu", "adabin"]})
    go(tmp_path, tables | {"methods": ["bnn"], "recipe": {"batch": 128}})
    (setting,) = read(Store(tmp_path)).settings
    asides = {r.label: r.aside for r in setting.rows}
    assert [asides[m] for m in ("irnet", "recu", "adabin")] == [""] * 3, "their recipes differ, and are compared"
    assert "recipe_of comparison instead of paper" in asides["bnn"]
    proof = budget_proof(setting)
    assert "batch" in proof.sentence
    assert "weight decay" in proof.sentence
