"""Steps that are captured once and replayed: the same bits as plain ones, or plain steps and the reason."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lcrbench import registry
from lcrbench.bench import device as devices
from lcrbench.bench.data.arrays import Split
from lcrbench.bench.records.budget import Budget, Recipe
from lcrbench.bench.together import ALONE
from lcrbench.bench.training import pace, teacher
from lcrbench.bench.training import steps as steps_module
from lcrbench.bench.training.loop import Stopped, train
from lcrbench.bench.training.shards import Shards
from lcrbench.bench.training.spent import Spent
from lcrbench.bench.training.state import State
from lcrbench.bench.training.steps import WARM, Numbers, Steps, _in_place
from lcrbench.models import network as networks
from lcrbench.models.api import Backbone
from lcrbench.models.estimators import ede, set_progress


@pytest.fixture(autouse=True)
def _few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let only some steps of so short a training be logged: those are plain."""
    monkeypatch.setattr(pace, "LOGGED_STEPS", 4)


on_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")


def images() -> Split:
    rng = np.random.default_rng(0)
    return Split(rng.integers(0, 256, (200, 32, 32, 3), dtype=np.uint8), np.arange(200) % 10)


def trained(
    text: str, device: str, capturable: bool | None = None, steps: int = 24, checkpoint: Any = None, **recipe: Any
) -> tuple[nn.Module, Spent]:
    """Train a small network of a method for some steps, of which the last one is logged."""
    choice = networks.choose(text)

    def built(of: networks.Choice) -> nn.Module:
        return networks.build(
            of, "resnet20", 10, 32, [0.5] * 3, [0.25] * 3, lambda name: torch.Generator().manual_seed(0)
        ).to(device, memory_format=torch.channels_last)

    network = built(choice)
    guides = {name: built(networks.choose(name)) for name in networks.teachers(choice)}
    if device != "cpu":
        devices.prepare(device)
    spent = train(
        network,
        images(),
        Budget(images=20 * steps),
        Recipe(batch=20, **recipe),
        0,
        on_progress=choice.method.on_progress,
        stages=max(1, len(choice.method.stages)),
        on_stage=choice.method.on_stage,
        on_gradient=choice.method.on_gradient,
        regularizers=teacher.guide(choice.regularizers, guides),
        device=device,
        capturable=choice.method.capturable if capturable is None else capturable,
        checkpoint=checkpoint,
    )
    return network, spent


@on_cuda
@pytest.mark.parametrize(
    "text",
    [
        *registry.names("method"),
        *(f"irnet+{name}" for name in registry.names("regularizer")),
        "irnet+lcr_fixed:cache=true",
        "bnn+lcr+spectral_norm",
    ],
)
def test_a_captured_training_has_the_bits_of_a_plain_one(text: str) -> None:
    network, spent = trained(text, "cuda")
    plain, other = trained(text, "cuda", False)
    if text in ("irnet+jacobian_penalty", "irnet+lcr_fixed:cache=true"):
        assert "does not declare" in spent.made
    else:
        assert spent.made == "captured"
    assert other.made.startswith("plain: ")
    for (name, a), b in zip(network.state_dict().items(), plain.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    assert spent.log == other.log


@on_cuda
@pytest.mark.parametrize("recipe", [{"optimizer": "adam"}, {"optimizer": "adamw"}, {"ema": 0.9}, {"precision": "bf16"}])
def test_with_every_recipe(recipe: dict[str, Any]) -> None:
    network, spent = trained("irnet+lcr", "cuda", **recipe)
    plain, _ = trained("irnet+lcr", "cuda", False, **recipe)
    assert spent.made == "captured"
    assert all(
        torch.equal(a, b) for a, b in zip(network.state_dict().values(), plain.state_dict().values(), strict=True)
    )


@on_cuda
@pytest.mark.parametrize("text", ["irnet+lcr", "rbnn", "bnn+spectral_norm"])
def test_a_training_that_goes_on_has_the_bits_of_one_that_was_not_stopped(text: str) -> None:
    """Wherever it stops, the first steps after it are plain ones, and others captured than before."""
    kept: dict[str, Any] = {}

    class At:
        def __init__(self, last: int | None) -> None:
            self.last, self.seen = last, 0

        def load(self) -> Any:
            return kept.get("saved")

        def save(self, tensors: dict[str, torch.Tensor], rest: dict[str, Any]) -> None:
            kept["saved"] = {k: v.detach().cpu().clone() for k, v in tensors.items()}, copy.deepcopy(rest)

        def due(self) -> bool:
            return False

        def stopping(self) -> bool:
            self.seen += 1
            return self.seen == self.last

    whole, _ = trained(text, "cuda")
    for last in (7, 6, None):
        try:
            parts, _ = trained(text, "cuda", checkpoint=At(last))
        except Stopped:
            continue
    for (name, a), b in zip(whole.state_dict().items(), parts.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


@on_cuda
@pytest.mark.parametrize(("inputs", "outputs", "size"), [(16, 16, 32), (64, 64, 32), (256, 256, 14), (512, 512, 7)])
@pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last])
def test_sums_of_signs_are_whole_numbers_there(inputs: int, outputs: int, size: int, form: torch.memory_format) -> None:
    devices.prepare("cuda")
    layer = networks.choose("bnn").method.conv(inputs, outputs, 3, 1, 1).to("cuda", memory_format=form)
    x = torch.randn(100, inputs, size, size, device="cuda").contiguous(memory_format=form)
    y = layer(x)
    assert torch.equal(y, y.round())
    assert torch.equal(y[:7], layer(x[:7]))
    assert not torch.backends.cudnn.allow_tf32


