"""A golden table of ids: for each field of a spec the id with another value, or that it identifies nothing.

A change of an id orphans every store: it needs another `ids.VERSION`, and a reason in CHANGELOG. A new field fails until it
has a row; at its default it changes no other row.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, TypeVar, get_args, get_origin

import pytest

from lcrbench.bench.records.budget import Budget, Frozen, Recipe
from lcrbench.bench.records.external import External, Preprocess
from lcrbench.bench.records.grid import Tuning
from lcrbench.bench.records.protocol import Preprocessing, Protocol, TestSet
from lcrbench.bench.records.spec import MethodId, Subject, TrainData, TrainSpec, evaluation_id

M = TypeVar("M", bound=Frozen)

TRAINING = TrainSpec(
    data=TrainData(name="clothes", sha256="d" * 64, size=32, classes=("a", "b"), images=100),
    backbone="vgg_tiny",
    method=MethodId(name="irnet", options={"t_max": 20.0}, regularizers={"lcr": {"weight": 0.5}}),
    tuning=Tuning(trials=4, images=240_000, validation=500, searched={"recipe.lr": (0.05, 0.1)}),
    seed=0,
)
PROTOCOL = Protocol(
    test=TestSet(name="clothes", sha256="e" * 64, size=32, classes=("a", "b"), images=40, chosen=20),
    corruptions=("fog", "frost"),
    severities=(1, 3),
    preprocessing=Preprocessing(resize=256, crop=224),
)
NETWORK = External(name="net", weights_sha256="f" * 64, preprocess=Preprocess(mean=(0.5, 0.5, 0.5)))

NOTHING = ""
"""The id of a row whose field is told, and identifies nothing."""

OF_TRAININGS: dict[str, tuple[Any, str]] = {
    "": (None, "136053ac14dfe07e"),
    "data.name": ("photographs", NOTHING),
    "data.sha256": ("c" * 64, "ca5d6e80df0c4f95"),
    "data.both_sha256": ("c" * 64, NOTHING),
    "data.size": (64, NOTHING),
    "data.classes": (("c", "d"), NOTHING),
    "data.images": (200, NOTHING),
    "data.space": ("cifar10", NOTHING),
    "data.layout": ("class_folders", NOTHING),
    "data.passed_over": ({"hidden": 1}, NOTHING),
    "data.hash_kind": ("manifest", NOTHING),
    "backbone": ("resnet18:convs=2", "db09cbc045c743c0"),
    "method.name": ("bnn", "ff58a86d40e4505c"),
    "method.options": ({}, "46ff7755c9718ca1"),
    "method.regularizers": ({"lcr": {"weight": 0.5}, "distill": {}}, "7c9d5a524b3d6e6a"),
    "recipe.batch": (50, "653e33a9a75f88ff"),
    "recipe.optimizer": ("sgd:nesterov=false", "41f920453309c31a"),
    "recipe.lr": (0.1, "a4feb45b1c760d67"),
    "recipe.momentum": (0.8, "7a46b70b65619ece"),
    "recipe.weight_decay": (0.0, "9f592c470a8d9e44"),
    "recipe.decay": ("all", "69a743a9e7e4dc44"),
    "recipe.schedule": ("linear", "807b39506a0e8bc8"),
    "recipe.warmup": (0.0, "29a92d80ca651845"),
    "recipe.augmentation": ("none", "115ce2f0e64c844b"),
    "recipe.label_smoothing": (0.1, "4b025d9fce67e846"),
    "recipe.ema": (0.999, "2276af6a3aab5bf3"),
    "recipe.precision": ("bf16", "ea0cc503a35f4442"),
    "recipe.shards": (2, "9b539933774e871a"),
    "recipe.selection": (Recipe(selection="best", validation=20), "c43774643929c915"),
    "recipe.validation": (20, "d174944e3aeb2a25"),
    "recipe_of": ("paper", "d96673e4de2cdd75"),
    "budget.unit": ("compute", "5e00ce17c6ec92bc"),
    "budget.images": (1000, "371f1d2e586dd538"),
    "budget.epochs": (Budget(unit="epochs", epochs=2), "275f4f0fba8f8dd0"),
    "budget.seconds": (Budget(unit="seconds", seconds=2), "51044d696df302ca"),
    "tuning.trials": (8, "49adebb3ae74a704"),
    "tuning.images": (480_000, "8c7bc38a3ad1eafc"),
    "tuning.validation": (250, "9819c605bb5fd878"),
    "tuning.searched": ({}, "9875de741cbb2b61"),
    "tuning.accuracy": (0.5, NOTHING),
    "tuning.cpu": (1.0, NOTHING),
    "tuning.wall": (1.0, NOTHING),
    "seed": (1, "a9dcdfd3041ae8bc"),
}

OF_PROTOCOLS: dict[str, tuple[Any, str]] = {
    "": (None, "60815842ef43dd6e 8bdf5e3dc7d62e92"),
    "test.name": ("photographs", NOTHING),
    "test.sha256": ("c" * 64, "5e87cd381a3bfa51 3683b54565fb8134"),
    "test.size": (64, "45e17edf36300059 d8bc0b9ab6a04413"),
    "test.classes": (("c", "d"), NOTHING),
    "test.images": (60, NOTHING),
    "test.chosen": (None, "5951c4437a92fc51 8bdf5e3dc7d62e92"),
    "test.benchmark": ("ImageNet-C", NOTHING),
    "test.benchmark_sha256": ("b" * 64, "947efd0e006b4973 79d8c0d6a25072f2"),
    "test.published": (True, NOTHING),
    "test.hash_kind": ("manifest", NOTHING),
    "test.columns": ((1, 3), "c18eac8c0c72a150 8a029b26e3f52679"),
    "test.clean": (False, NOTHING),
    "corruptions": (("fog",), "3d78dd1efaa06b3c 8bdf5e3dc7d62e92"),
    "severities": ((1,), "a75ff35345266204 8bdf5e3dc7d62e92"),
    "seed": (1, "c370ae500ab2a77b 807351d93aa7bccb"),
    "block": (50, "72caf997dff88fd5 b4e3aa4e0e3af1ee"),
    "stream": ("another", "d603ffa0e6042013 9834c30d96f446b8"),
    "jpeg": (85, "d46c442688110079 5f12bc336769a8d5"),
    "preprocessing.resize": (232, "9603b0919fc43f69 6a9dd32c13f8fd80"),
    "preprocessing.crop": (192, "49500fc80cd53714 9a8ffbb01c2ef584"),
}

OF_NETWORKS: dict[str, tuple[Any, str]] = {
    "": (None, "5e86fc18edf26941"),
    "name": ("another", NOTHING),
    "weights_sha256": ("a" * 64, "f9f70abd39605675"),
    "model": ("torchvision:resnet18", NOTHING),
    "arguments": ({"width": 3}, "6a333292f8b809ee"),
    "code_sha256": ("a" * 64, "cda5a6ebbbdfa989"),
    "preprocess.size": (64, "2e7c1380c9889d4d"),
    "preprocess.resize": (256, NOTHING),
    "preprocess.interpolation": ("bicubic", "4ca14bfa0d70fff8"),
    "preprocess.antialias": (False, "c3fb7800226bfec4"),
    "preprocess.mean": ((0.4, 0.4, 0.4), "4264fc3200f783a9"),
    "preprocess.std": ((0.5, 0.5, 0.5), "d55743d5b3b750f6"),
    "preprocess.channels": ("BGR", "595bfb6d0c9d8e68"),
    "preprocess.range": ((0.0, 255.0), "696050ab2915c54a"),
    "preprocess.layout": ("NHWC", "aa588a2eb086c67e"),
    "preprocess.origin": ("timm", NOTHING),
    "outputs": ("probabilities", "9f0d134d7a1f9808"),
    "order": ("torchvision", "6b524ac6998c6ccd"),
    "order_sha256": ("a" * 64, "2cc79c612af048f6"),
    "gradient": ("exact", NOTHING),
    "layers": (True, NOTHING),
    "parameters": (10, NOTHING),
    "training_data": ("photographs", NOTHING),
    "links": ({"paper": "arXiv"}, NOTHING),
}


def ids(model: Frozen) -> str:
    """Return the ids that depend on a spec."""
    if isinstance(model, TrainSpec):
        return model.train_id
    if isinstance(model, Protocol):
        return f"{model.protocol_id} {evaluation_id(Subject(training='0' * 16), model)}"
    assert isinstance(model, External)
    return evaluation_id(Subject(external=model), PROTOCOL)


def changed(model: M, path: str, value: Any) -> M:
    """Return a spec with another value of a field; a whole part has the value and all that goes with it."""
    name, _, rest = path.partition(".")
    if rest and not (isinstance(value, Frozen) and "." not in rest):
        value = changed(getattr(model, name), rest, value)
    return type(model).model_validate(model.model_copy(update={name: value}).model_dump())


def fields(kind: type[Frozen]) -> Iterator[str]:
    """Yield the paths of all fields of a spec that may have another value, those of its parts in their place."""
    for name, field in kind.model_fields.items():
        if get_origin(field.annotation) is Literal and len(get_args(field.annotation)) == 1:
            continue
        parts = [t for t in (field.annotation, *get_args(field.annotation)) if isinstance(t, type)]
        inner = [t for t in parts if issubclass(t, Frozen)]
        yield from (f"{name}.{below}" for below in fields(inner[0])) if inner else (name,)


BASES = [(TRAINING, OF_TRAININGS), (PROTOCOL, OF_PROTOCOLS), (NETWORK, OF_NETWORKS)]
ROWS = [pytest.param(base, rows, path, id=path) for base, rows in BASES for path in rows if path]


@pytest.mark.parametrize(("base", "rows"), BASES)
def test_each_field_has_a_row(base: Frozen, rows: dict[str, tuple[Any, str]]) -> None:
    assert {*rows} == {"", *fields(type(base))}
    assert ids(base) == rows[""][1]


@pytest.mark.parametrize(("base", "rows", "path"), ROWS)
def test_golden_ids(base: Frozen, rows: dict[str, tuple[Any, str]], path: str) -> None:
    value, golden = rows[path]
    other = changed(base, path, value)
    assert other != base
    assert ids(other) == (golden or ids(base))
    if golden:
        assert golden != ids(base)
