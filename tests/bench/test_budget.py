"""What a budget buys when several networks or stages share it, counted by hand."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from lcrbench.bench import cli, worker
from lcrbench.bench.records.budget import AMOUNT, Budget, Recipe, allot, move_keys, override
from lcrbench.bench.records.budget import steps as steps_of
from lcrbench.bench.records.grid import Data, make_grid
from lcrbench.bench.records.record import BudgetClass, Record
from lcrbench.bench.records.store import Damaged, Store
from lcrbench.errors import UserError
from lcrbench.models import network as networks
from tests.bench import helpers
from tests.bench.helpers import bits, go

TABLES: dict[str, Any] = helpers.TABLES | {
    "methods": ["irnet"],
    "budget": {"images": 1200, "unit": "compute"},
    "metrics": {"accuracy": {}},
}


def job(root: Path, method: str, **change: Any) -> worker.Job:
    recipe = {k: v for k, v in change.items() if k in Recipe.model_fields}
    budget = override(TABLES["budget"], {k: v for k, v in change.items() if k not in recipe})
    recipe = TABLES["recipe"] | recipe
    return helpers.job(root, TABLES | {"methods": [method], "budget": budget, "recipe": recipe})


def run(root: Path, method: str, **change: Any) -> Record:
    record = worker.run_one(job(root, method, **change))
    assert record.status == "finished"
    assert record.ledger is not None
    return record


# A step of the plain network is 1. With a teacher's forward pass it is about 4/3, and the teacher's own step is 1. 1200
# images pay for about 1200 / (4/3 + 1) = 514 of each, which is 10 whole batches of 50.
@pytest.mark.parametrize(
    ("method", "images", "forward", "step"),
    [
        ("irnet", 1200, {"student": 1200}, 1),
        ("irnet+lcr", 1100, {"student": 1100}, 1),
        ("irnet+lcr_fixed", 500, {"student": 500, "teacher": 500, "training": 500}, 7 / 3),
        # Two passes of the student, forward and backward, and one of the teacher: 7/3, plus 1 for the teacher: 360.
        ("irnet+lcr_released", 350, {"student": 700, "teacher": 350, "training": 350}, 10 / 3),
        ("irnet+distill", 500, {"student": 500, "teacher": 500, "training": 500}, 7 / 3),
        ("irnet+cmim", 500, {"student": 500, "teacher": 500, "training": 500}, 7 / 3),
        # The real network that it starts from is trained for as many images, and asked nothing afterwards.
        ("irnet+finetune", 600, {"student": 600, "training": 600}, 2),
        ("reactnet:two_step=true", 1200, {"student": 1200}, 1),
        ("biper", 1200, {"student": 1200}, 1),
        ("irnet+lcr_fixed:weight=0", 1200, {"student": 1200}, 1),
        ("irnet+distill:weight=0", 1200, {"student": 1200}, 1),
    ],
)
def test_equal_compute_charges_every_network(
    tmp_path: Path, method: str, images: int, forward: dict[str, int], step: float
) -> None:
    ledger = run(tmp_path, method).ledger
    assert ledger is not None
    counted = {**ledger.forward, "training": ledger.taught_images}
    assert (ledger.images, ledger.steps) == (images, images // 50)
    assert {k: v for k, v in counted.items() if v} == {k: v for k, v in forward.items() if v}
    # The regularizer's own arithmetic besides, and the first layer's gradient by the images, which a step leaves out.
    assert step * images <= ledger.compute <= min(1.08 * step * images, 1200)
    assert ledger.compute * (images + 50) / images > 1200, "one batch more is not paid for"
    assert [t.images for t in ledger.teachers] == ([images] if "training" in forward else [])


def test_a_budget_that_pays_for_no_batch_names_the_smallest_that_does(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"budget.images: 'irnet\+lcr_fixed' .* give images = \d+ or more") as error:
        job(tmp_path, "irnet+lcr_fixed", images=50)
    assert "\n" not in str(error.value)
    least = int(str(error.value).partition("give images = ")[2].split()[0])
    with pytest.raises(UserError, match=f"give images = {least} or more"):
        job(tmp_path, "irnet+lcr_fixed", images=least - 1)
    assert run(tmp_path, "irnet+lcr_fixed", images=least).ledger.images == 50
    with pytest.raises(UserError, match="give images = 100 or more"):
        job(tmp_path, "reactnet:two_step=true", images=99)


@pytest.mark.parametrize("images", range(50, 2000, 50))
@pytest.mark.parametrize("thirds", [3, 4, 7, 10, 14])
def test_no_batch_is_lost_to_rounding_and_none_is_given_away(images: int, thirds: int) -> None:
    budget, recipe = Budget(unit="compute", images=images), Recipe(batch=50)
    exact = 3 * images // (50 * thirds)

    def cost(steps: int) -> Fraction:
        return Fraction(thirds * 50 * steps, 3)

    if exact == 0:
        with pytest.raises(ValueError, match=f"images = {-(-50 * thirds // 3)} "):
            allot(budget, recipe, 200, cost=cost)
    else:
        both = allot(budget, recipe, 200, cost=cost, teachers=1)
        assert [steps_of(b, recipe, 200) for b in both] == [exact, exact]


def test_seconds_are_divided_equally_among_teachers_and_stages(tmp_path: Path) -> None:
    budget = Budget(unit="seconds", seconds=6.0)
    assert [b.seconds for b in allot(budget, Recipe(), 200, teachers=1, stages=2)] == [2.0, 4.0]
    record = run(tmp_path, "irnet+distill", unit="seconds", seconds=3.0)
    seconds = record.ledger.seconds
    assert 1.5 <= seconds["teacher"].cpu < 3
    assert 1.5 <= seconds["training"].cpu < 3


def test_under_equal_images_a_teacher_sees_as_many(tmp_path: Path) -> None:
    ledger = run(tmp_path, "irnet+distill", unit="images", images=300).ledger
    assert ledger.images == ledger.teachers[0].images == 300
    assert ledger.budget_class == BudgetClass(teachers=("full_precision",))


def test_a_start_from_a_real_network_is_a_class_of_its_own(tmp_path: Path) -> None:
    plain, begun, both, none = (
        run(tmp_path, f"irnet{of}", unit="images", images=100).ledger
        for of in ("", "+finetune", "+finetune+distill", "+finetune:weight=0.0")
    )
    assert begun.budget_class == BudgetClass(started=("full_precision",))
    assert both.budget_class == BudgetClass(teachers=("full_precision",), started=("full_precision",))
    assert [t.weights_sha256 for t in begun.teachers] == [begun.initial_weights_sha256]
    assert plain.initial_weights_sha256 == none.initial_weights_sha256 != begun.initial_weights_sha256
    assert none.budget_class == plain.budget_class == BudgetClass()
    assert begun.data_order_sha256 == plain.data_order_sha256


# --- stages ----------------------------------------------------------------------------------------------------------


def test_two_stages_share_the_images_and_say_so(tmp_path: Path) -> None:
    plain = run(tmp_path, "reactnet", unit="images").ledger
    record = run(tmp_path, "reactnet:two_step=true+distill", unit="images")
    ledger = record.ledger
    assert [(s.name, s.images, s.steps) for s in ledger.stages] == [
        ("real weights", 600, 12),
        ("binary weights", 600, 12),
    ]
    assert ledger.budget_class == BudgetClass(("real weights", "binary weights"), ("full_precision",))
    assert plain.budget_class == BudgetClass()
    # The second stage goes on with the stream of the first: all methods see the same data in the same order.
    for field in ("images", "data_order_sha256", "augmentation_sha256", "initial_weights_sha256"):
        assert getattr(ledger, field) == getattr(plain, field), field
    said = CliRunner().invoke(cli.app, ["show", "run", record.run_id, "--ledger", "--store", str(tmp_path)]).output
    for line in (
        "stage 1",
        "name binary weights, images 600, steps 12",
        "teacher 1",
        "2 stages (real weights, then",
        "data_order_sha256",
    ):
        assert line in said
    assert record.model.weight_bits == record.model.activation_bits == 1
    assert record.model.audit.passed


def test_each_stage_has_a_whole_schedule(tmp_path: Path) -> None:
    record = run(tmp_path, "reactnet:two_step=true", unit="images")
    log = Store(tmp_path).log(record.run_id)
    assert log["stage"].tolist() == [1] * 12 + [2] * 12
    first, second = log["lr"][:12].tolist(), log["lr"][12:].tolist()
    assert first == second
    assert max(first) > 0.045
    assert first[-1] < 0.001


def test_a_stage_starts_with_a_fresh_optimizer_and_the_weights_before(monkeypatch: pytest.MonkeyPatch) -> None:
    from lcrbench.bench.training import loop as training

    choice = networks.choose("reactnet:two_step=true")
    made, seen = [], []
    real = training.make_optimizer

    def make(network: Any, recipe: Recipe) -> Any:
        made.append(real(network, recipe))
        return made[-1]

    monkeypatch.setattr(training, "make_optimizer", make)

    def on_stage(network: Any, k: int) -> None:
        seen.append((k, len(made), {n: w.detach().clone() for n, w in networks.latent_weights(network).items()}))
        choice.method.on_stage(network, k)

    network = networks.build(choice, "vgg_tiny", 10, 32, [0.3] * 3, [0.4] * 3, lambda n: torch.Generator())
    data = worker.load_data(Data(train=200, test=50))
    spent = training.train(network, data.train, Budget(images=500), Recipe(batch=50), 0, stages=2, on_stage=on_stage)
    assert spent.stages == [5, 5]
    assert [(k, n) for k, n, _ in seen] == [(0, 1), (1, 2)]
    assert not any(torch.equal(seen[0][2][n], w) for n, w in seen[1][2].items())


@pytest.mark.parametrize("unit", ["images", "compute"])
def test_a_class_of_its_own_is_never_headed_identical(tmp_path: Path, unit: str) -> None:
    from lcrbench.reports import comparison
    from lcrbench.reports.budget_proof import budget_proof

    for method in ("reactnet", "irnet", "reactnet:two_step=true", "irnet+distill"):
        run(tmp_path, method, unit=unit, images=300)
    (setting,) = comparison.read(Store(tmp_path)).settings
    proof = budget_proof(setting)
    assert not proof.identical
    assert "budget class" in proof.sentence
    aside = {row.label: row.aside for row in setting.rows}
    assert aside["reactnet"] == aside["irnet"] == ""
    if unit == "images":
        assert "2 stages (real weights, then binary weights) instead of one training" in aside["reactnet:two_step=true"]
        assert "taught by full_precision instead of one training" in aside["irnet+distill"]
        assert [row.label for row in setting.ranked] == ["irnet", "reactnet"]
    else:
        assert not any(aside.values()), "all of it is charged"


# --- kept teachers ----------------------------------------------------------------------------------------------------


def test_a_teacher_is_kept_shared_and_charged_to_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run(tmp_path, "irnet+distill", unit="images", images=300)
    (kept,) = (tmp_path / ".teachers").iterdir()
    assert kept.name == first.ledger.teachers[0].id
    content = kept.read_bytes()
    phases: list[str] = []
    other = worker.run_one(job(tmp_path, "bnn+distill", unit="images", images=300), lambda p, *a, **k: phases.append(p))
    assert "teacher" not in phases, "it is not trained again"
    assert other.ledger.teachers == first.ledger.teachers
    assert other.ledger.seconds["teacher"] == first.ledger.seconds["teacher"]
    assert other.ledger.forward == first.ledger.forward
    assert kept.read_bytes() == content
    # Alone in a store of its own, with a teacher trained anew: the same bits.
    alone = run(tmp_path / "alone", "bnn+distill", unit="images", images=300)
    assert bits(tmp_path / "alone", alone) == bits(tmp_path, other)


@pytest.mark.parametrize("change", [{"seed": 1}, {"images": 400}, {"lr": 0.04}, {"augmentation": "none"}])
def test_another_seed_or_budget_is_another_teacher(tmp_path: Path, change: dict[str, Any]) -> None:
    one = job(tmp_path, "irnet+distill", unit="images", images=300)
    spec = one.spec
    budget = spec.budget.model_copy(update={k: v for k, v in change.items() if k == "images"})
    recipe = spec.recipe.model_copy(update={k: v for k, v in change.items() if k in Recipe.model_fields})
    update = {"budget": budget, "recipe": recipe, "seed": change.get("seed", 0)}
    other = spec.model_copy(update={"training": spec.training.model_copy(update=update)})
    ids = [worker.run_one(replace(one, spec=s)).ledger.teachers[0].id for s in (spec, other)]
    assert ids[0] != ids[1]
    assert len(list((tmp_path / ".teachers").iterdir())) == 2


def test_a_damaged_teacher_is_named_never_used_and_set_aside_on_request(tmp_path: Path) -> None:
    first = run(tmp_path, "irnet+distill", unit="images", images=300)
    (kept,) = (tmp_path / ".teachers").iterdir()
    content = bytearray(kept.read_bytes())
    content[len(content) // 2] ^= 1
    kept.write_bytes(content)
    with pytest.raises(Damaged, match=f"{kept.name} is damaged.*--redo"):
        worker.run_one(job(tmp_path, "bnn+distill", unit="images", images=300))
    both = {"methods": ["irnet+distill", "bnn+distill"], "budget": {"images": 300, "unit": "images"}}
    records = go(tmp_path, TABLES | both, redo=True)
    assert [r.status for r in records] == ["finished"] * 2
    assert records[1].ledger.teachers == first.ledger.teachers
    assert len(list((tmp_path / ".damaged").iterdir())) == 1


def test_two_processes_train_a_shared_teacher_once(tmp_path: Path) -> None:
    methods = ["irnet+distill", "bnn+distill", "irnet+lcr_fixed"]
    records = go(tmp_path, TABLES | {"methods": methods, "budget": {"images": 2000, "unit": "images"}}, workers=3)
    assert [r.status for r in records] == ["finished"] * 3
    assert len({r.ledger.teachers for r in records}) == 1
    assert len({r.ledger.seconds["teacher"] for r in records}) == 1, "one training, charged to all"
    assert len(list((tmp_path / ".teachers").iterdir())) == 1


def test_teachers_are_named_once() -> None:
    choice = networks.choose("irnet+distill:weight=0.5+lcr_fixed+lcr")
    assert networks.teachers(choice) == ["full_precision"]
    assert networks.teachers(networks.choose("irnet+distill:weight=0+lcr_fixed:weight=0+lcr")) == []


def test_a_teacher_that_diverges_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    record = worker.run_one(job(tmp_path, "irnet+distill", unit="images", images=2000, lr=1e20))
    assert record.status == "failed"
    assert record.failure.reason == "diverged"
    assert not list((tmp_path / ".unfinished").glob("*"))
    assert not list((tmp_path / ".teachers").glob("*"))


# --- units and places of the fields -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("budget", "recipe", "expected"),
    [
        ({"images": 1000}, {"batch": 50}, 20),
        ({"images": 1049}, {"batch": 50}, 20),
        ({"unit": "compute", "images": 1000}, {"batch": 50}, 20),
        ({"unit": "epochs", "epochs": 3}, {"batch": 50}, 12),
        ({"unit": "epochs", "epochs": 3}, {"batch": 70}, 8),
        ({"unit": "epochs", "epochs": 0.25}, {"batch": 50}, 1),
        ({"unit": "epochs", "epochs": 0.7}, {"batch": 7}, 20),  # 0.7 * 200 is 140, and in floats less
        ({"unit": "epochs", "epochs": 3}, {"batch": 50, "validation": 50}, 9),
        ({"unit": "seconds", "seconds": 3.0}, {"batch": 50}, None),
        ({}, {}, 600),
    ],
)
def test_steps_of_each_unit(budget: dict[str, Any], recipe: dict[str, Any], expected: int | None) -> None:
    assert steps_of(Budget(**budget), Recipe(**recipe), 200) == expected


def test_epochs_that_pay_for_no_batch_name_the_field_and_what_does(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"0.2 epochs of 200 images .* give epochs = 0.25 or more"):
        steps_of(Budget(unit="epochs", epochs=0.2), Recipe(batch=50), 200)
    with pytest.raises(UserError, match=r"budget.epochs: 'reactnet:two_step=true' .* give epochs = 0.5 or more"):
        job(tmp_path, "reactnet:two_step=true", unit="epochs", epochs=0.4)
    assert run(tmp_path, "reactnet:two_step=true", unit="epochs", epochs=0.5).ledger.steps == 2


def test_epochs_are_images_by_another_name(tmp_path: Path) -> None:
    ledgers = [
        run(tmp_path, "irnet", **b).ledger
        for b in ({"unit": "epochs", "epochs": 1.5}, {"unit": "images", "images": 300})
    ]
    assert [(ledger.images, ledger.data_order_sha256) for ledger in ledgers] == [
        (300, ledgers[0].data_order_sha256)
    ] * 2
    assert [ledger.unit for ledger in ledgers] == ["epochs", "images"]


@pytest.mark.parametrize("unit", ["images", "epochs", "compute", "seconds"])
@pytest.mark.parametrize("amount", ["images", "epochs", "seconds"])
def test_a_budget_has_the_amount_of_its_unit_and_no_other(unit: str, amount: str) -> None:
    if AMOUNT[unit] == amount:
        assert Budget(unit=unit, **{amount: 7}).model_dump(exclude_none=True) == {"unit": unit, amount: 7}
        return
    with pytest.raises(UserError, match=rf"budget.*{unit}.*{amount}|budget.*needs {AMOUNT[unit]}") as error:
        make_grid({"budget": {"unit": unit, amount: 7}})
    assert "\n" not in str(error.value)


def test_fields_at_their_old_place_are_read_with_one_line() -> None:
    old = {"methods": ["bnn"], "budget": {"images": 500, "batch": 50, "lr": 0.1}, "recipe": {"decay": "all"}}
    tables, notes = move_keys(old)
    assert notes == ["[budget] batch, lr now belong to [recipe]: read from there"]
    grid = make_grid(tables)
    assert (grid.budget, grid.recipe) == (Budget(images=500), Recipe(batch=50, lr=0.1, decay="all"))
    assert move_keys(tables) == (tables, [])
    assert old["budget"] == {"images": 500, "batch": 50, "lr": 0.1}, "the given tables stay as they are"
    with pytest.raises(UserError, match=r"\[budget\] lr and \[recipe\] lr are both given"):
        move_keys({"budget": {"lr": 0.1}, "recipe": {"lr": 0.1}})
    # What every record of before holds.
    full = {"unit": "seconds", "images": 60_000, "seconds": 3.0, "batch": 100}
    assert make_grid(move_keys({"budget": full})[0]).budget == Budget(unit="seconds", seconds=3.0)


def test_the_command_says_that_fields_moved(tmp_path: Path) -> None:
    (tmp_path / "old.toml").write_text('methods = ["bnn"]\n[data]\ntrain = 200\ntest = 50\n[budget]\nbatch = 50\n')
    done = CliRunner().invoke(cli.app, ["run", str(tmp_path / "old.toml"), "--plan", "--store", str(tmp_path / "s")])
    assert done.exit_code == 0, done.output
    first, cost = done.stderr.splitlines()
    assert first == "lcrbench: [budget] batch now belongs to [recipe]: read from there"
    assert cost.startswith("1 run to do: ")


def test_a_unit_given_on_the_command_line_takes_the_preset_s_amount_away() -> None:
    for unit, amount in AMOUNT.items():
        made = override({"unit": "images", "images": 60_000}, {"unit": unit, amount: 9})
        assert made == {"unit": unit, amount: 9}
    assert override({"images": 60_000}, {"images": 9}) == {"images": 9}
    assert override({"images": 60_000}, {"epochs": 9}) == {"images": 60_000, "epochs": 9}, "refused, not guessed"
