"""Measures networks by every Lipschitz metric, as `lcrbench lipschitz` does, and keeps what was measured of runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lcrbench import registry
from lcrbench.bench import device as devices
from lcrbench.bench.evaluation.inference import Subject
from lcrbench.bench.lipschitz import stored, subjects
from lcrbench.bench.lipschitz.options import Options
from lcrbench.bench.metrics import Cost, cost
from lcrbench.bench.records import env, store
from lcrbench.bench.records.record import Measurement, MetricInfo, Record
from lcrbench.bench.records.spec import RunSpec
from lcrbench.errors import UserError, unknown

PHASE = "lipschitz"


class Network(NamedTuple):
    """A network to measure: its name in messages, and the record of the run that trained it, None for another's."""

    name: str
    record: Record | None
    subject: Subject


class Measured(NamedTuple):
    """What was measured of a network, and what each metric's numbers mean."""

    network: Network
    measurements: list[Measurement]
    infos: dict[str, MetricInfo]


def networks(
    runs: Iterable[str], models: Iterable[str], root: str, source: str | None, size: int, device: str
) -> list[Network]:
    """Return the networks of runs, by the beginnings of their ids, and of models, by MODULE:FUNCTION, each once.

    `source` names the images; None stands for those of the run. Raises `UserError` as `subjects` does.
    """
    # Two beginnings may name one run: a network counted twice would be two seeds of its method.
    trained = {r.run_id: (r, s) for r, s in (subjects.of_run(root, run, source, device) for run in runs)}
    found = [Network(f"{r.spec.label} seed {r.spec.seed} ({r.run_id[:8]})", r, s) for r, s in trained.values()]
    found += [
        Network(model, None, subjects.of_model(model, source or "fashion-mnist-10k", size, device))
        for model in dict.fromkeys(models)
    ]
    return found


def metrics(also: Sequence[str] = ()) -> list[str]:
    """Return the metrics to measure: all that describe movement, and of those on request what `also` names.

    `also` takes names with and without "lipschitz_". What describes layers comes first, what the search finds last.
    Raises `UserError` for a name that is no metric on request.
    """
    loaded = {name: registry.load("metric", name) for name in registry.names("metric")}
    loaded = {name: metric for name, metric in loaded.items() if metric.PHASE == PHASE}
    on_request = {_short(name): name for name, metric in loaded.items() if cost(metric) is Cost.ON_REQUEST}
    for name in also:
        if _short(name) not in on_request:
            raise unknown("metric for --also", name, on_request)
    asked = {on_request[_short(name)] for name in also}
    plain = [n for n, m in loaded.items() if cost(m) is not Cost.ON_REQUEST and not searched(m)]
    return [*plain, *sorted(asked), *(n for n, m in loaded.items() if searched(m))]


def searched(metric: Any) -> bool:
    """Return whether a metric's numbers come from the search that all such metrics share."""
    return metric.Options is Options


def _short(name: str) -> str:
    return name.removeprefix("lipschitz_")


def measure(
    network: Network,
    options: Options,
    names: Sequence[str],
    folder: Path,
    tell: Callable[[str], None] = lambda line: None,
    tick: Callable[[int], None] = lambda passes: None,
) -> Measured:
    """Search by every effort, ball by ball, then measure everything: the search's metrics find its results remembered.

    `folder` keeps the search's state. `tell` is given lines, `tick` the number of single images that passed through the
    network in the search.
    """
    name, _, subject = network
    if options.images > len(subject.test.labels):
        tell(f"{name}: {options.images} images are asked for, and all {len(subject.test.labels)} are taken")
    try:
        for how in options.efforts():
            stored.modulus(subject, how, folder, lambda line: tell(f"{name}: {line}"), tick)
    except UserError as error:
        raise UserError(f"{name}: {error}") from error
    measurements, infos = [], {}
    for metric_name in names:
        metric = registry.load("metric", metric_name)
        own = options_of(metric, options)
        if cost(metric) is Cost.ON_REQUEST:
            tell(f"{name}: {metric_name} of {own.images} images, which takes a while")
        measurements += list(metric.measure(subject, own))
        infos[metric_name] = metric.INFO
    reasons: dict[str, list[str]] = {}
    for metric_name, reason in subject.left_out.items():
        reasons.setdefault(reason, []).append(metric_name)
    for reason, names_ in reasons.items():
        tell(f"{name}: left out or incomplete: {', '.join(names_)}: {reason}")
    return Measured(network, measurements, infos)


def options_of(metric: Any, options: Options) -> Any:
    """Return a metric's options: the search's, or its own with the search's images and seed.

    Where each image takes long, the metric's own default is the most images that it gets.
    """
    if searched(metric):
        return options
    own = metric.Options()
    given = {"seed": options.seed, "images": options.images}
    if cost(metric) is not Cost.EACH_IMAGE_IS_CHEAP:
        given["images"] = min(options.images, getattr(own, "images", 0))
    return dataclasses.replace(own, **{k: v for k, v in given.items() if hasattr(own, k)})


def keep(measured: Measured, options: Options, root: str, device: str) -> None:
    """Write what was measured of a run as a record of its own: that run's, with these metrics in place of its own."""
    record, subject = measured.network.record, measured.network.subject
    assert record is not None
    given = {n: dataclasses.asdict(options_of(registry.load("metric", n), options)) for n in measured.infos}
    spec = RunSpec.model_validate(record.spec.model_dump() | {"metrics": given})
    planned = env.provenance(device, 1, env.command_line(), record.provenance.corruptions, deterministic=True)
    update = {
        "run_id": spec.run_id,
        "spec": spec,
        "metrics": measured.infos,
        "measurements": tuple(measured.measurements),
        "left_out": subject.left_out,
        "provenance": devices.describe(device, planned),
    }
    files = {store.BY_IMAGE: store.pack(subject.by_image)}
    target = store.Store(root).lipschitz(create=True)
    assert target is not None
    target.write(record.model_copy(update=update), files)


def labels(found: Sequence[Network]) -> dict[str, str]:
    """Return what each network is compared under: runs that differ in the seed alone are one method, by its label."""
    apart: dict[str, set[str]] = {}
    seeds: dict[str, list[int]] = {}
    for _, record, _ in found:
        if record is not None:
            spec = record.spec
            apart.setdefault(spec.label, set()).add(spec.model_dump_json(exclude={"seed", "metrics"}))
            seeds.setdefault(spec.label, []).append(spec.seed)
    names = {}
    for name, record, _ in found:
        names[name] = name
        if record is not None:
            label = record.spec.label
            alone = len(apart[label]) == 1 and len(set(seeds[label])) == len(seeds[label])
            names[name] = label if alone else f"{label} (seed {record.spec.seed}, {record.run_id[:8]})"
    return names
