"""One training over several processes: slices of a batch give the same bits on any number of them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lcrbench import registry
from lcrbench.bench import worker
from lcrbench.bench.cli import main
from lcrbench.bench.data.arrays import Dataset
from lcrbench.bench.data.subset import load_data
from lcrbench.bench.records.budget import Recipe
from lcrbench.bench.records.grid import Data
from lcrbench.bench.records.record import Record
from lcrbench.bench.records.store import Store
from lcrbench.bench.seeds import derive
from lcrbench.bench.together import ALONE
from lcrbench.bench.training import group, reading, shards
from lcrbench.bench.training.charge import SIZES, _continued, prices
from lcrbench.bench.training.checkpoint import Checkpoint, Silent
from lcrbench.bench.training.loop import Stopped
from lcrbench.bench.training.prices import Price
from lcrbench.bench.training.shards import Shards, own
from lcrbench.bench.training.transforms import none
from lcrbench.models import api
from lcrbench.models.methods import irnet
from tests.bench.helpers import TABLES, Here, bits, job
from tests.bench.photographs import tree
from tests.bench.together import everywhere, train_once

RECIPE = Recipe(batch=40, lr=0.05, shards=4)
SLICED: dict[str, Any] = TABLES | {
    "methods": ["bnn"],
    "budget": {"images": 280},
    "recipe": {"batch": 40, "lr": 0.05, "shards": 4},
    "metrics": {"accuracy": {}},
}
"""A run of eight steps of four slices."""

linux = pytest.mark.skipif(
    sys.platform != "linux", reason="processes inherit what a test changes where they are forked"
)


@pytest.fixture(scope="module")
def small() -> Dataset:
    return load_data(Data(size=16, train=200, test=50))


def run(root: Path, processes: int, **change: Any) -> Record:
    return worker.run_one(job(root, SLICED | change, processes=processes))


# ------------------------------------------------------------------------------------------------------------- arithmetic


class Noise(api.Term):
    """A term that draws random numbers, and counts its steps."""

    def __init__(self) -> None:
        self.generator = torch.Generator()
        self.steps = 0

    def reseed(self, seed: int) -> None:
        self.generator.manual_seed(seed)

    @property
    def passes(self) -> dict[str, tuple[float, float]]:
        return {"teacher": (float(self.steps % 3 == 0), 0.0)}

    def loss(self, context: api.Context) -> torch.Tensor:
        self.steps += 1
        self.drawn = torch.rand((), generator=self.generator)
        return context.logits.square().mean() * self.drawn

    def figures(self) -> dict[str, float]:
        return {"drawn": float(self.drawn)}


def sliced(network: nn.Module, terms: list[dict[str, Noise]], step: int = 5) -> tuple[Shards, tuple[torch.Tensor, ...]]:
    images = torch.rand(40, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    shards = Shards(network, RECIPE, 7, ALONE)
    return shards, shards.backward(terms, images, torch.arange(40) % 10, step, True)


def network() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Dropout(0.5), nn.Linear(144, 10))
    made.register_buffer("rest", torch.tensor([0.1, 0.7]))
    return made.train()


def test_a_step_in_slices_is_the_ordered_mean_of_its_slices() -> None:
    net, terms = network(), [{"noise": Noise()} for _ in range(4)]
    rest = net.rest
    shards, (loss, cross_entropy, right) = sliced(net, terms)
    drawn = [term["noise"].drawn for term in terms]
    assert len({float(d) for d in drawn}) == 4, "each slice has its own random numbers"

    images = torch.rand(40, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    found: list[tuple[Any, ...]] = []
    for k in range(4):
        one, part = network(), slice(10 * k, 10 * k + 10)
        # The dropout's mask, as that slice draws it.
        torch.default_generator.manual_seed(group_seed(k))
        logits = one(images[part])
        ce = F.cross_entropy(logits, torch.arange(40)[part] % 10)
        total = ce + logits.square().mean() * drawn[k]
        total.backward()
        hits = (logits.argmax(1) == torch.arange(40)[part] % 10).sum()
        found.append((total.detach(), ce.detach(), hits, [p.grad for p in one.parameters()], one[1]))
    ((a, b, c, d), norm) = found, net[1]
    for i, p in enumerate(net.parameters()):
        assert torch.equal(p.grad, (((a[3][i] + b[3][i]) + c[3][i]) + d[3][i]) / 4)
    for name in ("running_mean", "running_var"):
        of = [getattr(each[4], name) for each in found]
        assert torch.equal(getattr(norm, name), (((of[0] + of[1]) + of[2]) + of[3]) / 4)
    assert int(norm.num_batches_tracked) == 1
    assert net.rest is rest, "what no pass changes stays as it is"
    assert torch.equal(rest, torch.tensor([0.1, 0.7]))
    assert torch.equal(loss, (((a[0] + b[0]) + c[0]) + d[0]) / 4)
    assert torch.equal(cross_entropy, (((a[1] + b[1]) + c[1]) + d[1]) / 4)
    assert int(right) == sum(int(each[2]) for each in found)
    assert shards.figures == {"noise.drawn": sum(map(float, drawn)) / 4}


def group_seed(shard: int) -> int:
    return derive(7, "slice", 5, shard)


def test_random_numbers_depend_on_the_step_and_passes_are_means() -> None:
    terms = [{"noise": Noise()} for _ in range(4)]
    terms[1]["noise"].steps = 2
    shards, _ = sliced(network(), terms, step=5)
    first = [float(each["noise"].drawn) for each in terms]
    assert shards.passes(terms) == [{"teacher": (0.25, 0.0)}]
    sliced(network(), terms, step=6)
    assert not {float(each["noise"].drawn) for each in terms} & set(first)


def test_slices_belong_to_processes_in_order() -> None:
    ranks = [type("At", (), {"rank": r, "world": 2})() for r in range(2)]
    assert [list(own(4, at)) for at in ranks] == [[0, 1], [2, 3]]
    with pytest.raises(ValueError, match="3 slices cannot be divided among 2"):
        own(3, ranks[0])


@pytest.mark.parametrize("shards", [3, 40, 80])
def test_a_batch_has_slices_of_one_size(shards: int) -> None:
    with pytest.raises(ValueError, match=f"has no {shards} slices"):
        Recipe(batch=40, shards=shards)


def test_what_concerns_the_weights_alone_is_charged_for_each_slice() -> None:
    counted = [Price(100 + 7 * n, 50 + 7 * n, 1.0) for n in SIZES]
    assert _continued(counted, 40, 1) == Price(380, 330, 1.0)
    assert _continued(counted, 40, 4) == Price(400 + 280, 200 + 280, 1.0)
    assert prices("full_precision", "vgg_tiny", 10, 16, 40, 0, 4).step(0, False, 0.0) == 40


def test_a_process_reads_the_images_of_its_slices_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    images = load_data(Data(source=str(tree(tmp_path / "set", train=6, test=2)), size=16, stream=True)).train.images
    given = (images, 8, none.Transform(), 0, "cpu", 1, 0)
    whole, parts = next(reading.read(*given)), [next(reading.read(*given, slice(*p))) for p in ((0, 4), (4, 8))]
    assert torch.equal(torch.cat([p[0] for p in parts]), whole[0])
    for p in parts:
        assert np.array_equal(p[1], whole[1])
        assert np.array_equal(p[2], whole[2])


@pytest.mark.parametrize(
    "text", ["irnet", "irnet+lcr", "irnet+parseval", "irnet+jacobian_penalty", "irnet+spectral_norm"]
)
def test_slices_that_share_binary_weights_change_no_bit(
    small: Dataset, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    calls, forward = [0], irnet.Binarizer.forward

    def counted(self: irnet.Binarizer, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        calls[0] += 1
        return forward(self, weight)

    monkeypatch.setattr(irnet.Binarizer, "forward", counted)
    shared = train_once(text, small, RECIPE, 3)
    with_sharing, calls[0] = calls[0], 0
    monkeypatch.setattr(shards, "sharing", lambda network, shared: nullcontext())
    assert train_once(text, small, RECIPE, 3) == shared
    if text == "irnet":
        assert calls[0] == 4 * with_sharing, "once a step, not once a slice"


# -------------------------------------------------------------------------------------------------------------- processes


def test_the_number_of_processes_changes_no_bit(small: Dataset) -> None:
    """A method with a hook of its own, a term with one, and a term with random numbers."""
    texts = ["ovsw", "irnet+lcr", "bnn+jacobian_penalty"]
    work = [(text, small, RECIPE.model_copy(update={"validation": 50, "selection": "best"}), 3) for text in texts]
    alone = [train_once(*each) for each in work]
    for world in (2, 4):
        for found in everywhere(world, work):
            assert found == alone, f"on {world} processes"


@pytest.mark.slow
def test_it_changes_no_bit_of_any_method_or_regularizer(small: Dataset) -> None:
    texts = registry.names("method") + [f"irnet+{name}" for name in registry.names("regularizer")]
    work = [(text, small, RECIPE, 30) for text in texts]
    # Without augmentation the same images return, and the cache of each slice answers.
    work.append(("irnet+lcr_fixed:cache=true", small, RECIPE.model_copy(update={"augmentation": "none"}), 30))
    alone = [train_once(*each) for each in work]
    for world in (2, 4):
        for found in everywhere(world, work):
            for (text, *_), here, there in zip(work, found, alone, strict=True):
                assert here == there, f"{text} on {world} processes"


@linux
def test_a_run_stopped_on_some_processes_goes_on_with_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of stages, with a teacher that keeps a number for each slice, averaged weights and a budget of compute."""
    change = {
        "methods": ["reactnet:two_step=true+cmim"],
        "budget": {"images": 800, "unit": "compute"},
        "recipe": {"batch": 40, "shards": 4, "ema": 0.9},
    }
    whole = bits(tmp_path / "whole", run(tmp_path / "whole", 1, **change))
    todo = [(4, 5)]

    def stopping(self: Checkpoint) -> bool:
        self.seen = getattr(self, "seen", 0) + 1
        return bool(todo) and self.seen >= todo[0][1]

    monkeypatch.setattr(Checkpoint, "stopping", stopping)
    root = tmp_path / "parts"
    while todo:
        with pytest.raises(Stopped):
            run(root, todo[0][0], **change)
        todo.pop(0)
    record = run(root, 2, **change)
    assert record.ledger is not None
    assert record.ledger.processes == 2
    assert bits(root, record) == whole


