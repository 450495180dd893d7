"""Measures networks by every Lipschitz metric, as `lcrbench lipschitz` does."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lcrbench import registry
from lcrbench.bench import device as devices
from lcrbench.bench.evaluation.engine import Choice, served
from lcrbench.bench.evaluation.known import Known, found_by
from lcrbench.bench.evaluation.run import evaluate
from lcrbench.bench.evaluation.subject import Subject
from lcrbench.bench.lipschitz import stored, subjects
from lcrbench.bench.lipschitz.options import Options
from lcrbench.bench.lipschitz.subjects import Network
from lcrbench.bench.metrics import Cost, cost
from lcrbench.bench.records import env
from lcrbench.bench.records.by_image import ByImage
from lcrbench.bench.records.lease import Held
from lcrbench.bench.records.measurement import Measurement, MetricInfo
from lcrbench.bench.records.spec import evaluation_id
from lcrbench.bench.records.store import Store
from lcrbench.errors import UserError, unknown


class Measured(NamedTuple):
    """What was measured of a network, what each metric's numbers mean, and the figures of single images."""

    network: Network
    measurements: list[Measurement]
    infos: dict[str, MetricInfo]
    by_image: ByImage
    left_out: dict[str, list[str]]
    """metrics that do not measure the network, or not all of it, by the reason"""

    @property
    def blind(self) -> bool:
        """Tell whether the search had no gradient to follow."""
        efforts = [key.effort for key in self.by_image if key.effort is not None and key.effort.passes is not None]
        return bool(efforts) and not any(effort.gradients for effort in efforts)


def networks(
    runs: Iterable[str],
    models: Iterable[str],
    root: str,
    source: str | None,
    size: int,
    device: str,
    *,
    trust_plugins: bool = False,
    engine: Choice = "auto",
) -> list[Network]:
    """Return the networks of runs, by the beginnings of their ids, and of models, by MODULE:FUNCTION, each once.

    `source` names the images; None stands for those of the run. Raises `UserError` as `subjects` does.
    """
    # Two beginnings may name one run: a network counted twice would be two seeds of its method.
    found = {}
    for run in runs:
        network = subjects.of_run(Store(root), run, source, device, trust_plugins=trust_plugins)
        found[network.name] = network
    for model in dict.fromkeys(models):
        found[model] = subjects.of_model(model, source or "fashion-mnist-10k", size, device)
    return [n._replace(looked=dataclasses.replace(n.looked, engine=engine)) for n in found.values()]


def metrics(also: Sequence[str] = ()) -> list[str]:
    """Return the metrics to measure: all that describe movement, and of those on request what `also` names.

    `also` takes names with and without "lipschitz_". What describes layers comes first, what the search finds last.
    Raises `UserError` for a name that is no metric on request.
    """
    loaded = {name: registry.load("metric", name) for name in registry.names("metric")}
    loaded = {name: metric for name, metric in loaded.items() if metric.INFO.lipschitz}
    on_request = {_short(name): name for name, metric in loaded.items() if cost(metric) is Cost.ON_REQUEST}
    for name in also:
        if _short(name) not in on_request:
            raise unknown("metric for --also", name, on_request)
    asked = {on_request[_short(name)] for name in also}
    plain = [n for n, m in loaded.items() if cost(m) is not Cost.ON_REQUEST and not searched(m)]
    return [*plain, *sorted(asked), *(n for n, m in loaded.items() if searched(m))]


def searched(metric: Any) -> bool:
    """Return whether a metric's numbers come from the search that all such metrics share."""
    return bool(metric.INFO.searched)


def _short(name: str) -> str:
    return name.removeprefix("lipschitz_")


