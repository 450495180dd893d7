"""Plans a grid: the spec of each run, checked whole before anything is trained, and what of it a store lacks."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from lcrbench import corruptions, registry
from lcrbench.bench.data import degenerate, loading
from lcrbench.bench.data.arrays import Dataset
from lcrbench.bench.evaluation import known as known_of
from lcrbench.bench.evaluation import run as evaluation
from lcrbench.bench.evaluation import takeover
from lcrbench.bench.job import Job
from lcrbench.bench.metrics import by_default
from lcrbench.bench.records.budget import AMOUNT
from lcrbench.bench.records.grid import Evaluation as Shown
from lcrbench.bench.records.grid import Grid, Option, Options, checked
from lcrbench.bench.records.source import stale_training
from lcrbench.bench.records.spec import Cell, MethodId, RunSpec, TrainData, TrainSpec
from lcrbench.bench.records.store import Store
from lcrbench.bench.training import fits, parts, recipes
from lcrbench.bench.training.recipes import Own
from lcrbench.bench.training.run import allot
from lcrbench.bench.training.stream import held_out
from lcrbench.bench.worker import current, known
from lcrbench.corruptions.registered import Name
from lcrbench.errors import UserError, unknown
from lcrbench.models import network, parse


def plan(grid: Grid, dataset: Dataset) -> list[RunSpec]:
    """Return the specs of a grid's runs, seeds outermost.

    Raises `UserError` for any name, option or combination that does not exist or fit, before anything is trained.
    """
    check_data(dataset)
    data = TrainData(
        name=dataset.name,
        sha256=dataset.train_sha256,
        size=grid.data.size,
        classes=dataset.classes,
        images=len(dataset.train.labels),
        space=dataset.space,
        layout=dataset.layout,
        passed_over=dict(dataset.reasons),
        hash_kind=dataset.hash_kind,
    )
    shown = grid.evaluation.model_copy(update={"corruptions": expand(grid.evaluation.corruptions)})
    protocol = evaluation.protocol_of(dataset, grid.data.size, shown)
    metrics = {name: metric_options(name, given) for name, given in metrics_of(grid).items()}
    backbone = network.backbone_text(grid.backbone)
    chosen: dict[str, network.Choice] = {}
    trained: dict[str, Own] = {}

    def training(choice: network.Choice, seed: int) -> TrainSpec:
        own = trained[choice.label]
        return TrainSpec(
            data=data,
            backbone=backbone,
            method=method_id(choice),
            recipe=own.recipe,
            recipe_of=own.recipe_of,
            tuning=own.tuning,
            budget=grid.budget,
            seed=seed,
        )

    tuned = recipes.tuned(grid)
    for text in grid.methods:
        choice = network.choose(text)
        if choice.label in chosen:
            raise UserError(f"the method '{choice.label}' is named twice")
        chosen[choice.label] = choice
        own = trained[choice.label] = recipes.own(grid, choice, tuned.get(choice.label))
        held_out(dataset.train.labels, own.recipe.validation)
        _check_fit(text, choice, training(choice, 0))
    if len(set(grid.seeds)) != len(grid.seeds):
        raise UserError(f"a seed is named twice: {', '.join(map(str, grid.seeds))}")
    return [
        RunSpec(
            training=training(choice, seed),
            protocol=protocol,
            metrics=metrics,
        )
        for seed in grid.seeds
        for choice in chosen.values()
    ]


def check_data(dataset: Dataset) -> None:
    """Raise `UserError` for images from which nothing can be learned, or with which nothing can be told."""
    if why := degenerate.training(dataset):
        raise UserError(f"{dataset.name}: {why}")
    degenerate.check_shown(dataset.name, dataset.classes, dataset.test)


def method_id(choice: network.Choice) -> MethodId:
    """Return a method's identity: its label names the options that differ from their default."""
    parts = parse.read(choice.label)
    return MethodId(
        name=parts[0].name,
        options=dict(parts[0].options),
        regularizers={part.name: dict(part.options) for part in parts[1:]},
    )


def _check_fit(text: str, choice: network.Choice, spec: TrainSpec) -> None:
    """Raise `UserError` if a method, its regularizers, the backbone and the budget do not fit one another."""
    # Shapes alone: no weights are made for a network that is thrown away.
    with torch.device("meta"):
        made = network.body(choice, spec.backbone, len(spec.data.classes), spec.data.size)
    terms = network.attach(choice, made)
    for term in terms.values():
        term.detach()
    try:
        allot(spec, choice)
    except ValueError as error:
        raise UserError(f"budget.{AMOUNT[spec.budget.unit]}: '{text}' does not fit: {error}") from error
    fits.check(spec.recipe, choice, spec.backbone, len(spec.data.classes), spec.data.size)


def outside(grid: Grid) -> list[tuple[str, str]]:
    """Return the entries from outside that a grid names, each as its kind and name; what does not exist is left out.

    Raises `UserError` for text that has no form of a name, and for data that are not there.
    """
    named = [("backbone", parse.read(grid.backbone, "backbone")[0].name), ("source", loading.find(grid.data.source)[0])]
    for text in grid.methods:
        head, *terms = parse.read(text, "method")
        short = head.name not in registry.names("method") and head.name in registry.names("regularizer")
        named += [("regularizer" if short else "method", head.name), *(("regularizer", term.name) for term in terms)]
    for field, (kind, _) in parts.KINDS.items():
        texts = [getattr(grid.recipe, field), *(str(t.recipe[field]) for t in grid.tuned.values() if field in t.recipe)]
        named += [(kind, part.name) for text in texts for part in parse.read(text, f"recipe.{field}")]
    named += [("metric", name) for name in grid.metrics or ()]
    named += [("corruption", Name.read(name).module) for name in grid.evaluation.corruptions]
    return [(kind, name) for kind, name in dict.fromkeys(named) if registry.is_outside(kind, name)]


