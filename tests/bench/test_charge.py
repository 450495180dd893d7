"""What a training is charged, against torch's own counter around the whole of it, and against closed forms."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from lcrbench import registry
from lcrbench.bench.data.arrays import Split
from lcrbench.bench.records.budget import Budget, Recipe
from lcrbench.bench.training import teacher as teachers_of
from lcrbench.bench.training.charge import counted, prices
from lcrbench.bench.training.loop import train
from lcrbench.bench.training.pace import Pace
from lcrbench.bench.training.prices import Prices, unpriced
from lcrbench.bench.training.spent import Spent
from lcrbench.models import network as networks
from lcrbench.models.regularizers import jacobian_penalty
from tests.bench import helpers
from tests.bench.test_budget import run

SIZE, BATCH, CLASSES = 16, 10, 10
METHODS = registry.names("method")
TAUGHT = [name for name in registry.names("regularizer") if registry.load("regularizer", name).Regularizer.teacher]
OTHERS = [name for name in registry.names("regularizer") if name not in TAUGHT]


def build(text: str, backbone: str = "vgg_tiny") -> networks.Network:
    def generator(name: str) -> torch.Generator:
        return torch.Generator().manual_seed(sum(map(ord, name)))

    return networks.build(networks.choose(text), backbone, CLASSES, SIZE, [0.3] * 3, [0.4] * 3, generator)


def images(n: int) -> Split:
    drawn = np.random.default_rng(0).integers(0, 256, (n, SIZE, SIZE, 3), dtype=np.uint8)
    return Split(drawn, np.arange(n) % CLASSES)


def operations(work: Callable[[], Any]) -> int:
    """Return what torch's own counter, with its own formulas alone, counts of some work."""
    counter = FlopCounterMode(display=False)
    # Its hooks on modules forbid a gradient with respect to the images. The stand-in counts all for the whole.
    whole: Any = nullcontext()
    whole.parents, whole.__exit__ = ("Global",), lambda *a: None
    counter.mod_tracker = whole
    with counter:
        work()
    return int(counter.get_total_flops())


def plain_image(backbone: str) -> float:
    """Return the operations of the plain network's step for one image, counted at the true batch."""
    net, x = build("full_precision", backbone).train(), torch.rand(BATCH, 3, SIZE, SIZE)
    return operations(lambda: F.cross_entropy(net(x), torch.zeros(BATCH, dtype=torch.int64)).backward()) / BATCH


def charged_and_counted(text: str, backbone: str = "vgg_tiny", **recipe: Any) -> tuple[float, float, Spent]:
    """Train a few steps; return what the ledger is charged and what torch counts, in images, and what was spent."""
    choice, net = networks.choose(text), build(text, backbone)
    made = {name: build(name, backbone) for name in networks.teachers(choice)}
    how = Recipe(batch=BATCH, **({"augmentation": "none"} | recipe))
    price = prices(choice.label, backbone, CLASSES, SIZE, BATCH, how.validation)
    found: list[Spent] = []

    def work() -> None:
        found.append(
            train(
                net,
                images(60),
                Budget(images=120),
                how,
                0,
                on_progress=choice.method.on_progress,
                stages=max(1, len(choice.method.stages)),
                on_stage=choice.method.on_stage,
                regularizers=teachers_of.guide(choice.regularizers, made),
                prices=price,
            )
        )

    by_torch = operations(work) / plain_image(backbone)
    return found[0].compute, by_torch, found[0]


# RBNN's rotations happen between the steps: see charge.py.
ALL = [
    *("rbnn:rotations=0" if name == "rbnn" else name for name in METHODS),
    "reactnet:two_step=true",
    *(f"irnet+{name}" for name in [*OTHERS, *TAUGHT]),
    *(f"irnet+{name}:weight=0" for name in [*OTHERS, *TAUGHT]),
    "adabin+spectral_norm+parseval:of=latent+lcr:normalize=rms",
    "bnn+lcr_fixed+distill:weight=0.5+jacobian_penalty",
]


@pytest.mark.parametrize("text", ALL)
def test_a_training_is_charged_what_torch_counts(text: str) -> None:
    charged, counted_, spent = charged_and_counted(text)
    assert charged == pytest.approx(counted_, rel=0.01)
    assert spent.images == 120


@pytest.mark.parametrize("text", ["adabin", "irnet+lcr", "bnn+jacobian_penalty"])
def test_on_residual_networks_too(text: str) -> None:
    charged, counted_, _ = charged_and_counted(text, "resnet20:shortcut=binary")
    assert charged == pytest.approx(counted_, rel=0.01)


