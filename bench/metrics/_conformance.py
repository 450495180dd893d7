"""Whether a module is a metric as the contract in `lcrbench.bench.metrics` says, tried on a tiny random network."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import torch

from lcrbench.bench.data.arrays import Split
from lcrbench.bench.evaluation.inference import logits
from lcrbench.bench.evaluation.subject import Subject
from lcrbench.bench.lipschitz.options import Options as SearchOptions
from lcrbench.bench.metrics import Cost, Need
from lcrbench.bench.records.measurement import Measurement, MetricInfo
from lcrbench.bench.records.spec import CLEAN, Cell
from lcrbench.models import network as networks
from lcrbench.testing import misspelt, own_names, raised

PARTS = ("INFO", "NEEDS", "Options", "measure")
MAY = ("COST", "BY_DEFAULT")
IMAGES, SIZE, CLASSES = 12, 16, 4
CORRUPTIONS, SEVERITIES = ("gaussian_noise", "fog"), (1, 3)


def check(module: ModuleType, name: str = "") -> list[str]:
    """Return what is wrong with a metric's module, one line each; nothing for a metric that keeps the contract.

    `measure` is called with the options' defaults, with at most 12 images and a search's shortest effort. Its measurements
    are called as the module's file, under whatever `name` the metric is asked for.
    """
    missing = [f"{part} is missing" for part in PARTS if not hasattr(module, part)]
    if missing:
        return missing
    found = [*misspelt((*PARTS, *MAY), own_names(module)), *_declared(module)]
    return found or [*_measured(module)]


def _declared(module: Any) -> Iterator[str]:
    """Yield what is wrong with the parts that are no functions."""
    if not isinstance(module.INFO, MetricInfo):
        yield f"INFO is a MetricInfo, not {type(module.INFO).__name__}"
    elif not module.INFO.unit:
        yield "INFO has no unit"
    elif not module.INFO.summary or "\n" in module.INFO.summary:
        yield "INFO.summary is one line: begin the module's docstring with it"
    elif module.INFO.searched != (module.Options is SearchOptions):
        yield "INFO.searched and Options do not fit: a metric of the search takes lcrbench.bench.lipschitz.options.Options"
    if "PHASE" in vars(module):
        yield "PHASE is a field of INFO now: MetricInfo.about(..., phase=...)"
    if not isinstance(module.NEEDS, frozenset) or not all(isinstance(need, Need) for need in module.NEEDS):
        yield "NEEDS is a frozenset of lcrbench.bench.metrics.Need"
    if (stated := getattr(module, "COST", None)) is not None and not isinstance(stated, Cost):
        yield f"COST is a lcrbench.bench.metrics.Cost, not {stated!r}"
    if (stated := getattr(module, "BY_DEFAULT", False)) not in (True, False):
        yield f"BY_DEFAULT is True or False, not {stated!r}"
    options = module.Options
    if not (isinstance(options, type) and dataclasses.is_dataclass(options)):
        yield "Options is a dataclass"
        return
    if not options.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        yield "Options is a frozen dataclass: write @dataclass(frozen=True)"
    bare = [
        f.name
        for f in dataclasses.fields(options)
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    yield from (f"the option '{name}' has no default" for name in bare)
    if not bare:
        for name, value in dataclasses.asdict(options()).items():
            if not isinstance(value, (bool, int, float, str, tuple)):
                yield f"the option '{name}' is a number, text, or a tuple of them, not {type(value).__name__}"
    if not callable(module.measure):
        yield "measure is no function"


def _measured(module: Any) -> Iterator[str]:
    """Yield what is wrong with the measurements of a tiny network."""
    name = module.__name__.rpartition(".")[2]
    subject = _subject()
    options = module.Options()
    if hasattr(options, "images"):
        options = dataclasses.replace(options, images=IMAGES)
    if isinstance(options, SearchOptions):
        options = dataclasses.replace(options, effort="trial")
    try:
        measurements = [*module.measure(subject, options)]
    except Exception as error:  # a plug-in's code may raise anything
        yield f"measure raises {raised(error)}"
        return
    if not measurements and name not in subject.left_out:
        yield "measure yields nothing, and calls no subject.leave_out(name, reason)"
    wrong: dict[str, None] = {}
    for m in measurements:
        if not isinstance(m, Measurement):
            wrong[f"measure yields Measurement, not {type(m).__name__}"] = None
            continue
        if m.metric != name:
            wrong[f"measure yields a measurement of '{m.metric}', not of '{name}'"] = None
        if m.n < 1:
            wrong[f"a measurement rests on n = {m.n} units, not on one at least"] = None
        numbers = {"value": m.value, "low": m.low, "high": m.high}
        for field, value in numbers.items():
            if value is not None and not math.isfinite(value):
                wrong[f"a measurement's {field} is {value}, not finite"] = None
        if (m.low is not None and m.low > m.value + 1e-9) or (m.high is not None and m.high < m.value - 1e-9):
            wrong[f"a measurement's value {m.value:g} lies outside its interval [{m.low:g}, {m.high:g}]"] = None
    yield from wrong


def _subject() -> Subject:
    """Return an untrained network of signs, random images with labels, and outcomes drawn by chance."""
    random = np.random.default_rng(0)
    network = networks.build(
        networks.choose("irnet"),
        "vgg_tiny",
        CLASSES,
        SIZE,
        [0.5] * 3,
        [0.25] * 3,
        lambda name: torch.Generator().manual_seed(0),
    )
    images = random.integers(0, 256, (IMAGES, SIZE, SIZE, 3), dtype=np.uint8)
    cells = [CLEAN, *(Cell(c, s) for c in CORRUPTIONS for s in SEVERITIES)]
    test = Split(images, np.arange(IMAGES) % CLASSES)
    outcomes = {cell: random.random(IMAGES) < 0.6 for cell in cells}
    classes = {
        c: np.where(right, test.labels, (test.labels + 1) % CLASSES).astype(np.int16) for c, right in outcomes.items()
    }
    network.eval()
    clean = logits(network, images, IMAGES)
    return Subject(network, test, IMAGES, outcomes, clean, classes=classes)
