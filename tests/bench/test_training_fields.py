"""Label smoothing, decay policies, averaged weights, bfloat16, and when a training waits for its device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from lcrbench import registry
from lcrbench.bench import data, worker
from lcrbench.bench.records.budget import Budget, Recipe
from lcrbench.bench.training import selection
from lcrbench.bench.training.average import Average
from lcrbench.bench.training.checkpoint import Checkpoint
from lcrbench.bench.training.loop import Diverged, Stopped, train
from lcrbench.bench.training.pace import Pace
from lcrbench.bench.training.parts import make_optimizer
from lcrbench.bench.training.precision import widened
from lcrbench.models import network as networks
from lcrbench.models.api import observe
from lcrbench.models.binary import BinaryConv2d, binary_layers
from tests.bench.helpers import TABLES, bits, job


@pytest.fixture(scope="module")
def small() -> data.Dataset:
    return data.take(data.load(size=16), 200, 50, seed=0)


def network_for(small: data.Dataset, method: str = "bnn") -> networks.Network:
    torch.set_num_threads(1)
    made = networks.build(
        networks.choose(method),
        "vgg_tiny",
        10,
        16,
        small.mean,
        small.std,
        lambda n: torch.Generator().manual_seed(len(n)),
    )
    return made.to(memory_format=torch.channels_last)


def trained(small: data.Dataset, method: str, recipe: Recipe, images: int = 300, **more: Any) -> Any:
    choice = networks.choose(method)
    net = network_for(small, method)
    more = {"on_progress": choice.method.on_progress, "regularizers": choice.regularizers} | more
    return net, train(net, small.train, Budget(images=images), recipe, 0, **more)


# ------------------------------------------------------------------------------------------------------- label smoothing


def test_label_smoothing_is_the_cross_entropy_to_smoothed_labels(small: data.Dataset) -> None:
    share, found = 0.3, []
    net = network_for(small)

    def note(module: nn.Module, given: Any, logits: torch.Tensor) -> None:
        found.append(logits.detach().double().numpy())

    net.register_forward_hook(note)
    order: list[np.ndarray] = []
    real = F.cross_entropy

    def labels_of(logits: torch.Tensor, labels: torch.Tensor, **given: Any) -> torch.Tensor:
        order.append(labels.numpy())
        return real(logits, labels, **given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(F, "cross_entropy", labels_of)
        spent = train(net, small.train, Budget(images=50), Recipe(batch=50, label_smoothing=share), 0)
    logits, labels = found[0], order[0]
    log = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    wanted = (1 - share) * np.eye(10)[labels] + share / 10
    assert spent.log[0]["cross_entropy"] == pytest.approx(-(wanted * log).sum(1).mean(), rel=1e-5)


# -------------------------------------------------------------------------------------------------------- decay policies


@pytest.mark.parametrize("decay", ["weights", "real_weights", "all"])
@pytest.mark.parametrize("method", ["full_precision", "reactnet", "adabin"])
def test_each_policy_decays_what_it_names(small: data.Dataset, method: str, decay: Any) -> None:
    net = network_for(small, method)
    optimizer = make_optimizer(net, Recipe(decay=decay, weight_decay=0.5))
    names = {id(p): name for name, p in net.named_parameters()}
    decayed = {names[id(p)] for g in optimizer.param_groups if g["weight_decay"] for p in g["params"]}
    every = [names[id(p)] for g in optimizer.param_groups for p in g["params"]]
    assert sorted(every) == sorted(names.values()), "each parameter is in one group"
    binary = {f"{name}.weight" for name in binary_layers(net)}
    layers = {f"{n}.weight" for n, m in net.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))}
    assert decayed == {"weights": layers, "real_weights": layers - binary, "all": set(names.values())}[decay]
    assert bool(binary) == (method != "full_precision")


# ------------------------------------------------------------------------------------------------------- averaged weights


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.999])
def test_the_average_is_the_weighted_mean_of_all_weights_since_the_stage_began(decay: float) -> None:
    net = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).double()
    net.register_buffer("counter", torch.zeros(2, dtype=torch.float64))
    average = Average(net, decay)
    random = torch.Generator().manual_seed(0)
    seen: dict[str, list[torch.Tensor]] = {}
    for n in range(1, 31):
        with torch.no_grad():
            for name, t in net.state_dict().items():
                if t.is_floating_point():
                    t.copy_(torch.randn(t.shape, generator=random, dtype=torch.float64))
                    seen.setdefault(name, []).append(t.clone())
        average.update(n)
    weights = torch.tensor([decay ** (30 - i) for i in range(1, 31)], dtype=torch.float64)
    own = {k: v.clone() for k, v in net.state_dict().items()}
    with average.shown():
        for name, values in seen.items():
            wanted = torch.stack(values).movedim(0, -1) @ weights / weights.sum()
            shown = net.state_dict()[name]
            if name == "counter":
                assert torch.equal(shown, own[name]), "what is no weight and no statistic of a norm stays as it is"
            else:
                assert torch.allclose(shown, wanted, rtol=1e-9)
    assert all(torch.equal(v, own[k]) for k, v in net.state_dict().items())


def test_averaging_changes_what_is_reported_and_not_the_training(small: data.Dataset) -> None:
    plain, without = trained(small, "irnet", Recipe(batch=50, lr=0.1))
    averaged, with_ = trained(small, "irnet", Recipe(batch=50, lr=0.1, ema=0.9))
    assert [row["loss"] for row in with_.log] == [row["loss"] for row in without.log]
    assert networks.weights_hash(plain) != networks.weights_hash(averaged)
    steps: dict[str, list[torch.Tensor]] = {}

    def note(net: nn.Module, t: float) -> None:
        for k, v in net.named_parameters():
            steps.setdefault(k, []).append(v.detach().clone())

    note_net, _ = trained(small, "full_precision", Recipe(batch=50, lr=0.1, warmup=0.0, ema=0.5), 150, on_progress=note)
    last, _ = trained(small, "full_precision", Recipe(batch=50, lr=0.1, warmup=0.0), 150)
    for name, found in steps.items():
        # Before steps 2 and 3, and after the third.
        one, two, three = found[1], found[2], dict(last.named_parameters())[name]
        wanted = (one / 4 + two / 2 + three) / 1.75
        assert torch.allclose(dict(note_net.named_parameters())[name], wanted, atol=1e-6)


def test_the_averaged_weights_are_those_that_a_selection_looks_at(small: data.Dataset) -> None:
    recipe = Recipe(batch=50, lr=0.3, ema=0.8, validation=50, selection="best")
    net, spent = trained(small, "full_precision", recipe, 600)
    best = max(row.get("validation_accuracy", 0) for row in spent.log)
    held = selection.accuracy(net, data.arrays.Split(*_held(small, 50)), "cpu")
    assert held == best
    other, _ = trained(small, "full_precision", recipe.model_copy(update={"ema": 0.0}), 600)
    assert networks.weights_hash(other) != networks.weights_hash(net)


def _held(small: data.Dataset, number: int) -> tuple[np.ndarray, np.ndarray]:
    from lcrbench.bench.training.stream import parted

    part = parted(small.train, number)[1]
    return part.images, part.labels


def test_a_stage_begins_an_average_of_its_own(small: data.Dataset) -> None:
    """With one step a stage the average is the weights after it."""
    choice = networks.choose("reactnet:two_step=true")
    staged: dict[str, Any] = {"stages": 2, "on_stage": choice.method.on_stage}
    plain, _ = trained(small, choice.label, Recipe(batch=50), 100, **staged)
    averaged, _ = trained(small, choice.label, Recipe(batch=50, ema=0.9), 100, **staged)
    assert networks.weights_hash(plain) == networks.weights_hash(averaged)


# ------------------------------------------------------------------------------------------------------------- resumption


FIELDS = {
    "ema": {"ema": 0.9},
    "ema and best": {"ema": 0.9, "validation": 50, "selection": "best"},
    "smoothing": {"label_smoothing": 0.1},
    "bf16": {"precision": "bf16", "ema": 0.5},
    "bop": {"optimizer": "bop:gamma=0.01", "lr": 0.01},
    "bop with sgd": {"optimizer": "bop:gamma=0.01,inner=sgd"},
}


@pytest.mark.parametrize("fields", FIELDS.values(), ids=FIELDS)
def test_a_stopped_training_ends_in_the_same_bits(
    tmp_path: Path, fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = TABLES | {"methods": ["bnn"], "recipe": {"batch": 50, "lr": 0.05} | fields}
    whole = bits(tmp_path / "whole", worker.run_one(job(tmp_path / "whole", tables)))
    stops = [1, 5, 12]
    for stop in stops:
        todo = [stop]

        def stopping(self: Checkpoint, todo: list[int] = todo) -> bool:
            self.seen = getattr(self, "seen", 0) + 1  # type: ignore[attr-defined]
            return bool(todo) and self.seen >= todo[0]  # type: ignore[attr-defined]

        monkeypatch.setattr(Checkpoint, "stopping", stopping)
        root = tmp_path / str(stop)
        with pytest.raises(Stopped):
            worker.run_one(job(root, tables))
        todo.clear()
        assert bits(root, worker.run_one(job(root, tables))) == whole


def test_two_stages_and_a_teacher_resume_with_averaged_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = TABLES | {
        "methods": ["reactnet:two_step=true+distill"],
        "recipe": {"batch": 50, "lr": 0.05, "ema": 0.9, "precision": "bf16"},
    }
    whole = bits(tmp_path / "whole", worker.run_one(job(tmp_path / "whole", tables)))
    own = job(tmp_path / "parts", tables).spec.training.train_id
    for in_teacher, stop in ((True, 4), (False, 5), (False, 9)):
        asked = []

        def stopping(self: Checkpoint, asked: list[int] = asked, t: bool = in_teacher, stop: int = stop) -> bool:
            asked.append(1)
            if (self.path.name == own) == t:
                asked.clear()
            return len(asked) >= stop

        monkeypatch.setattr(Checkpoint, "stopping", stopping)
        with pytest.raises(Stopped):
            worker.run_one(job(tmp_path / "parts", tables))
        monkeypatch.undo()
    assert bits(tmp_path / "parts", worker.run_one(job(tmp_path / "parts", tables))) == whole


# --------------------------------------------------------------------------------------------------------------- bfloat16


class Types(TorchDispatchMode):
    """Notes in which type each kind of operation gets its first argument."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, set[torch.dtype]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if args and isinstance(args[0], torch.Tensor):
            self.seen.setdefault(name, set()).add(args[0].dtype)
        return func(*args, **(kwargs or {}))