def fifth(does: Any) -> Any:
    """Return a `Silent.stopping` that does something after the fifth step of a process that is not the first."""

    def stopping(self: Silent) -> bool:
        self.seen = getattr(self, "seen", 0) + 1
        if self.seen == 5:
            does()
        return False

    return stopping


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def fail() -> None:
    raise ArithmeticError("too hot")


@linux
@pytest.mark.parametrize(
    ("does", "why"),
    [
        (kill, "one of them ended"),
        (fail, "process [23] of [24]: ArithmeticError: too hot"),
        (lambda: time.sleep(60), "did not answer for 2 s"),
    ],
    ids=["killed", "failed", "silent"],
)
def test_a_process_that_dies_ends_the_group_and_the_run_goes_on_with_others(
    tmp_path: Path, does: Any, why: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Silent, "stopping", fifth(does))
    monkeypatch.setattr(group, "TIMEOUT", 2.0)
    monkeypatch.setattr(group, "GRACE", 0.2)
    one = job(tmp_path, SLICED, processes=2, save_every=0.0)
    record = worker.attempt(one)
    assert record.failure is not None
    assert "the 2 processes of the training are no longer together" in record.failure.message
    assert re.search(why, record.failure.message), record.failure.message
    save = Store(tmp_path).unfinished(one.spec.training.train_id)
    assert save.exists()
    monkeypatch.undo()
    again = run(tmp_path, 1)
    assert bits(tmp_path, again) == bits(tmp_path / "whole", run(tmp_path / "whole", 1))


