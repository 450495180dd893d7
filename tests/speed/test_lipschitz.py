"""Cost of the Lipschitz measurements at 32 px, one thread, CPU time: ratios within one run, and budgets.

    tox run -e speed -- tests/speed/test_lipschitz.py -s

Searches are of trained networks on test images: the fixture store's small VGGs, and a ResNet-20 that is trained here in some
minutes. With random weights on noise all images flip at once, and what a search spends on images that go different ways is
not seen. The searches take half an hour; `-k "default_search and bnn"` those of one network.

The comparison with adversarial-robustness-toolbox needs the extra `peers`, and is skipped without it; it takes 10 to 20
minutes, nearly all of it the toolbox's.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from lcrbench import registry
from lcrbench.bench import metrics
from lcrbench.bench.data.arrays import Split
from lcrbench.bench.evaluation.engine import served
from lcrbench.bench.evaluation.subject import Subject
from lcrbench.bench.lipschitz import clever, search
from lcrbench.bench.lipschitz.options import Options
from lcrbench.bench.lipschitz.oracle import Oracle
from lcrbench.bench.lipschitz.subjects import Network
from lcrbench.bench.processes import keep_memory
from lcrbench.models import network as networks
from lcrbench.models import spectral
from tests.lipschitz.peers.attacks import fixture, resnets

VGGS = ("bnn", "irnet", "irnet+lcr", "full_precision")
"""The networks of the fixture store, which are those of the quick preset."""

LIMITS = dict.fromkeys(VGGS, 90) | {"resnet20": 400}
"""CPU seconds of the default search, on the engine that a run takes."""

EFFICIENCY = 0.8
"""Least share of a search's time that its passes would take alone, in torch and in full blocks."""

IMAGES = 8
PAIRS = 5
EVERY = 20
"""Calls of a search between two bare passes."""


class Images(NamedTuple):
    images: np.ndarray
    labels: np.ndarray


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def cpu(task: Callable[[], object]) -> float:
    began = time.process_time()
    task()
    return time.process_time() - began


def once(benchmark: Any, task: Callable[[], object]) -> float:
    """Run a task once under pytest-benchmark, which takes the wall clock, and return its CPU seconds."""
    return float(benchmark.pedantic(lambda: cpu(task), rounds=1, iterations=1))


@pytest.fixture(scope="module")
def vggs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Network]:
    return fixture(tmp_path_factory.mktemp("vggs") / "store")


@pytest.fixture(scope="module")
def trained_resnet20(tmp_path_factory: pytest.TempPathFactory) -> Network:
    return resnets(tmp_path_factory.mktemp("resnet20") / "store", ("irnet",), seed=0)["irnet"]


def on(engine: str) -> str:
    """Return an engine's name without its version or reason."""
    return engine.replace(":", " ").split()[0]


def resnet20() -> networks.Network:
    """IR-Net with random weights and batch-norm statistics of random images."""

    def generator(name: str) -> torch.Generator:
        return torch.Generator().manual_seed(sum(map(ord, name)))

    network = networks.build(networks.choose("irnet"), "resnet20", 10, 32, [0.5] * 3, [0.25] * 3, generator)
    for m in network.modules():
        if isinstance(m, nn.BatchNorm2d | nn.BatchNorm1d):
            m.momentum = None
    with torch.no_grad():
        network.train()(torch.rand(100, 3, 32, 32, generator=generator("images")))
    return network.eval().to(memory_format=torch.channels_last)


def subject(network: nn.Module, n: int, block: int = 100) -> Subject:
    images = np.random.default_rng(0).integers(0, 256, (n, 32, 32, 3)).astype(np.uint8)
    test: Any = Images(images, np.arange(n) % 10)
    return Subject(network, test, block)


@pytest.mark.parametrize("label", VGGS)
def test_quick_preset_within_30_cpu_seconds(benchmark: Any, vggs: dict[str, Network], label: str) -> None:
    """All Lipschitz metrics that are measured where a spec names none, after the test images were shown, as in a run."""
    keep_memory()  # as a process of a run does
    network = vggs[label]
    s = served(network.looked.network, network.dataset.test, network.protocol.block)
    s.logits(s.test.images)
    s.passes = 0

    def everything() -> None:
        for name in registry.files("metric"):
            metric = registry.load("metric", name)
            if metric.INFO.lipschitz and metrics.by_default(metric):
                numbers, left_out = metrics.measure(metric, name, s, asdict(metric.Options()))
                assert numbers or left_out, name

    spectral.known_brackets.clear()
    spent = once(benchmark, everything)
    assert s.inference is not None
    print(f"\n{label} on {s.inference.name}: {spent:.1f} CPU seconds, {s.passes} image passes")
    benchmark.extra_info |= {"cpu": spent, "engine": s.inference.name}
    assert on(s.inference.name) == ("torch" if label == "full_precision" else "packed")
    assert s.passes >= 50_000, "the search of 100 images at 600 passes is among them"
    assert spent <= 30


def test_all_brackets_under_two_cpu_seconds(benchmark) -> None:
    network = resnet20()
    bounds: list[spectral.Bounds] = []

    def task() -> None:
        spectral.known_brackets.clear()
        bounds.append(spectral.product_bound(network, (3, 32, 32)))

    spent = min(cpu(task), cpu(task), once(benchmark, task))
    gaps = [layer.bracket.gap for layer in bounds[0].layers]
    print(f"\nbrackets: {spent:.2f} CPU seconds, gap mean {np.mean(gaps):.2%}, max {max(gaps):.2%}")
    assert len(gaps) == 1 + 18 + 1, "stem, binary convolutions, head"
    assert spent < 2
    assert max(gaps) <= 0.03, "no map of ResNet-20 at 32 px is smaller than 8x8"