def test_in_bfloat16_convolutions_alone_are_rounded(small: data.Dataset) -> None:
    net = network_for(small, "irnet+lcr").train()
    entered: dict[str, torch.dtype] = {}
    for name, module in net.named_modules():
        if isinstance(module, (BinaryConv2d, nn.BatchNorm2d)):
            # After the hook that widens what enters.
            real = module.forward
            module.forward = lambda x, n=name, f=real: (entered.update({n: x.dtype}), f(x))[1]  # type: ignore[method-assign]
    images, labels = torch.rand(8, 3, 16, 16), torch.arange(8)
    terms = [r.attach(net) for r in networks.choose("irnet+lcr").regularizers.values()]
    with widened(net, "bf16"), Types() as types:
        context = observe(net, terms, images, labels, cast=torch.bfloat16)
    assert types.seen["convolution"] == {torch.bfloat16}
    assert set(entered.values()) == {torch.float32}
    every = [context.logits, *context.inputs.values(), *context.outputs.values()]
    assert {x.dtype for x in every} == {torch.float32}
    assert all(p.dtype == torch.float32 for p in net.parameters())
    layer = next(iter(binary_layers(net).values()))
    with torch.autocast("cpu", torch.bfloat16):
        cast = layer.binarize()[0]
    assert torch.equal(cast, layer.binarize()[0])
    assert cast.dtype == torch.float32


