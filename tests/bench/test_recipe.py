"""A recipe's named parts, the images that it holds out, and the weights that it selects."""

from __future__ import annotations

import textwrap
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lcrbench import registry
from lcrbench.bench import data, planning
from lcrbench.bench.records.budget import Budget, Recipe
from lcrbench.bench.records.grid import make_grid
from lcrbench.bench.training import conformance, parts
from lcrbench.bench.training.loop import train
from lcrbench.bench.training.pace import Pace
from lcrbench.bench.training.selection import accuracy
from lcrbench.bench.training.spent import Spent
from lcrbench.bench.training.stream import batches, held_out, parted
from lcrbench.bench.training.transforms import none
from lcrbench.errors import UserError
from lcrbench.models import network as networks
from lcrbench.models import parse

CHECKS = {
    "optimizer": conformance.check_optimizer,
    "schedule": conformance.check_schedule,
    "transform": conformance.check_transform,
}
FIELD = {"optimizer": "optimizer", "schedule": "schedule", "transform": "augmentation"}


@pytest.fixture(scope="module")
def small() -> data.Dataset:
    return data.take(data.load(), 200, 50, seed=0)


def network_for(small: data.Dataset, method: str = "bnn") -> networks.Network:
    torch.set_num_threads(1)
    choice = networks.choose(method)
    net = networks.build(
        choice, "vgg_tiny", 10, 32, small.mean, small.std, lambda name: torch.Generator().manual_seed(len(name))
    )
    return net.to(memory_format=torch.channels_last)


def same_bits(a: networks.Network, b: networks.Network) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


# --- parts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "name"), [(k, n) for k in CHECKS for n in registry.names(k)])
def test_every_registered_part_conforms_and_trains(small: data.Dataset, kind: str, name: str) -> None:
    assert CHECKS[kind](registry.load(kind, name)) == []
    recipe = Recipe(batch=50, lr=0.001, **{FIELD[kind]: name})
    net = network_for(small)
    before = networks.weights_hash(net)
    spent = train(net, small.train, Budget(images=200), recipe, 0)
    assert spent.steps == 4
    assert networks.weights_hash(net) != before


def test_texts_that_mean_the_same_are_one_recipe() -> None:
    plain = parts.settled(Recipe())
    assert plain == Recipe(), "the defaults are written as they are settled"
    assert parts.settled(Recipe(optimizer="sgd:nesterov=true", augmentation="crop_flip")) == plain
    other = parts.settled(Recipe(optimizer="sgd:nesterov=false"))
    assert other.optimizer == "sgd:nesterov=false"
    assert parts.settled(other) == other
    assert parts.load(other).optimizer != parts.load(plain).optimizer


FINITE = st.floats(allow_nan=False, allow_infinity=False)
ANY = {bool: st.booleans(), int: st.integers(), float: FINITE, str: st.text()}


@pytest.mark.parametrize(("field", "name"), [(FIELD[k], n) for k in FIELD for n in registry.names(k)])
@settings(max_examples=15, deadline=None)
@given(drawn=st.data())
def test_any_options_of_a_part_are_read_as_they_are_written(field: str, name: str, drawn: st.DataObject) -> None:
    default = parts.load(Recipe(**{field: name}))
    part = type(getattr(default, field))
    defaults = {f.name: f.default for f in fields(part)}
    values = {k: drawn.draw(st.just(v) | ANY.get(type(v), st.nothing()), label=k) for k, v in defaults.items()}
    try:
        wanted = part(**values)
    except ValueError:
        return  # values that the part itself refuses
    settled = parts.settled(Recipe(**{field: parse.write([parse.Part(name, values)])}))
    assert parts.settled(settled) == settled
    assert getattr(parts.load(settled), field) == wanted


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"optimizer": "sgdd"}, "did you mean 'sgd'"),
        ({"optimizer": "sgd:nestrov=false"}, "did you mean 'nesterov'"),
        ({"optimizer": "sgd+adam"}, "recipe.optimizer names one optimizer"),
        ({"optimizer": "adam:beta2=2"}, "beta2 is in"),
        ({"schedule": "step:at=(0.5,1.5)"}, "between 0 and 1"),
        ({"schedule": "no.such.module"}, "no.such.module"),
        ({"augmentation": "crop-flip:pad=3"}, "pad"),
        ({"augmentation": ""}, "augmentation"),
        ({"selection": "best"}, "give validation = NUMBER"),
        ({"validation": 5}, "recipe.validation: 5 images"),
        ({"validation": 200}, "recipe.validation: 200 images"),
    ],
)
def test_a_recipe_that_does_not_exist_or_fit_is_refused_before_anything_is_trained(
    small: data.Dataset, change: dict[str, Any], said: str
) -> None:
    tables = {"data": {"train": 200, "test": 50}, "methods": ["bnn"], "recipe": {"batch": 50} | change}
    with pytest.raises(UserError, match=said) as error:
        planning.plan(make_grid(tables), small)
    assert "\n" not in str(error.value)