def test_clever_against_the_toolbox(benchmark) -> None:
    """The same settings and images, one pool an image for all classes in both, in interleaved pairs."""
    pytest.importorskip("art.metrics")
    network = resnet20()
    s = subject(network, IMAGES, block=1)
    settings = clever.Settings(radius=0.5, norm="l2", batches=10, batch=10, pool_factor=10)
    one = toolbox(network)
    images = s.test.images.astype(np.float32) / np.float32(255)

    def ours() -> None:
        for k, image in enumerate(images):
            clever.score(s, image, k, settings)

    def theirs() -> None:
        for image in images:
            one(image)

    clever.score(s, images[0], 0, settings)
    ratios = []
    for pair in range(PAIRS):
        order = (ours, theirs) if pair % 2 else (theirs, ours)
        spent = {task: cpu(task) for task in order}
        ratios.append(spent[theirs] / spent[ours])
        print(f"\nours {spent[ours] / IMAGES:.2f} s an image, toolbox {spent[theirs] / IMAGES:.2f} s", end="")
    print(f"\nratios {[round(r, 2) for r in ratios]}, median {np.median(ratios):.2f}")
    once(benchmark, ours)
    benchmark.extra_info |= {"ratios": ratios, "ratio": float(np.median(ratios))}
    assert np.median(ratios) >= 5
    assert min(ratios) >= 4


@pytest.mark.parametrize("label", LIMITS)
def test_default_search_of_100_images_in_three_balls(
    benchmark: Any, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, label: str
) -> None:
    """CPU seconds on the engine that a run takes, and how much of them bare passes in full blocks would take.

    The efficiency of the search is the time of its passes in torch over its own. A search on packed bits, where a pass is
    shorter, may so make up for what it spends beside passes. What its passes would take on packed bits is printed too.

    Bare passes are measured between those of the search, because a shared machine is not equally fast all the time.
    """
    keep_memory()  # as the command does
    resnet = label == "resnet20"  # trained only if it is asked for
    network = request.getfixturevalue("trained_resnet20") if resnet else request.getfixturevalue("vggs")[label]
    test = network.dataset.test
    s = served(network.looked.network, Split(test.images[:100], test.labels[:100]), 100)
    in_torch = Subject(network.looked.network, s.test, 100)
    options = Options(l2=(8, 128), linf=(8,), images=100, effort="default")
    oracle, start = search.begin(s, options)
    s.logits(oracle.images)  # from here on one engine computes
    points = {"logits": 0, "pull": 0}
    bare: dict[str, list[float]] = {name: [] for name in ("own", "logits", "pull")}

    def backward() -> None:
        x = start.x.clone().requires_grad_()
        out = s.network(x)
        torch.autograd.grad(out, x, torch.ones_like(out))

    def watching(name: str, alone: dict[str, Callable[[], object]]) -> None:
        plain, calls = getattr(Oracle, name), itertools.count()

        def call(self: Oracle, x: torch.Tensor, *rest: Any) -> Any:
            if next(calls) % EVERY == 0:
                for pass_of, task in alone.items():
                    bare[pass_of].append(cpu(task))
            points[name] += len(x)
            return plain(self, x, *rest)

        monkeypatch.setattr(Oracle, name, call)

    watching("logits", {"own": lambda: s.logits(oracle.images), "logits": lambda: in_torch.logits(oracle.images)})
    watching("pull", {"pull": backward})
    spent = once(benchmark, lambda: list(search.rounds(oracle, start, options)))
    spent -= sum(map(sum, bare.values()))
    each = {name: statistics.median(times) / 100 for name, times in bare.items()}
    backwards = points["pull"] * each["pull"]
    efficiency, on_own = ((points["logits"] * each[name] + backwards) / spent for name in ("logits", "own"))
    assert s.inference is not None
    what = f"{label} on {s.inference.name}"
    shown = ", ".join(f"{name} {1000 * t:.3f} ms" for name, t in each.items())
    print(f"\n{what}: {spent:.0f} CPU seconds, {points} points, bare {shown} a point", end="")
    print(f", efficiency {efficiency:.2f}; over passes on its own engine {on_own:.2f}")
    benchmark.extra_info |= {"cpu": spent, "efficiency": efficiency, "own": on_own, "engine": s.inference.name}
    assert on(s.inference.name) == ("torch" if label == "full_precision" else "packed")
    assert points["logits"] + 2 * points["pull"] >= 0.9 * options.passes
    assert spent <= LIMITS[label]
    assert efficiency >= EFFICIENCY


def toolbox(network: nn.Module) -> Callable[[np.ndarray], None]:
    """Return the toolbox's untargeted CLEVER at 10 batches of 10 from a pool of 100, l2 radius 0.5.

    It draws a new pool for each class; here it draws one an image and is given it again, which spares it the drawing.
    """
    import art.metrics.metrics as theirs
    from art.estimators.classification import PyTorchClassifier
    from art.metrics import clever_u

    draw = theirs.random_sphere
    classifier = PyTorchClassifier(
        network, nn.CrossEntropyLoss(), (3, 32, 32), 10, clip_values=(0.0, 1.0), device_type="cpu"
    )

    def score(image: np.ndarray) -> None:
        pools: list[np.ndarray] = []

        def once_an_image(**sampling: Any) -> np.ndarray:
            if not pools:
                pools.append(draw(**sampling))
            return pools[0].copy()

        x = np.ascontiguousarray(image.transpose(2, 0, 1))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(theirs, "random_sphere", once_an_image)
            clever_u(classifier, x, 10, 10, 0.5, 2, pool_factor=10, verbose=False)
        assert pools

    return score
