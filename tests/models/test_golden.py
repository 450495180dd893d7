"""Known answers: two steps of every method and regularizer, against a table that holds what they gave before.

`golden/trainings.json` holds, by the text of the method: `values` of the training in float64, the same on every machine to
1e-6, and `bits`, the hash of the state after the training in float32, by torch version and instruction set. A number that
changes says that the method is another one: CHANGELOG says why, and `python tests/models/make_golden.py` writes the table.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lcrbench import registry
from lcrbench.models import network as networks
from lcrbench.models.api import observe
from lcrbench.models.binary import binary_layers

TABLE = Path(__file__).with_name("golden") / "trainings.json"
METHODS = [*registry.files("method"), *(f"irnet+{name}" for name in registry.files("regularizer"))]
ANEW = "`python tests/models/make_golden.py` writes the table anew"


def key() -> str:
    """Return what the bits depend on beside the code."""
    return f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}"


def golden() -> dict[str, Any]:
    return json.loads(TABLE.read_text()) if TABLE.exists() else {}


def make(text: str, seed: int, dtype: torch.dtype) -> networks.Network:
    """Return a ResNet-20 with weights from numpy, because torch's normal draws differ by instruction set.

    What rounding alone would decide is left out: a max-pool of whole-numbered sums, and batch norms at bias 0, where a sum
    that is its channel's mean has no sign.
    """
    net = networks.build(
        networks.choose(text), "resnet20", 10, 8, [0.3] * 3, [0.4] * 3, lambda name: torch.Generator().manual_seed(0)
    ).to(dtype)
    draws = np.random.default_rng(seed)
    with torch.no_grad():
        for weight in networks.latent_weights(net).values():
            weight.copy_(torch.from_numpy(draws.standard_normal(weight.shape) / len(weight[0].flatten()) ** 0.5))
        for norm in (m for m in net.modules() if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d))):
            norm.bias.copy_(torch.from_numpy(0.1 * draws.standard_normal(norm.bias.shape)))
    for layer in binary_layers(net).values():
        layer.binarizer.start(layer.weight)
    return net


def trained(text: str, dtype: torch.dtype) -> tuple[nn.Module, list[float]]:
    """Return the network after two steps, the second one in the last stage, and the loss of both."""
    choice, net = networks.choose(text), make(text, 0, dtype)
    method = choice.method
    terms = []
    for regularizer in choice.regularizers.values():
        teacher = make(regularizer.teacher, 3, dtype) if regularizer.teacher else None
        if teacher is not None:
            regularizer.start(net, teacher)
        terms.append(regularizer.attach(net, teacher))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-4)
    images = torch.from_numpy(np.random.default_rng(1).random((8, 3, 8, 8))).to(dtype)
    losses = []
    for k, t in enumerate((0.25, 0.75)):
        if method.stages or not k:
            method.on_stage(net, min(k, max(0, len(method.stages) - 1)))
        method.on_progress(net, t)
        context = observe(net, terms, images, torch.arange(8), measure=True)
        loss = F.cross_entropy(context.logits, context.labels) * (1 - sum(term.replaces for term in terms))
        for term in terms:
            if (extra := term.loss(context)) is not None:
                loss = loss + extra
        optimizer.zero_grad()
        loss.backward()
        method.on_gradient(net)
        optimizer.step()
        losses.append(float(loss.detach()))
    return net, losses


def values(text: str) -> dict[str, float]:
    """Return the losses and the lengths of weights and other parameters of a training in float64."""
    net, losses = trained(text, torch.float64)
    latent = networks.latent_weights(net)
    parts: dict[str, list[torch.Tensor]] = {"weights": [], "others": []}
    for name, p in net.named_parameters():
        parts["weights" if name in latent else "others"].append(p.detach().flatten())
    # Not the plain length, which the initial weights dominate: each number counts by its place.
    found = {f"loss.{k}": loss for k, loss in enumerate(losses, start=1)}
    for what, pieces in parts.items():
        flat = torch.cat(pieces)
        found[what] = float(flat.norm())
        found[f"{what} by place"] = float(flat @ torch.cos(torch.arange(len(flat), dtype=torch.float64)))
    return found


def bits(text: str) -> str:
    """Return the hash of the state after a training in float32."""
    net, _ = trained(text, torch.float32)
    digest = hashlib.sha256()
    for name, tensor in net.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def close(a: dict[str, float], b: dict[str, float]) -> bool:
    """Tell whether two trainings in float64 are the same."""
    return a == pytest.approx(b, rel=1e-6, abs=1e-9)


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("text", METHODS)
def test_two_steps_give_the_known_values(text: str) -> None:
    known = golden().get(text)
    assert known is not None, f"the table has no row of {text}: {ANEW}"
    assert values(text) == pytest.approx(known["values"], rel=1e-6, abs=1e-9), f"{text} is another method now: {ANEW}"


def test_two_steps_give_the_known_bits() -> None:
    known = {text: row["bits"][key()] for text, row in golden().items() if key() in row["bits"] and text in METHODS}
    if not known:
        pytest.skip(f"the table has no bits of {key()}")
    assert {text: bits(text) for text in known} == known, f"other bits than before: {ANEW}"


def test_the_table_has_no_row_of_what_is_gone() -> None:
    assert set(golden()) == set(METHODS), ANEW


def test_a_small_change_of_a_method_is_seen() -> None:
    """Its gradient by a thousandth, or a default option."""
    for other in ("irnet:t_max=10.01", "ovsw:decay=0.001", "recu:tau_min=0.851"):
        assert not close(values(other), values(other.partition(":")[0])), other