@on_cuda
def test_what_a_graph_cannot_follow_is_found_at_its_first_step() -> None:
    """A part that counts in Python would go on from the number of the capture."""
    count = iter(range(10**6))

    class Counting(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * (1 + next(count))

    network = nn.Sequential(Counting(), nn.Flatten(), nn.Linear(3 * 32 * 32, 10)).to("cuda")
    spent = train(network, images(), Budget(images=200), Recipe(batch=20), 0, device="cuda", capturable=True)
    assert spent.made == "plain: a captured step differed from the plain one"


def test_a_processor_makes_plain_steps_and_says_so() -> None:
    _, spent = trained("irnet", "cpu", steps=WARM)
    assert spent.made == "plain: on a processor"


def test_numbers_follow_the_progress_and_are_pythons_afterwards() -> None:
    network = nn.Sequential(ede.Estimator(), nn.Linear(2, 2))
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    numbers = Numbers(network, "cpu")
    set_progress(network, 0.5)
    expected = network[0].numbers
    numbers.put(optimizer, 0.25)
    numbers.leave()
    assert network[0].numbers == expected
    assert optimizer.param_groups[0]["lr"] == 0.25


def test_a_buffer_that_is_replaced_keeps_its_tensor() -> None:
    part = nn.Module()
    part.register_buffer("u", torch.zeros(3))
    part.register_buffer("none", None)
    kept = part.u
    with _in_place(part):
        part.u = torch.ones(3)
    assert part.u is kept
    assert kept.tolist() == [1.0, 1.0, 1.0]


def test_every_schedule_of_a_slope_stands_in_its_numbers() -> None:
    """Else a captured step would keep the slope that it was captured with."""

    for name in registry.names("method"):
        choice = networks.choose(name)
        network = networks.build(
            choice, "vgg_tiny", 10, 32, [0.5] * 3, [0.25] * 3, lambda part: torch.Generator().manual_seed(0)
        )
        if not choice.method.capturable:
            continue
        seen = []
        for progress in (0.1, 0.6):
            choice.method.on_progress(network, progress)
            seen.append({n: _plain_state(m) for n, m in network.named_modules()})
        changed = {n for n in seen[0] if seen[0][n] != seen[1][n]}
        for n in changed:
            assert network.get_submodule(n).numbers, f"{name}: '{n}' changes with the progress, and not in its numbers"


def _plain_state(module: nn.Module) -> dict[str, Any]:
    """Return the numbers and flags of a part, without the count of rotations, which only the schedule reads."""
    return {k: v for k, v in vars(module).items() if isinstance(v, (bool, int, float, str)) and k != "_count"}


class Graph:
    """Stands in for a CUDA graph: replaying it makes a step, or with `late` from its second replay on another one."""

    late = False
    steps: Any = None

    def __init__(self) -> None:
        self.replayed = 0

    def replay(self) -> None:
        self.replayed += 1
        found = self.steps._plain(self.steps._images, self.steps._labels, 0, False)
        self.steps._found = torch.stack([t.double() for t in found])
        if self.late and self.replayed > 1:
            with torch.no_grad():
                next(self.steps.state.network.parameters()).add_(1)


def by_graph(monkeypatch: pytest.MonkeyPatch, *, late: bool) -> tuple[nn.Module, Steps]:
    """Make twelve steps of a small network by a stand-in for graphs on the processor; return the network and the steps."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.BatchNorm1d(4))
    recipe = Recipe(batch=8)
    optimizer = torch.optim.SGD(network.parameters(), lr=torch.tensor(0.1), momentum=0.9)
    state = State(network, optimizer, [{}], Shards(network, recipe, 0, ALONE), stage=0)
    steps = Steps(state, recipe, "cpu", lambda net: None, True)
    monkeypatch.setattr(Steps, "_hindrance", lambda self: "")
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: None)
    monkeypatch.setattr(torch.cuda, "graph", lambda *a, **k: nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(Graph, "late", late)
    monkeypatch.setattr(Graph, "steps", steps)
    for k in range(12):
        drawn = torch.rand(8, 3, 2, 2, generator=torch.Generator().manual_seed(k))
        steps.make(drawn, torch.arange(8) % 4, k, 0.1, measure=k % 5 == 0)
    return network, steps


@pytest.mark.parametrize("late", [False, True])
def test_the_first_two_captured_steps_are_compared_and_the_bits_are_those_of_plain_ones(
    monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    """Whether the graph is kept, or found wrong at its second step and dropped."""
    with monkeypatch.context() as patch:
        network, steps = by_graph(patch, late=late)
    assert steps.told == ("plain: a captured step differed from the plain one" if late else "captured")
    with monkeypatch.context() as patch:
        patch.setattr(steps_module, "WARM", 100)
        plain, other = by_graph(patch, late=False)
    assert other.told == "plain"
    for a, b in zip(network.state_dict().values(), plain.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert steps.state.tally.pending[-1][0] == 11


def test_every_backbone_of_ours_declares_whether_it_can_be_captured() -> None:
    for name in registry.names("backbone"):
        network = networks.build(
            networks.choose("bnn"), name, 10, 64, [0.5] * 3, [0.25] * 3, lambda part: torch.Generator().manual_seed(0)
        )
        (backbone,) = (m for m in network.modules() if isinstance(m, Backbone))
        assert backbone.capturable, name