METHODS = [m for m in registry.names("method") if m != "full_precision"]
TERMS = [
    f"irnet+{r}" for r in registry.names("regularizer") if not networks.choose(f"irnet+{r}").regularizers[r].teacher
]


@pytest.mark.parametrize("method", ["full_precision", *METHODS, *TERMS, "adabin+lcr"])
def test_every_method_trains_in_bfloat16(small: data.Dataset, method: str) -> None:
    net, spent = trained(small, method, Recipe(batch=50, lr=0.01, precision="bf16"), 200)
    plain, other = trained(small, method, Recipe(batch=50, lr=0.01), 200)
    assert all(t.isfinite().all() for t in net.state_dict().values())
    assert {t.dtype for t in net.state_dict().values()} == {t.dtype for t in plain.state_dict().values()}
    assert networks.weights_hash(net) != networks.weights_hash(plain)
    assert spent.log[0]["loss"] == pytest.approx(other.log[0]["loss"], rel=0.1)
    assert not any(m._forward_pre_hooks for m in net.modules()), "evaluation is that of a network without hooks"


def test_evaluation_never_knows_of_bfloat16(small: data.Dataset) -> None:
    """The validation accuracy during a training is the one that the weights have by themselves."""
    recipe = Recipe(batch=50, precision="bf16", validation=50, selection="best")
    seen: set[torch.dtype] = set()
    net = network_for(small)

    def note(module: nn.Module, given: Any, logits: torch.Tensor) -> None:
        if not module.training:
            seen.add(logits.dtype)

    net.register_forward_hook(note)
    spent = train(net, small.train, Budget(images=300), recipe, 0)
    assert seen == {torch.float32}
    best = max(row["validation_accuracy"] for row in spent.log if "validation_accuracy" in row)
    assert selection.accuracy(net, data.arrays.Split(*_held(small, 50)), "cpu") == best


