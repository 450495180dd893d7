"""Evaluates a network from outside: loaded, checked, shown what is asked for, and measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Literal, NamedTuple

from lcrbench import registry
from lcrbench.bench import planning
from lcrbench.bench.data import degenerate
from lcrbench.bench.evaluation import known as known_of
from lcrbench.bench.evaluation.benchmarks import Other
from lcrbench.bench.evaluation.cells import Cells
from lcrbench.bench.evaluation.engine import Choice
from lcrbench.bench.evaluation.known import Known
from lcrbench.bench.evaluation.on_request import Watch, of_network
from lcrbench.bench.evaluation.run import protocol_of
from lcrbench.bench.evaluation.test_sets import open_set
from lcrbench.bench.lipschitz import measure
from lcrbench.bench.lipschitz.options import of_effort
from lcrbench.bench.networks import checks as checks_of
from lcrbench.bench.networks.checks import Finding
from lcrbench.bench.networks.foreign import Declared, Model, Ready, opened, ready, wnids_of
from lcrbench.bench.networks.images import Images, load_images
from lcrbench.bench.records.grid import Evaluation as Shown
from lcrbench.bench.records.grid import Options
from lcrbench.bench.records.spec import Protocol, evaluation_id
from lcrbench.bench.records.store import Store
from lcrbench.errors import UserError

Stale = Literal["refuse", "redo", "keep"]
DATA = "fashion-mnist-10k"
METRICS = ("accuracy", "corruption_error", "calibration_error")


@dataclass(frozen=True)
class Asked:
    """What networks from outside are shown, and how. `shown` None stands for no cells but those of test sets."""

    shown: Shown | None
    metrics: Mapping[str, Options]
    data: str = DATA
    test_sets: Sequence[str] = ()
    size: int | None = None
    resize: int | None = None
    test: int | None = None
    device: str = "cpu"
    stale: Stale = "refuse"
    checks: bool = True
    engine: Choice = "auto"


@dataclass(frozen=True)
class Answer:
    """What is known of a network under one protocol by then."""

    known: Known
    protocol: Protocol
    metrics: Mapping[str, Options]


@dataclass
class Evaluated:
    """A network from outside, what the checks found, and its answers, one for each protocol."""

    ready: Ready
    findings: list[Finding] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)


class Prepared(NamedTuple):
    """A network that is ready for its images."""

    ready: Ready
    images: Images


def prepare(model: Model, declared: Declared, asked: Asked) -> Prepared:
    """Load a network and its images; raises `UserError` where there is none, or the two do not fit."""
    foreign = opened(model, declared)
    images = load_images(asked.data, foreign.how, size=asked.size, resize=asked.resize, test=asked.test)
    degenerate.check_shown(images.dataset.name, images.dataset.classes, images.dataset.test)
    return Prepared(ready(foreign, images.dataset, asked.device), images)


def evaluate(
    model: Model,
    declared: Declared,
    asked: Asked,
    store: Store | None = None,
    *,
    watch: Watch = lambda phase, done, total: None,
    tell: Callable[[Finding], None] = lambda finding: None,
) -> Evaluated:
    """Show a network from outside what is asked for, and measure it; with a store, keep there what is found.

    The checks run first, unless the store has all answers already, and `tell` is given each finding. Raises `UserError` for
    what does not exist or fit, and `Held` if another process evaluates the network.
    """
    network, images = prepare(model, declared, asked)
    block = asked.shown.block if asked.shown else 100
    others = [open_set(text, images.dataset, images.size, block) for text in asked.test_sets]
    if asked.shown is not None:
        protocol = protocol_of(images.dataset, images.size, asked.shown, images.sha256)
        others.insert(0, Other(images.dataset, protocol, Cells()))
    found = Evaluated(network)

    def note(finding: Finding) -> None:
        found.findings.append(finding)
        tell(finding)

    for line in (*images.notes, *(line for other in others for line in other.notes)):
        note(Finding(True, "told", line))
    if asked.checks and not all(_answered(store, network, other.protocol, _of(asked, other)) for other in others):
        shown = sum(len(other.protocol.cells) * other.protocol.test.count for other in others)
        for finding in checks_of.checks(
            network,
            images.dataset,
            images=checks_of.number(shown),
            device=asked.device,
            files=wnids_of(asked.data),
        ):
            note(finding)
    for other in others:
        metrics = _of(asked, other)
        known = of_network(
            replace(network.looked, engine=asked.engine),
            other.dataset,
            other.protocol,
            metrics,
            store=store,
            device=asked.device,
            stale=asked.stale,
            watch=watch,
            cells=other.cells,
        )
        found.answers.append(Answer(known, other.protocol, metrics))
    return found


def with_lipschitz(metrics: Mapping[str, Options], effort: str | None) -> dict[str, Options]:
    """Return metrics with those that describe how far the logits move, at an effort. Refuses to measure none."""
    if effort is None:
        if not metrics:
            raise UserError("no metric is named: name at least one, such as accuracy (`lcrbench list metrics`)")
        return dict(metrics)
    asked = of_effort(effort)
    added = {n: asdict(measure.options_of(registry.load("metric", n), asked)) for n in measure.metrics()}
    return {**metrics, **added}


def _of(asked: Asked, other: Other) -> dict[str, Options]:
    """Return the metrics for a protocol: without cells there is no corruption error, and calibration needs all classes."""
    metrics = dict(asked.metrics)
    if not other.protocol.corruptions:
        metrics.pop("corruption_error", None)
    if other.protocol.test.columns:
        metrics = {k: v for k, v in metrics.items() if k == "accuracy"}
    return metrics


def _answered(store: Store | None, network: Ready, protocol: Protocol, metrics: Mapping[str, Options]) -> bool:
    """Tell whether a store has all that a protocol asks of a network."""
    if store is None:
        return False
    name = evaluation_id(network.looked.subject, protocol)
    if name not in store.evaluations:
        return False
    return known_of.answered(store.evaluations.record(name), protocol, metrics)


def options_of(metrics: Mapping[str, Options]) -> dict[str, Options]:
    """Return every option of each metric, those that are given and the defaults of the others."""
    return {name: planning.metric_options(name, dict(given)) for name, given in metrics.items()}
