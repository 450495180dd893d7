"""Bop against its paper's algorithm, and the methods that it can train."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lcrbench import registry
from lcrbench.bench import data, planning
from lcrbench.bench.records.budget import Budget, Recipe
from lcrbench.bench.records.grid import make_grid
from lcrbench.bench.training import fits, parts
from lcrbench.bench.training.loop import train
from lcrbench.errors import UserError
from lcrbench.models import network as networks
from lcrbench.models.binary import binary_layers, deployed_weight


@pytest.fixture(scope="module")
def small() -> data.Dataset:
    return data.take(data.load(size=16), 200, 50, seed=0)


def network_for(small: data.Dataset, method: str) -> networks.Network:
    torch.set_num_threads(1)
    choice = networks.choose(method)
    return networks.build(
        choice, "vgg_tiny", 10, 16, small.mean, small.std, lambda n: torch.Generator().manual_seed(len(n))
    )


@pytest.mark.parametrize("gamma", [0.5, 0.01])
@pytest.mark.parametrize("threshold", [0.0, 0.02])
@pytest.mark.parametrize("follow", [True, False])
def test_steps_are_those_of_the_papers_algorithm(gamma: float, threshold: float, follow: bool) -> None:
    """Algorithm 1 of arXiv 1906.02107, weight by weight."""
    text = f"bop:gamma={gamma!r},threshold={threshold!r},follow={str(follow).lower()}"
    recipe = Recipe(optimizer=text, lr=0.1)
    random = np.random.default_rng(0)
    latent = random.normal(size=(5, 7)).astype(np.float32)
    weight, real = nn.Parameter(torch.tensor(latent)), nn.Parameter(torch.ones(3))
    groups: list[Any] = [
        {"params": [], "weight_decay": 0.1},
        {"params": [real], "weight_decay": 0.0},
        {"params": [weight], "weight_decay": 0.0, "flips": True},
    ]
    optimizer = parts.load(recipe).optimizer.make(groups, recipe)
    w, m, flips = np.where(latent >= 0, 1.0, -1.0), np.zeros((5, 7)), 0
    assert np.array_equal(weight.detach().numpy(), w)
    alone = torch.optim.Adam([other := nn.Parameter(torch.ones(3))], lr=0.1, betas=(0.9, 0.999))
    for step in range(40):
        rate = 0.1 * (1 - step / 40)
        for group in (*optimizer.param_groups, *alone.param_groups):
            group["lr"] = rate
        g = random.normal(size=(5, 7)).astype(np.float32)
        weight.grad = torch.tensor(g)
        real.grad, other.grad = (torch.full((3,), float(g[0, 0])) for _ in range(2))
        optimizer.step()
        alone.step()
        share = gamma * rate / 0.1 if follow else gamma
        for i in np.ndindex(w.shape):
            m[i] = (1 - share) * m[i] + share * g[i]
            if abs(m[i]) > threshold and np.sign(m[i]) == np.sign(w[i]):
                w[i], flips = -w[i], flips + 1
        assert np.array_equal(weight.detach().numpy(), w)
    assert torch.equal(real, other), "the other parameters are the inner optimizer's"
    assert flips > 5
    assert flips < 40 * 35


def test_a_network_keeps_binary_weights_and_what_is_deployed_is_what_was_trained(small: data.Dataset) -> None:
    recipe = Recipe(batch=50, lr=0.01, optimizer="bop:gamma=0.01", weight_decay=0.1)
    net = network_for(small, "bnn")
    start = {name: layer.weight.detach().sign() for name, layer in binary_layers(net).items()}
    train(net, small.train, Budget(images=500), recipe, 0)
    flipped = 0
    for name, layer in binary_layers(net).items():
        assert set(layer.weight.detach().unique().tolist()) <= {-1.0, 1.0}
        assert torch.equal(deployed_weight(layer), layer.weight)
        flipped += int((layer.weight.detach() != start[name]).sum())
    assert flipped


TAKEN = {"bnn", "bi_real", "dorefa", "reactnet", "full_precision"}


@pytest.mark.parametrize("method", registry.names("method"))
def test_a_method_is_trained_by_bop_or_refused_in_one_line(small: data.Dataset, method: str) -> None:
    tables = {
        "data": {"size": 16, "train": 200, "test": 50},
        "methods": [method],
        "budget": {"images": 100},
        "recipe": {"batch": 50, "lr": 0.001, "optimizer": "bop"},
    }
    if method in TAKEN:
        planning.plan(make_grid(tables), small)
        train(network_for(small, method), small.train, Budget(images=100), Recipe(batch=50, optimizer="bop"), 0)
        return
    with pytest.raises(UserError, match=r"flips binary weights as they are|trains in stages") as error:
        planning.plan(make_grid(tables), small)
    assert "\n" not in str(error.value)
    assert f"'{method}'" in str(error.value)


@pytest.mark.parametrize(
    ("method", "recipe", "said"),
    [
        ("bnn+spectral_norm", {}, "scales or shifts them"),
        ("reactnet:two_step=true", {}, "trains in stages"),
        ("bnn", {"ema": 0.9}, "no latent weights"),
        ("bnn", {"optimizer": "bop:gamma=0.0"}, "gamma is in"),
        ("bnn", {"optimizer": "bop:inner=rmsprop"}, "inner is adam or sgd"),
    ],
)
def test_what_bop_does_not_fit_is_refused(method: str, recipe: dict[str, Any], said: str) -> None:
    made = Recipe(**({"optimizer": "bop"} | recipe))
    with pytest.raises(UserError, match=said):
        fits.check(made, networks.choose(method), "vgg_tiny", 10, 16)


@pytest.mark.parametrize("fault", ["scale", "slope", "sign", "offset"])
def test_each_thing_that_a_binarizer_must_not_do_is_found(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from lcrbench.models.methods import bnn

    real = bnn.Binarizer.forward

    def forward(self: Any, weight: torch.Tensor) -> Any:
        bits, _ = real(self, weight)
        if fault == "sign":
            bits = torch.where(weight == weight.mean(dim=(1, 2, 3), keepdim=True), 1.0, bits)
        if fault == "slope":
            bits = bits.detach() + 0.5 * (bits - bits.detach())
        return bits, torch.full((len(weight),), 2.0) if fault == "scale" else None

    monkeypatch.setattr(bnn.Binarizer, "forward", forward)
    if fault == "offset":
        monkeypatch.setattr(bnn.Binarizer, "offset", lambda self, weight: weight.mean(dim=(1, 2, 3)))
    with pytest.raises(UserError, match={"sign": "other signs", "slope": "gradient"}.get(fault, "scales or shifts")):
        fits.check(Recipe(optimizer="bop"), networks.choose("bnn"), "vgg_tiny", 10, 16)