FEW = 6
"""So many metrics are named in a line of a plan."""


class Lacking(NamedTuple):
    """What a store lacks of a run, and what of it is stale, by part, with the reason.

    `answered` tells whether the store notes the run as one that was asked for and is finished: all parts of another may be
    there without it, in larger runs, or after an attempt that failed.
    """

    spec: RunSpec
    training: bool
    cells: list[Cell]
    metrics: list[str]
    stale: list[tuple[str, str]]
    answered: bool = False

    @property
    def nothing(self) -> bool:
        """Tell whether all of the run is there."""
        return self.answered and not (self.training or self.cells or self.metrics)

    @property
    def text(self) -> str:
        """Return in one line what is to be done, and what is there."""
        parts = ["train" if self.training else "trained"]
        cells = len(self.spec.protocol.cells)
        parts.append(f"evaluate {len(self.cells)} of {cells} cells" if self.cells else f"all {cells} cells evaluated")
        if self.metrics:
            every = len(self.metrics) == len(self.spec.metrics) > FEW
            parts.append(f"measure all {len(self.metrics)} metrics" if every else f"measure {', '.join(self.metrics)}")
        else:
            parts.append(f"all {len(self.spec.metrics)} metrics measured")
        stale = (
            f"; stale: {', '.join(dict.fromkeys(f'{part} ({why})' for part, why in self.stale))}" if self.stale else ""
        )
        return "; ".join(parts) + stale


def lacking(store: Store | None, job: Job, dataset: Dataset) -> Lacking:
    """Return what a store lacks for a job; under "redo" what is stale is lacking.

    A run of an older schema that would be taken over counts as there. Raises `Damaged` where a part of it is not what was
    written.
    """
    spec = job.spec
    everything = Lacking(spec, True, spec.protocol.cells, list(spec.metrics), [])
    if store is None:
        return everything
    training, found = current(store, job), known(store, spec)
    if training is None and not job.fresh and (old := takeover.find(store, spec, dataset)):
        made, same = old
        training = made.training
        found = known_of.Known(made.evaluation, made.predictions) if same else None
    if training is None:
        return everything
    stale = [("training", why)] if (why := stale_training(training)) else []
    if stale and job.stale == "redo":
        return everything
    if found is None or found.evaluation.weights_sha256 != training.weights_sha256:
        return Lacking(spec, False, spec.protocol.cells, list(spec.metrics), stale)
    stale += known_of.stale_parts(found.evaluation, spec.protocol, spec.metrics)
    if job.stale == "redo":
        found = known_of.without_stale(found, spec.protocol, spec.metrics)
    cells, metrics = known_of.missing(found, spec.protocol, spec.metrics, dataset.test_indices)
    answered = known_of.answered(found.evaluation, spec.protocol, spec.metrics)
    return Lacking(spec, False, cells, metrics, stale, answered)


def expand(named: Sequence[str]) -> tuple[str, ...]:
    """Replace groups such as "common" or "noise" by their corruptions; order and first mention are kept.

    Raises `UserError` for a name that is neither.
    """
    return corruptions.expand(named)


def shown_of(corruption_names: Sequence[str], severities: Sequence[int], seed: int, block: int) -> Shown:
    """Return what is shown, groups of corruptions replaced by their members."""
    names = expand(corruption_names)
    return checked(Shown, {"corruptions": names, "severities": tuple(severities), "seed": seed, "block": block})


def metrics_of(grid: Grid) -> dict[str, Options]:
    """Return the metrics that a grid names with the options given, or those of ours that are measured by default."""
    if grid.metrics is not None:
        return grid.metrics
    return {name: {} for name in registry.files("metric") if by_default(registry.load("metric", name))}


def metric_options(name: str, given: Options) -> Options:
    """Return every option of a metric with those given; raises `UserError` for one that does not exist or fit."""
    metric = registry.load("metric", name)
    defaults: dict[str, Any] = {f.name: f.default for f in dataclasses.fields(metric.Options)}
    for key, value in given.items():
        if key not in defaults:
            raise unknown(f"option of {name}", key, defaults)
        if not _alike(value, defaults[key]):
            raise UserError(f"metrics.{name}.{key}: give a value such as {_shown(defaults[key])}, not {_shown(value)}")
    try:
        return dataclasses.asdict(metric.Options(**given))
    except (TypeError, ValueError) as error:
        raise UserError(f"metrics.{name}: {error}") from error


def _alike(value: Option, default: Option) -> bool:
    """Tell whether an option's value is of its default's kind; a whole number will do for any other."""
    if isinstance(default, tuple):
        return isinstance(value, tuple) and all(_alike(v, default[0] if default else 0.0) for v in value)
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    return default is None or isinstance(value, (int, float) if isinstance(default, float) else type(default))


def _shown(value: Option) -> str:
    return json.dumps(value)
