"""The training loop: equal conditions for all methods, bits that repeat, and failures that are told."""

from __future__ import annotations

import math
from itertools import islice, pairwise
from typing import Any

import pytest
import torch

from lcrbench import registry
from lcrbench.bench import data
from lcrbench.bench.records.budget import Budget, Recipe
from lcrbench.bench.records.budget import steps as steps_of
from lcrbench.bench.training.loop import Diverged, train
from lcrbench.bench.training.parts import learning_rate, make_optimizer
from lcrbench.bench.training.schedules import cosine
from lcrbench.bench.training.spent import Spent
from lcrbench.bench.training.stream import batches
from lcrbench.bench.training.transforms import crop_flip
from lcrbench.models import network as networks
from lcrbench.models.binary import binary_layers

SMALL = Budget(images=600)
RECIPE = Recipe(batch=50, lr=0.05)


@pytest.fixture(scope="module")
def fashion() -> data.Dataset:
    return data.load()


def run(
    fashion: data.Dataset, method: str, budget: Budget = SMALL, recipe: Recipe = RECIPE, seed: int = 0
) -> tuple[networks.Network, Spent]:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    choice = networks.choose(method)

    def generator(name: str) -> torch.Generator:
        return torch.Generator().manual_seed(seed * 7919 + sum(map(ord, name)))

    net = networks.build(choice, "vgg_tiny", 10, 32, fashion.mean, fashion.std, generator)
    net = net.to(memory_format=torch.channels_last)
    spent = train(
        net,
        fashion.train,
        budget,
        recipe,
        seed,
        on_progress=choice.method.on_progress,
        regularizers=choice.regularizers,
    )
    return net, spent


def same_bits(a: networks.Network, b: networks.Network) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_a_methods_hook_lies_between_the_backward_pass_and_the_step(fashion: data.Dataset) -> None:
    """Called once a step, with this step's gradients; what it makes of them is what the optimizer takes."""
    choice = networks.choose("bnn")
    net = networks.build(
        choice, "vgg_tiny", 10, 32, fashion.mean, fashion.std, lambda _: torch.Generator().manual_seed(0)
    )
    weight = net.body.blocks[0][0].weight
    before, seen = weight.detach().clone(), []

    def on_gradient(given: torch.nn.Module) -> None:
        assert given is net
        seen.append((bool(weight.grad.any()), torch.equal(weight.detach(), before)))
        weight.grad.zero_()

    recipe = RECIPE.model_copy(update={"weight_decay": 0.0})
    spent = train(net, fashion.train, Budget(images=150), recipe, 0, on_gradient=on_gradient)
    assert seen == [(True, True)] * spent.steps == [(True, True)] * 3
    assert torch.equal(weight, before)


@pytest.mark.parametrize("base", ["irnet", "bnn", "recu"])
def test_lcr_with_weight_zero_is_its_base_to_the_bit(fashion: data.Dataset, base: str) -> None:
    plain, first = run(fashion, base)
    zero, second = run(fashion, f"{base}+lcr:weight=0")
    active, _ = run(fashion, f"{base}+lcr:weight=0.1")
    assert same_bits(plain, zero)
    assert not same_bits(plain, active)
    assert "lcr.loss" in second.log[0]
    assert [r["loss"] for r in first.log] == [r["loss"] for r in second.log]


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(fashion: data.Dataset) -> None:
    a, spent = run(fashion, "irnet+lcr")
    b, _ = run(fashion, "irnet+lcr")
    c, other = run(fashion, "irnet+lcr", seed=1)
    assert same_bits(a, b)
    assert not same_bits(a, c)
    assert spent.data_order.hexdigest() != other.data_order.hexdigest()


def test_every_method_gets_the_same_data(fashion: data.Dataset) -> None:
    found = [run(fashion, m)[1] for m in ("full_precision", "bnn", "irnet+lcr")]
    assert len({s.data_order.hexdigest() for s in found}) == 1
    assert len({s.augmentation.hexdigest() for s in found}) == 1
    assert {(s.images, s.steps) for s in found} == {(600, 12)}