def test_a_cache_is_charged_for_the_images_it_asks_for() -> None:
    """Six steps fill it, and six find all there, without augmentation."""
    charged, counted_, spent = charged_and_counted("irnet+lcr_fixed:cache=true")
    assert spent.forward["teacher"] == 60
    assert charged == pytest.approx(counted_, rel=0.01)
    without, _, _ = charged_and_counted("irnet+lcr_fixed")
    assert without - charged == pytest.approx(60 / 3, rel=0.15), "60 forward passes fewer, with their matrices"


@pytest.mark.parametrize("text", ["irnet", "irnet+lcr:weight=0", "reactnet:two_step=true"])
def test_validation_passes_are_charged(text: str) -> None:
    charged, counted_, spent = charged_and_counted(text, validation=20, selection="best")
    assert charged == pytest.approx(counted_, rel=0.01)
    plain, _, _ = charged_and_counted(text, validation=20)
    measured = spent.forward["validation"] / 20
    # Blocks of 100 images, filled up: each costs a third of a step, and a little more for the first layer.
    assert charged - plain == pytest.approx(measured * 100 / 3, rel=0.05)


def test_terms_that_are_off_or_measure_cost_what_they_compute() -> None:
    def price(text: str) -> tuple[float, float]:
        ((step, logged),) = (made := prices(networks.choose(text).label, "vgg_tiny", CLASSES, 32, 100)).steps
        return step.full / made.plain, logged.full / made.plain

    assert price("irnet") == (1, 1)
    for name in [*OTHERS, *TAUGHT]:
        step, logged = price(f"irnet+{name}:weight=0")
        assert step == 1, "nothing is computed"
        assert (logged == 1) == (name in [*TAUGHT, "spectral_norm", "parseval"]) or logged < 1.4, name
    # By hand: two backward passes that together cost 3.1 forward ones, and not 4; 4.9 % of a step on vgg_tiny.
    assert price("irnet+jacobian_penalty")[0] == pytest.approx(1 + 3.1 / 3, abs=0.02)
    assert price("irnet+lcr")[0] == pytest.approx(1.049, abs=0.002)