OUTSIDE = {
    "transform": """
        '''Inverts images of which the drawn number is 1.'''
        from dataclasses import dataclass
        from lcrbench.bench.training import api
        @dataclass(frozen=True)
        class Transform(api.Transform):
            values: int = 2
            def draw(self, rng, n, size):
                return rng.integers(0, self.values, size=(n, 1))
            def apply(self, images, draws, size):
                import torch
                return torch.where(draws[:, :, None, None] == 1, 255 - images, images)
    """,
    "optimizer": """
        '''Steps along the sign of the gradient.'''
        from dataclasses import dataclass
        import torch
        from lcrbench.bench.training import api
        class _Signs(torch.optim.Optimizer):
            def step(self, closure=None):
                for group in self.param_groups:
                    for p in group["params"]:
                        if p.grad is not None:
                            update = p.grad.sign() + group["weight_decay"] * p.detach()
                            p.data.add_(update, alpha=-group["lr"])
        @dataclass(frozen=True)
        class Optimizer(api.Optimizer):
            def make(self, groups, recipe):
                return _Signs(groups, {"lr": recipe.lr})
    """,
    "schedule": """
        '''Rises and falls.'''
        from dataclasses import dataclass
        from lcrbench.bench.training import api
        @dataclass(frozen=True)
        class Schedule(api.Schedule):
            power: float = 1.0
            def factor(self, progress, warmup):
                return (1 - abs(2 * progress - 1)) ** self.power
    """,
}


def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, source: str, name: str = "entry") -> ModuleType:
    (tmp_path / f"outside_{kind}").mkdir(exist_ok=True)
    (tmp_path / f"outside_{kind}" / f"{name}.py").write_text(textwrap.dedent(source))
    monkeypatch.syspath_prepend(str(tmp_path))
    return registry.load(kind, f"outside_{kind}.{name}")


@pytest.mark.parametrize("kind", OUTSIDE)
def test_a_part_from_outside_is_named_by_its_import_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: data.Dataset, kind: str
) -> None:
    assert CHECKS[kind](outside(tmp_path, monkeypatch, kind, OUTSIDE[kind], "good")) == []
    option = {"transform": ":values=3", "schedule": ":power=2.0", "optimizer": ""}[kind]
    recipe = parts.settled(Recipe(batch=50, lr=0.001, **{FIELD[kind]: f"outside_{kind}.good{option}"}))
    assert getattr(recipe, FIELD[kind]) == f"outside_{kind}.good{option}"
    ours, theirs = network_for(small), network_for(small)
    train(ours, small.train, Budget(images=200), Recipe(batch=50, lr=0.001), 0)
    spent = train(theirs, small.train, Budget(images=200), recipe, 0)
    assert networks.weights_hash(ours) != networks.weights_hash(theirs)
    assert spent.steps == 4