def test_the_order_covers_each_epoch_and_ignores_the_batch(fashion: data.Dataset) -> None:
    few = data.take(fashion, 100, 10, seed=0).train
    streams = []
    for batch in (20, 50):
        found = list(islice(batches(few, batch, crop_flip.Transform(), 3, Spent(), "cpu"), 200 // batch))
        assert all(x.shape == (batch, 3, 32, 32) for x, _ in found)
        streams.append(torch.cat([x for x, _ in found]))
        labels = torch.cat([y for _, y in found])
        for epoch in range(2):
            assert sorted(labels[epoch * 100 : epoch * 100 + 100].tolist()) == sorted(few.labels.tolist())
    assert torch.equal(streams[0], streams[1])


def test_crop_flip_by_hand() -> None:
    image = torch.arange(1, 1 + 6 * 6 * 3, dtype=torch.uint8).view(1, 6, 6, 3)
    crop = crop_flip.Transform().apply
    same = crop(image, torch.tensor([[4, 4, 0]]), 6)
    assert torch.equal(same, image)
    assert torch.equal(crop(image, torch.tensor([[4, 4, 1]]), 6), image.flip(2))
    moved = crop(image, torch.tensor([[0, 8, 0]]), 6)
    assert torch.equal(moved[:, 4:, :2], image[:, :2, 4:])
    assert not moved[:, :4].any()
    assert not moved[:, :, 2:].any()


def test_schedule() -> None:
    recipe = Recipe(batch=10, lr=0.2, warmup=0.1)
    assert steps_of(Budget(images=1000), recipe, 7) == 100
    rates = [learning_rate(recipe, cosine.Schedule(), (s + 0.5) / 100) for s in range(100)]
    assert rates[:10] == pytest.approx([0.02 * (i + 0.5) for i in range(10)])
    assert learning_rate(recipe, cosine.Schedule(), 0.1) == 0.2
    assert learning_rate(recipe, cosine.Schedule(), 0.55) == pytest.approx(0.1)
    assert learning_rate(recipe, cosine.Schedule(), 1.0) == 0
    assert 0 < rates[-1] < 1e-3
    assert all(a >= b for a, b in pairwise(rates[10:]))


REGISTERED = [*registry.names("method"), *(f"irnet+{r}" for r in registry.names("regularizer")), "adabin+spectral_norm"]


@pytest.mark.parametrize(
    ("method", "backbone"), [*((m, "vgg_tiny") for m in REGISTERED), ("rbnn", "resnet20:shortcut=binary")]
)
def test_latent_weights_decay_and_what_a_method_declares(method: str, backbone: str) -> None:
    """Scales, thresholds, biases and norms take the same step with and without decay; under "all" nothing does."""
    choice = networks.choose(method)
    net = networks.build(choice, backbone, 10, 16, [0.5] * 3, [0.5] * 3, lambda name: torch.Generator().manual_seed(0))
    convolutions = [m for m in net.modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.Linear))]
    latent = {id(m.weight) for m in convolutions}
    must = {k for k, _ in net.named_parameters() if k.endswith("theta")} if method == "rbnn" else set()
    assert bool(must) == (method == "rbnn")
    start = {k: p.detach().clone() + 1.0 for k, p in net.named_parameters()}
    for decay in ("weights", "all"):
        optimizer = make_optimizer(net, RECIPE.model_copy(update={"decay": decay, "weight_decay": 0.5}))
        held = [p for g in optimizer.param_groups for p in g["params"]]
        assert sorted(map(id, held)) == sorted(map(id, net.parameters())), "each parameter once"
        for k, p in net.named_parameters():
            p.data.copy_(start[k])
            p.grad = torch.zeros_like(p)
        optimizer.step()
        for k, p in net.named_parameters():
            moved = bool((p.detach() != start[k])[start[k] != 0].all())
            assert moved == (decay == "all" or id(p) in latent or k in must), f"{k} under decay={decay}"


@pytest.mark.parametrize(
    ("method", "recipe", "leaves"),
    [
        ("rbnn", {}, True),
        ("rbnn", {"decay": "all"}, True),
        ("rbnn", {"weight_decay": 0.0}, False),
        ("rbnn:gradient=straight", {}, False),
        ("rbnn:gradient=straight", {"decay": "all"}, True),
    ],
)
def test_rbnns_theta_leaves_a_right_angle_by_weight_decay_alone(
    fashion: data.Dataset, method: str, recipe: dict[str, Any], leaves: bool
) -> None:
    net, _ = run(fashion, method, recipe=RECIPE.model_copy(update={"weight_decay": 0.01} | recipe))
    theta = torch.cat([layer.binarizer.theta.detach() for layer in binary_layers(net).values()])
    assert bool((theta < math.pi / 2 - 1e-5).all()) == leaves
    assert leaves or bool((theta == torch.tensor(math.pi / 2)).all())


@pytest.mark.parametrize(("method", "flips"), [("rbnn", False), ("rbnn:gradient=straight", True)])
def test_a_short_training_by_rbnns_released_gradient_flips_no_latent_sign(
    fashion: data.Dataset, method: str, flips: bool
) -> None:
    def signs(net: networks.Network) -> torch.Tensor:
        weights = [layer.weight.detach() for layer in binary_layers(net).values()]
        return torch.cat([(w > w.mean((1, 2, 3), keepdim=True)).flatten() for w in weights])

    start, _ = run(fashion, method, recipe=RECIPE.model_copy(update={"lr": 1e-30}))
    net, _ = run(fashion, method)
    share = float((signs(net) != signs(start)).double().mean())
    assert share > 0.01 if flips else share < 1e-4


def test_divergence_is_told(fashion: data.Dataset) -> None:
    with pytest.raises(Diverged, match="learning rate"):
        run(fashion, "full_precision", Budget(images=5000), Recipe(batch=50, lr=1e18, warmup=0))


def test_a_nan_in_a_batch_is_told(fashion: data.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    real = crop_flip.Transform.apply
    calls = []

    def poisoned(*given: Any) -> torch.Tensor:
        calls.append(1)
        out = real(*given).float()
        return out * math.nan if len(calls) == 4 else out

    monkeypatch.setattr(crop_flip.Transform, "apply", poisoned)
    with pytest.raises(Diverged, match="not finite at step 3") as error:
        run(fashion, "irnet")
    assert error.value.step == 3


def test_the_log(fashion: data.Dataset) -> None:
    _, spent = run(fashion, "irnet+lcr")
    assert spent.log[-1]["step"] == 12
    assert spent.log[-1]["images"] == 600
    for row in spent.log:
        assert row["loss"] > row["cross_entropy"]
        assert 0 <= row["accuracy"] <= 1
        assert row["lcr.weight"] == 0.03
        assert all(math.isfinite(v) for v in row.values())