# --- the counter ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backbone", ["vgg_tiny", "resnet20", "resnet18:shortcut=binary", "vgg_small"])
def test_the_plain_step_by_hand(backbone: str) -> None:
    """A forward and two backward products for each layer, but none by the images: 3 passes less one of the first layer."""
    net = build("full_precision", backbone)
    first = next(m for m in net.modules() if isinstance(m, nn.Conv2d))
    assert first.stride == (1, 1)
    macs = 3 * networks.cost(net, SIZE).macs - first.weight.numel() * SIZE * SIZE
    assert prices("full_precision", backbone, CLASSES, SIZE, BATCH).plain == 2 * BATCH * macs


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("stride", [1, 2])
def test_groups_and_strides_of_convolutions(groups: int, stride: int) -> None:
    x, layer = torch.rand(3, 8, 10, 10, requires_grad=True), nn.Conv2d(8, 12, 3, stride, 1, groups=groups)
    positions = (10 // stride) ** 2
    assert counted(lambda: layer(x).sum().backward()) == 3 * 2 * 3 * positions * 12 * (8 // groups) * 9


def test_transposed_convolutions() -> None:
    x, layer = torch.rand(3, 8, 5, 5, requires_grad=True), nn.ConvTranspose2d(8, 12, 3, 2)
    assert counted(lambda: layer(x).sum().backward()) == 3 * 2 * 3 * 25 * 8 * 12 * 9


class Twice(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x, w)
        return F.conv2d(x, w) + F.conv2d(x, w)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x, w = ctx.saved_tensors
        return 2 * torch.nn.grad.conv2d_input(x.shape, w, grad), w


def test_custom_functions_vectors_and_batches_of_matrices() -> None:
    x, w = torch.rand(2, 3, 6, 6, requires_grad=True), torch.rand(4, 3, 3, 3, requires_grad=True)
    assert counted(lambda: Twice.apply(x, w).sum().backward()) == 3 * 2 * 2 * 16 * 4 * 27
    a, b, v = torch.rand(5, 7), torch.rand(3, 5, 7), torch.rand(7)
    assert counted(lambda: a @ v) == 2 * 35
    assert counted(lambda: v @ v) == 2 * 7
    assert counted(lambda: torch.addmv(torch.zeros(5), a, v)) == 2 * 35
    assert counted(lambda: torch.einsum("npq,nrq->npr", b, b)) == 2 * 3 * 25 * 7
    assert counted(lambda: (a * a).exp().sum()) == 0, "elementwise work is not counted"


class Pairs(jacobian_penalty.Term):
    """Stands in for a term on all pairs of a batch's images, whose cost grows with the square of the batch."""

    def loss(self, context: Any) -> Any:
        return (context.logits @ context.logits.T).mean()


def test_a_count_goes_on_to_any_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jacobian_penalty, "Term", Pairs)
    prices.cache_clear()
    try:
        for batch in (2, 3, 5, 33):
            net, x = build("irnet").train(), torch.rand(batch, 3, SIZE, SIZE, requires_grad=True)

            def step(net: Any = net, x: Any = x) -> None:
                logits = net(x)
                ((logits @ logits.T).mean() + logits.mean()).backward()

            ((price, _),) = prices("irnet+jacobian_penalty", "vgg_tiny", CLASSES, SIZE, batch).steps
            assert price.full == counted(step)
    finally:
        prices.cache_clear()


def test_counting_is_done_once_and_draws_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from lcrbench.bench.training import charge

    before = torch.get_rng_state()
    first = prices("irnet+lcr", "vgg_tiny", CLASSES, SIZE, 40)
    assert torch.equal(before, torch.get_rng_state())
    monkeypatch.setattr(charge, "counted", None)
    assert prices("irnet+lcr", "vgg_tiny", CLASSES, SIZE, 40) is first


# --- the prices -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 2, 3, 19, 20, 21, 99, 100, 101, 199, 200, 201, 1234])
@pytest.mark.parametrize("stages", [1, 2, 3])
@pytest.mark.parametrize("selects", [False, True])
def test_steps_that_are_logged_are_counted_as_the_loop_logs_them(steps: int, stages: int, selects: bool) -> None:
    if steps < stages:
        return
    pace, marked, measured = Pace(steps, None, stages), 0, 0
    expected = [[0, 0] for _ in range(stages)]
    for step in range(steps):
        stage, _ = pace.place(step, 0.0)
        due = pace.mark(step, 0.0) > marked
        marked, measured = max(marked, pace.mark(step, 0.0)), measured + due
        expected[stage][0] += 1
        expected[stage][1] += pace.logs(step) or (selects and due)
    assert pace.counted(selects) == [tuple(e) for e in expected]
    assert pace.measured() == measured


def test_a_whole_training_costs_the_sum_of_its_steps() -> None:
    for text, validation in (("irnet+lcr:weight=0", 0), ("irnet+lcr:weight=0", 20), ("reactnet:two_step=true", 20)):
        recipe = {"validation": validation, "selection": "best"} if validation else {}
        _, _, spent = charged_and_counted(text, **recipe)
        price = prices(networks.choose(text).label, "vgg_tiny", CLASSES, SIZE, BATCH, validation)
        assert float(price.training(12, bool(validation))) == pytest.approx(spent.compute, rel=1e-9)


def test_without_prices_a_step_costs_its_images() -> None:
    assert isinstance(made := unpriced(50, 2), Prices)
    assert (made.step(1, True, 0.0), made.validated(), made.training(3, True)) == (50, 0, 150)


# --- runs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TAUGHT)
def test_weight_zero_is_the_method_alone_under_equal_compute(tmp_path: Path, name: str) -> None:
    base, zero = run(tmp_path, "irnet"), run(tmp_path, f"irnet+{name}:weight=0")
    for field in ("images", "steps", "compute", "teachers", "budget_class", "forward", "backward"):
        assert getattr(zero.ledger, field) == getattr(base.ledger, field), field
    hashes = [helpers.Store(tmp_path).trainings.record(r.spec.training.train_id).weights_sha256 for r in (base, zero)]
    assert hashes[0] == hashes[1]
    assert not list((tmp_path / ".teachers").glob("*"))


def test_a_selection_and_a_teachers_too_come_out_of_the_budget(tmp_path: Path) -> None:
    given = {"validation": 50, "selection": "best"}
    for method, blocks in (("irnet", 1), ("irnet+distill", 2)):
        plain, selected = run(tmp_path, method).ledger, run(tmp_path, method, **given).ledger
        assert selected.compute <= 1200
        assert selected.images < plain.images
        measured = selected.forward["validation"] / 50
        steps = (selected.images * (plain.compute / plain.images)) + measured * 100 / 3
        assert measured == blocks * min(20, selected.steps)
        assert selected.compute == pytest.approx(steps, rel=0.03)


def test_the_ledger_shows_compute_under_every_unit(tmp_path: Path) -> None:
    ledger = run(tmp_path, "irnet+lcr_fixed", unit="images", images=600).ledger
    own = prices("irnet+lcr_fixed", "vgg_tiny", 10, 16, 50).training(12, False)
    assert ledger.images == 600
    assert ledger.compute == pytest.approx(float(own) + 600, rel=1e-6), "the teacher's training is a plain one"