def measure(
    network: Network,
    options: Options,
    names: Sequence[str],
    folder: Path,
    store: Store | None = None,
    *,
    device: str = "cpu",
    tell: Callable[[str], None] = lambda line: None,
    tick: Callable[[int], None] = lambda passes: None,
) -> Measured:
    """Measure what is quick, search round by round, then the rest: the search's metrics find its results remembered.

    What was measured of this network already, with the same options, is not measured again. `folder` keeps the search's
    state; `store` what was measured of a run. `tell` is given lines, `tick` the number of single images that passed through
    the network in the search.
    """
    name, test = network.name, network.dataset.test
    if options.images > len(test.labels):
        tell(f"{name}: {options.images} images are asked for, and all {len(test.labels)} are taken")
    modules = {metric: registry.load("metric", metric) for metric in names}
    given = {metric: dataclasses.asdict(options_of(module, options)) for metric, module in modules.items()}

    untold: dict[str, str] = {}
    told: set[str] = set()

    def leave(metric: str, reason: str) -> None:
        if metric not in told:
            told.add(metric)
            untold[metric] = reason

    def tell_reasons() -> None:
        for reason, of in _by_reason(untold).items():
            tell(f"{name}: left out or incomplete: {', '.join(of)}: {reason}")
        untold.clear()

    def search(subject: Subject) -> None:
        tell_reasons()  # before what takes long
        try:
            stored.modulus(subject, options, folder, lambda line: tell(f"{name}: {line}"), tick)
        except UserError as error:
            raise UserError(f"{name}: {error}") from error

    def watch(phase: str, done: int, total: int) -> None:
        if not done and phase in modules and cost(modules[phase]) is Cost.ON_REQUEST:
            images = f" of {given[phase]['images']} images" if "images" in given[phase] else ""
            tell(f"{name}: {phase}{images}, which takes a while")

    planned = env.provenance(device, 1, env.command_line(), {}, deterministic=True)

    def look(known: Known | None) -> Known:
        return evaluate(
            network.looked,
            network.dataset,
            network.protocol,
            given,
            devices.describe(device, planned),
            known=known,
            keep_stale=False,
            device=device,
            watch=watch,
            prepare=search,
            left=leave,
            show=False,
        )

    after = _kept(store, network, look) if store is not None and network.run_id else look(network.known)
    found, by_image = found_by(after, given, network.protocol)
    left_out = {m.metric: m.left_out for m in found if m.left_out}
    for metric, reason in left_out.items():
        leave(metric, reason)
    tell_reasons()
    infos = {m.metric: m.info for m in found if m.info is not None}
    return Measured(network, [n for m in found for n in m.measurements], infos, by_image, _by_reason(left_out))


def _by_reason(left_out: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the metrics of each reason, from the reason of each metric."""
    grouped: dict[str, list[str]] = {}
    for metric, reason in left_out.items():
        grouped.setdefault(reason, []).append(metric)
    return grouped


def decided(
    one: Measured,
    options: Options,
    names: Sequence[str],
    folder: Path,
    *,
    device: str = "cpu",
    tell: Callable[[str], None] = lambda line: None,
    tick: Callable[[int], None] = lambda passes: None,
) -> Measured:
    """Return a measurement with the figures that a search by decisions alone finds, besides those it has.

    A network that gives no gradient is compared with others by these. They stay out of the store.
    """
    network = one.network
    looked = network.looked
    subject = served(looked.network, network.dataset.test, network.protocol.block, device, looked.engine)
    options = dataclasses.replace(options, gradients=False)
    stored.modulus(subject, options, folder, lambda line: tell(f"{network.name}, without gradients: {line}"), tick)
    for name in names:
        metric = registry.load("metric", name)
        if searched(metric) and metric.INFO.ranking is not None:
            list(metric.measure(subject, options))
    return one._replace(by_image=subject.by_image | one.by_image)


def _kept(store: Store, network: Network, look: Callable[[Known | None], Known]) -> Known:
    """Return what `look` finds of the network of a run, kept in the store; no other process adds to it meanwhile."""
    name = evaluation_id(network.looked.subject, network.protocol)
    try:
        with store.held(name):
            # Read again: a run may have added to it since the network was loaded.
            stored = store.known(name)
            before = Known(*stored) if stored else None
            after = look(before)
            if before is None or after.evaluation != before.evaluation:
                store.evaluations.write(name, after.evaluation, after.files)
            return after
    except Held:
        raise UserError(f"{network.name}: another process evaluates it: wait for it, then try again") from None


def options_of(metric: Any, options: Options) -> Any:
    """Return a metric's options: the search's, or its own with the search's images and seed.

    Where each image takes long, the metric's own default is the most images that it gets.
    """
    if searched(metric):
        return options
    own = metric.Options()
    known = dataclasses.asdict(own)
    given = {"seed": options.seed, "images": options.images}
    if cost(metric) is not Cost.EACH_IMAGE_IS_CHEAP:
        given["images"] = min(options.images, known.get("images", options.images))
    return dataclasses.replace(own, **{k: v for k, v in given.items() if k in known})


def labels(found: Sequence[Network]) -> dict[str, str]:
    """Return what each network is compared under: runs that differ in the seed alone are one method, by its label."""
    apart: dict[str, set[str]] = {}
    seeds: dict[str, list[int]] = {}
    for network in found:
        if network.record is not None:
            spec = network.record.trained
            same = spec.training.model_copy(update={"seed": 0}).train_id + spec.protocol.protocol_id
            apart.setdefault(spec.label, set()).add(same)
            seeds.setdefault(spec.label, []).append(spec.seed)
    names = {}
    for network in found:
        names[network.name] = network.name
        if (record := network.record) is not None:
            label = record.spec.label
            alone = len(apart[label]) == 1 and len(set(seeds[label])) == len(seeds[label])
            names[network.name] = label if alone else f"{label} (seed {record.spec.seed}, {record.run_id[:8]})"
    return names