# -------------------------------------------------------------------------------------------------- waits for the device


class Reads(TorchDispatchMode):
    """Counts what would make a program wait for its accelerator: numbers read, and shapes that depend on numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        waiting = ("_local_scalar_dense", "nonzero", "masked_select", "unique_dim", "equal")
        self.count += func.overloadpacket.__name__ in waiting
        return func(*args, **(kwargs or {}))


# Of RBNN this is what the program reads: on a CUDA device the decompositions of its 20 rotations wait too.
@pytest.mark.parametrize("method", ["full_precision", *METHODS, *TERMS])
@pytest.mark.parametrize("change", [{}, {"ema": 0.9, "label_smoothing": 0.1}], ids=["plain", "averaged"])
def test_steps_read_nothing_where_no_row_is_logged(
    small: data.Dataset, method: str, change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    if method == "siman" and _quantile_reads():
        pytest.skip("the quantile of this torch reads, on a processor")
    monkeypatch.setattr(Pace, "logs", lambda self, step: step + 1 == self.steps)
    reads, at_step = Reads(), []
    with reads:
        choice = networks.choose(method)

        def note(net: nn.Module, t: float) -> None:
            choice.method.on_progress(net, t)
            at_step.append(reads.count)

        trained(small, method, Recipe(batch=50, **change), 300, on_progress=note)
    assert len(at_step) == 6
    assert at_step[1] == at_step[-1], "read between the steps"


def _quantile_reads() -> bool:
    """Torch 2.6 looks whether the shares lie between 0 and 1."""
    with Reads() as reads:
        torch.quantile(torch.arange(3.0), torch.tensor([0.5]))
    return reads.count > 0


def test_a_divergence_is_found_at_its_own_step_though_it_is_read_later(
    small: data.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pace, "logs", lambda self, step: step + 1 == self.steps)
    real, calls = F.cross_entropy, []

    def diverging(*given: Any, **more: Any) -> torch.Tensor:
        calls.append(1)
        return real(*given, **more) * (float("nan") if len(calls) == 3 else 1.0)

    monkeypatch.setattr(F, "cross_entropy", diverging)
    with pytest.raises(Diverged, match="the loss was nan at step 2") as found:
        trained(small, "bnn", Recipe(batch=50), 300)
    assert found.value.step == 2
    assert len(calls) == 6, "and it was not waited for"


def test_what_a_diverged_network_raises_is_not_the_reason(small: data.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pace, "logs", lambda self, step: step + 1 == self.steps)
    real, calls = F.cross_entropy, []

    def diverging(*given: Any, **more: Any) -> torch.Tensor:
        calls.append(1)
        if len(calls) == 4:
            raise RuntimeError("the matrix is singular")
        return real(*given, **more) * (float("inf") if len(calls) == 2 else 1.0)

    monkeypatch.setattr(F, "cross_entropy", diverging)
    with pytest.raises(Diverged, match="the loss was inf at step 1"):
        trained(small, "bnn", Recipe(batch=50), 300)
