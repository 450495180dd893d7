"""The engine in an evaluation: taken by itself, compared before use, left where it differs, named in the record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from torch import nn

from lcrbench import registry
from lcrbench.bench.data.arrays import Split
from lcrbench.bench.evaluation import inference
from lcrbench.bench.evaluation import subject as subjects
from lcrbench.bench.evaluation.engine import Inference, served
from lcrbench.bench.evaluation.run import ROOTS
from lcrbench.bench.records import source
from lcrbench.errors import UserError
from lcrbench.models.packed import engine, filters, finishes
from tests.lipschitz.nets import built
from tests.packed.nets import by_torch, images, make

FAULTS: dict[str, tuple[Any, str, Callable[[Any], Any]]] = {
    "a border's case": (filters, "bases", lambda found: found + 2 * (np.arange(16)[:, None] == 4)),
    "a swapped word": (
        filters,
        "words",
        lambda found: np.ascontiguousarray(found[:, [1, 0, *range(2, found.shape[1])]]),
    ),
    "a swapped output": (filters, "words", lambda found: np.ascontiguousarray(found[:, :, [1, 0, *range(2, 16)]])),
    "rounding": (finishes, "rounding", lambda once: 1 - once),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_caught_before_a_logit_is_wrong(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, name, wrong = FAULTS[fault]
    right = getattr(module, name)
    net, shown = make("irnet", "resnet20", 16), images(20, 16)
    monkeypatch.setattr(module, name, lambda *given, **named: wrong(right(*given, **named)))
    found = Inference(net, 20)
    np.testing.assert_array_equal(found.logits(shown), by_torch(net, shown))
    assert "logits of the first images differ" in found.name
    with pytest.raises(UserError, match=r"differ.*--engine auto"):
        Inference(net, 20, choice="packed").logits(shown)


def test_torch_is_asked_until_a_whole_block_was_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    net, shown = make("irnet", "vgg_tiny", 8), images(12, 8)
    parts = [shown[:5], shown[5:8], shown, shown / np.float32(255)]
    wanted = [inference.logits(net, part, 8) for part in parts]
    asked: list[int] = []
    plain = inference.logits

    def counted(network: nn.Module, given: np.ndarray, *rest: Any) -> np.ndarray:
        asked.append(len(given))
        return plain(network, given, *rest)

    monkeypatch.setattr(inference, "logits", counted)
    found = Inference(net, 8)
    passes = []
    for part, right in zip(parts, wanted, strict=True):
        np.testing.assert_array_equal(found.logits(part), right)
        passes.append(len(asked))
    assert passes == [1, 2, 2, 3], "two calls of less than a block, none, and one block of floats"
    assert found.name == f"packed {engine.version()}"


def test_each_size_and_type_of_images_is_taken() -> None:
    net, found = make("bnn", "resnet20", 8), None
    found = Inference(net, 6)
    for size in (8, 12):
        shown = images(6, size)
        for given in (shown, shown / np.float32(255), shown / 255.0):
            np.testing.assert_array_equal(found.logits(given), by_torch(net, given))
    assert found.name.startswith("packed ")


REASONS = {
    "torch": (lambda: make("irnet", "vgg_tiny", 8), "cpu", "torch: asked for"),
    "auto": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 10)), "cpu", "torch: a Sequential is no network"),
}


@pytest.mark.parametrize("choice", REASONS)
def test_the_name_says_why_torch(choice: Any) -> None:
    network, device, name = REASONS[choice]
    found = Inference(network(), 4, device, choice)
    assert found.logits(images(4, 8)).shape == (4, 10)
    assert found.name.startswith(name)


def test_packed_on_an_accelerator_is_refused() -> None:
    assert Inference(make("irnet", "vgg_tiny", 8), 4, "cuda").name == "torch: on cuda"
    with pytest.raises(UserError, match="on cuda"):
        Inference(make("irnet", "vgg_tiny", 8), 4, "cuda", "packed")


def test_a_metric_gets_the_same_and_its_passes_are_counted() -> None:
    net, shown = make("irnet", "vgg_tiny", 8), images(8, 8)
    subject = served(net, Split(shown, np.arange(8)), 4)
    np.testing.assert_array_equal(subject.logits(shown)[:4], by_torch(net, shown[:4]))
    assert subject.passes == 8


# The search and all that shares it, shells, and smoothing: whatever needs logits alone.
LIPSCHITZ = ("modulus", "kappa", "relative_gain", "flip_radius", "shell", "smoothing")
FEW = {"images": 2, "l2": (128.0,), "effort": "trial", "first": 10, "draws": 40}


def test_no_lipschitz_figure_changes_and_torch_computes_gradients_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    net = built("irnet", "vgg_tiny", 8)
    shown = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3), np.uint8)
    asked = Counter[str]()
    plain = inference.logits

    def measured(choice: Any) -> Any:
        def counted(network: nn.Module, given: np.ndarray, *rest: Any) -> np.ndarray:
            asked[choice] += len(given)
            return plain(network, given, *rest)

        monkeypatch.setattr(inference, "logits", counted)
        monkeypatch.setattr(subjects, "logits", counted)
        subject = served(net, Split(shown, np.arange(8)), 8, choice=choice)
        found = []
        for name in LIPSCHITZ:
            metric = registry.load("metric", f"lipschitz_{name}")
            given = {k: v for k, v in FEW.items() if k in metric.Options.__dataclass_fields__}
            found += list(metric.measure(subject, metric.Options(**given)))
        return found, subject.passes, {key: kept.values.tolist() for key, kept in subject.by_image.items()}

    by_torch, packed = measured("torch"), measured("packed")
    assert {m.metric for m in by_torch[0]} == {f"lipschitz_{name}" for name in LIPSCHITZ}
    assert packed == by_torch
    assert asked["packed"] < asked["torch"] / 4, "until a block of each type was compared, and no more"


def test_no_number_depends_on_the_engine_by_its_code() -> None:
    """A store made before stays comparable: the engine gives the same bits, and its version is in the provenance."""
    inside = {f"{engine.__name__.rpartition('.')[0]}.{name}" for name in ("engine", "plan", "kernels", "machine")}
    for name in registry.names("metric"):
        scope = source.closure((*ROOTS, registry.module_name("metric", name), "lcrbench.models.network")).modules
        assert not inside & scope.keys()
        assert "lcrbench.bench.evaluation.engine" not in scope