def test_processes_that_do_not_come_are_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(group, "TIMEOUT", 1.0)
    with pytest.raises(group.Lost, match="no longer together"):
        group.Processes(torch.distributed.FileStore(str(tmp_path / "store"), 2), 0, 2, "cpu")


# ---------------------------------------------------------------------------------------------------------------- command

SPEC = """
methods = ["bnn"]
data = { size = 16, train = 200, test = 50 }
budget = { images = 160 }
recipe = { batch = 40, shards = 4 }
evaluation = { corruptions = ["fog"], severities = [1], block = 25 }
metrics = { accuracy = {} }
"""


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    spec = tmp_path / "spec.toml"
    spec.write_text(SPEC)
    return ["run", str(spec), "--device", "cpu", "--quiet", "--store"]


def call(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr("sys.argv", ["lcrbench", *words])
    with pytest.raises(SystemExit) as stop:
        main()
    return int(stop.value.code or 0)


def test_the_command_starts_processes_for_a_training(
    tmp_path: Path, words: list[str], here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call(monkeypatch, *words, str(tmp_path / "2"), "--procs-per-run", "2") == 0
    (name,) = Store(tmp_path / "2").trainings.ids()
    training = Store(tmp_path / "2").trainings.record(name)
    assert training.ledger.processes == 2
    alone = worker.run_one(job(tmp_path / "1", tomllib.loads(SPEC)))
    assert alone.ledger is not None
    assert (training.train_id, training.weights_sha256) == (alone.spec.training.train_id, alone.weights_sha256)
    assert training.ledger.data_order_sha256 == alone.ledger.data_order_sha256


def test_processes_that_do_not_divide_the_slices_are_refused_in_one_line(
    tmp_path: Path, words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, *words, str(tmp_path), "--procs-per-run", "3") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "3 processes cannot share the 4 slices of a batch of bnn" in line
    assert not list(tmp_path.glob("trainings/*"))


@pytest.mark.slow
def test_torchrun_starts_the_command(tmp_path: Path, words: list[str]) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "lcrbench"]
    weights = []
    for start in (torchrun, [sys.executable, "-m", "lcrbench"]):
        store = tmp_path / str(len(start))
        command = [*start, *words, str(store), "--seeds", "0 1"]
        subprocess.run(command, check=True, timeout=300)
        weights.append([Store(store).trainings.record(name).weights_sha256 for name in Store(store).trainings.ids()])
    assert len(weights[0]) == 2
    assert weights[0] == weights[1]