BROKEN = [
    ("optimizer", "class Optimizer", "class Optimiser", "defines no class 'Optimizer'"),
    ("optimizer", "def make", "def mkae", "lacks make"),
    ("schedule", "def factor", "factr = len\n            def factor", "did you mean 'factor'"),
    ("optimizer", 'group["weight_decay"]', "0.0", "weight_decay changes nothing"),
    ("optimizer", 'group["weight_decay"]', "0.1", "without gradient and decay a parameter moves"),
    ("optimizer", "_Signs(groups, {", "_Signs(groups[:1], {", "each given parameter once"),
    ("optimizer", '-group["lr"]', "-0.01", "does not follow the schedule"),
    ("optimizer", '-group["lr"]', 'group["lr"]', "do not lower it"),
    ("optimizer", "p.grad.sign()", "(p.grad + torch.randn(p.shape)).sign()", "global generator"),
    ("optimizer", "p.grad.sign()", "self.__dict__.setdefault('first', p.grad.sign().mean())", "stopped and resumed"),
    ("schedule", "1 - abs", "2 - abs", "not a float in"),
    ("schedule", "** self.power", "* math.nan", "NameError"),
    ("schedule", "** self.power", "* 0", "the rate is 0 throughout"),
    ("schedule", "** self.power", "> 0.5", "not a float in"),
    ("schedule", "power: float = 1.0", "power: float", "has no default"),
    ("transform", "(n, 1)", "(n,)", "no int64 array"),
    ("transform", "return torch.where", "return images.float() + torch.where", "of torch.float32"),
    ("transform", "255 - images, images)", "255 - images, images.sub_(1))", "changes the given images"),
    ("transform", "255 - images, images)", "images, images.flip(0))", "other images of its batch"),
    ("transform", "draws[:, :, None, None] == 1", "torch.rand(len(images), 1, 1, 1) < 0.5", "numbers of its own"),
    ("transform", "'''Inverts images of which the drawn number is 1.'''", "", "no docstring"),
]


@pytest.mark.parametrize("case", range(len(BROKEN)), ids=[f"{b[0]} {b[3]}" for b in BROKEN])
def test_a_broken_part_is_found_out_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: int) -> None:
    kind, old, new, said = BROKEN[case]
    source = OUTSIDE[kind].replace(old, new)
    assert source != OUTSIDE[kind]
    found = CHECKS[kind](outside(tmp_path, monkeypatch, kind, source, f"broken{case}"))
    assert any(said in line for line in found), found
    assert all("\n" not in line for line in found)


# --- validation -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [10, 57, 150])
def test_validation_images_are_class_balanced_and_the_same_for_all(small: data.Dataset, number: int) -> None:
    out = held_out(small.train.labels, number)
    counts = np.bincount(small.train.labels[out], minlength=10)
    assert out.sum() == number
    assert counts.max() - counts.min() <= 1
    assert np.array_equal(out, held_out(small.train.labels, number))
    more = held_out(small.train.labels, number + 10)
    assert (more >= out).all(), "a larger number holds out the same images and more"


def test_held_out_images_are_in_no_batch(small: data.Dataset) -> None:
    trained, held = parted(small.train, 50)
    assert (len(trained), len(held)) == (150, 50)
    seen = set()
    stream = batches(trained, 50, none.Transform(), 0, Spent(), "cpu")
    for _ in range(9):
        images, _ = next(stream)
        seen |= {np.rint(i.permute(1, 2, 0).numpy() * 255).astype(np.uint8).tobytes() for i in images}
    assert seen == {i.tobytes() for i in trained.images}
    assert not seen & {i.tobytes() for i in held.images}


def test_a_training_with_validation_images_trains_on_the_others(small: data.Dataset) -> None:
    trained, _ = parted(small.train, 50)
    a, b = network_for(small), network_for(small)
    one = train(a, small.train, Budget(images=300), Recipe(batch=50, validation=50), 0)
    other = train(b, trained, Budget(images=300), Recipe(batch=50), 0)
    assert networks.weights_hash(a) == networks.weights_hash(b)
    assert one.data_order.hexdigest() == other.data_order.hexdigest()
    assert "validation" not in one.forward, "held out, and not looked at"


# --- selection --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stages", [1, 2, 3])
@pytest.mark.parametrize("steps", [3, 20, 41, 100, 1234])
def test_at_most_twenty_evenly_spaced_measurements_in_the_last_stage(steps: int, stages: int) -> None:
    pace = Pace(steps, None, stages)
    marks = [pace.mark(s, 0.0) for s in range(steps)]
    begin = steps * (stages - 1) // stages
    assert not any(marks[:begin])
    assert marks[-1] == 20
    due = [s for s in range(steps) if marks[s] > (marks[s - 1] if s else 0)]
    gaps = np.diff([begin - 1, *due])
    assert len(due) == min(20, steps - begin)
    assert gaps.max() - gaps.min() <= 1


def test_the_best_weights_on_the_validation_images_are_selected(small: data.Dataset) -> None:
    """Rates so high that the last weights are seldom the best."""
    recipe = Recipe(batch=10, lr=0.5, warmup=0.0, schedule="constant", validation=50, selection="best")
    net = network_for(small, "full_precision")
    progress = []
    spent = train(net, small.train, Budget(images=400), recipe, 0, on_progress=lambda _, t: progress.append(t))
    measured = [(row["step"], row["validation_accuracy"]) for row in spent.log if "validation_accuracy" in row]
    assert [step for step, _ in measured] == list(range(2, 41, 2))
    best = max(accuracy for _, accuracy in measured)
    assert spent.selected == next(step for step, accuracy in measured if accuracy == best)
    assert spent.selected < 40, "else this test shows nothing"
    assert accuracy(net, parted(small.train, 50)[1], "cpu") == best
    assert spent.forward["validation"] == 20 * 50
    assert progress[-1] == (spent.selected - 0.5) / 40, "the method's schedule stands where the weights were taken"
    other = recipe.model_copy(update={"selection": "last"})
    whole = train(network_for(small, "full_precision"), small.train, Budget(images=400), other, 0)
    assert [row["loss"] for row in whole.log] == [row["loss"] for row in spent.log], "measuring changes no bit"
    short = network_for(small, "full_precision")
    train(short, small.train, Budget(images=10 * spent.selected), other, 0)
    assert same_bits(short, net), "under a constant rate these are the weights of a shorter training"


def test_a_selection_never_looks_at_test_images(small: data.Dataset) -> None:
    """`train` is given the training images alone; other test images change nothing."""
    recipe = Recipe(batch=50, validation=50, selection="best")
    grid = {
        "data": {"train": 200, "test": 50},
        "methods": ["bnn"],
        "budget": {"images": 200},
        "recipe": recipe.model_dump(),
    }
    (planned,) = planning.plan(make_grid(grid), small)
    assert planned.recipe == recipe
    net = network_for(small)
    looked = []
    net.register_forward_pre_hook(lambda module, given: looked.append((module.training, given[0].detach().clone())))
    train(net, small.train, Budget(images=200), recipe, 0)
    test = {i.tobytes() for i in small.test.images}
    held = {i.tobytes() for i in parted(small.train, 50)[1].images}
    for training, batch in looked:
        pixels = {np.rint(i.permute(1, 2, 0).numpy() * 255).astype(np.uint8).tobytes() for i in batch}
        assert not pixels & test
        assert training or pixels <= held | {bytes(32 * 32 * 3)}
    assert len([1 for training, _ in looked if not training]) == 4


def test_the_weights_of_an_earlier_stage_are_not_selected(small: data.Dataset) -> None:
    recipe = Recipe(batch=50, validation=50, selection="best")
    spent = train(network_for(small), small.train, Budget(images=600), recipe, 0, stages=2)
    assert {row["stage"] for row in spent.log if "validation_accuracy" in row} == {2}
    assert spent.selected > 6
