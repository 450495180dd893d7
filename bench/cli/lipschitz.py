"""`lcrbench lipschitz`: measures how far the logits of trained networks move within a radius, and compares networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from lcrbench.errors import UserError, unknown

if TYPE_CHECKING:
    from pathlib import Path

    from lcrbench.bench.evaluation.inference import Subject
    from lcrbench.bench.records.record import Measurement, MetricInfo, Record

SEARCHED = ("modulus", "kappa", "relative_gain", "flip_radius", "slope", "shell")
# What describes layers comes first: it takes seconds, and a search is long.
LAYERED = (
    "norms",
    "product",
    "range",
    "proxy",
    "layer_gain",
    "probes",
    "first_layer",
    "first_flips",
    "gradients",
    "agreement",
)
COSTLY = ("clever", "smoothing")


@click.command(short_help="Measure how far trained networks' logits move, and compare.")
@click.argument("runs", nargs=-1)
@click.option("--store", default="lcrbench-runs", show_default=True, help="Folder that holds the runs.")
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="MODULE:FUNCTION",
    help="A network of your own: a function that returns a torch module from images (N, 3, H, W) in [0, 1] to logits.",
)
@click.option(
    "--data", "source", help="Images to measure on.  [default: those of the run; for a model fashion-mnist-10k]"
)
@click.option(
    "--size", type=click.IntRange(1, 1024), default=32, show_default=True, help="(--model) Image size in pixels."
)
@click.option("--preset", default="default", show_default=True, help="How hard to search: quick, default or full.")
@click.option("--l2", help='Radii in 1/255 pixel units: "2 8 128"; "" for none.  [default: the preset\'s]')
@click.option("--linf", help="Likewise for the linf norm.")
@click.option(
    "--images",
    type=click.IntRange(1),
    help="Number of test images; of what takes long for an image no more than 100 (proxy), 50 (smoothing), 20 (clever) "
    "or 16 (gains, probes).  [default: the preset's]",
)
@click.option("--seed", type=click.IntRange(0), help="Seed of all that is drawn.  [default: 0]")
@click.option("--also", multiple=True, metavar="METRIC", help="Also measure clever or smoothing, which take long.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:N, or auto.")
@click.option(
    "--out",
    help="Folder for figures, tables and the search's state; the records of runs lie in STORE/lipschitz in any case.  "
    "[default: STORE/lipschitz, without runs lcrbench-lipschitz]",
)
@click.option("--quiet", is_flag=True, help="Show no progress.")
def lipschitz(
    runs: tuple[str, ...],
    store: str,
    models: tuple[str, ...],
    source: str | None,
    size: int,
    preset: str,
    l2: str | None,
    linf: str | None,
    images: int | None,
    seed: int | None,
    also: tuple[str, ...],
    device: str,
    out: str | None,
    quiet: bool,
) -> None:
    """Measure RUNS (ids, or their beginnings), and write curves, tables by figure and by layer, and records.

    What is found at each radius is stored at once: the same command goes on where an interrupted one stopped. A search that
    looks harder than the quick one is made after it, and networks whose order only one of them finds are 'not separated'.
    The records of runs lie in STORE/lipschitz, and the next report of the store shows them. Figures and tables of an earlier
    comparison in the same folder are replaced.
    """
    from pathlib import Path

    from lcrbench.bench import device as devices
    from lcrbench.bench.lipschitz import search, subjects
    from lcrbench.bench.records import store as stores
    from lcrbench.reports import lipschitz as reports
    from lcrbench.reports.lipschitz import folder as write

    options = _options(search.preset(preset), l2, linf, images, seed)
    for name in also:
        if name not in COSTLY:
            raise unknown("metric for --also", name, COSTLY)
    if not runs and not models:
        raise UserError("name a run (see `lcrbench list runs`), or a model with --model MODULE:FUNCTION")
    device = devices.choose(device)
    devices.prepare(device)
    # Two beginnings may name one run: a network counted twice would be two seeds of its method.
    measured = {
        record.run_id: (record, s) for record, s in (subjects.of_run(store, run, source, device) for run in runs)
    }
    found_runs = list(measured.values())
    named: list[tuple[str, Record | None, Subject]] = [
        (f"{record.spec.label} seed {record.spec.seed} ({record.run_id[:8]})", record, subject)
        for record, subject in found_runs
    ]
    named += [
        (model, None, subjects.of_model(model, source or "fashion-mnist-10k", size, device))
        for model in dict.fromkeys(models)
    ]
    folder = Path(out) if out else Path(store, stores.LIPSCHITZ) if runs else Path("lcrbench-lipschitz")
    chosen = [f"lipschitz_{name}" for name in (*LAYERED, *also, *SEARCHED)]
    networks = []
    with _progress(len(options.efforts()), options, [name for name, _, _ in named], quiet) as (tell, tick):
        for name, record, subject in named:
            if options.images > len(subject.test.labels):
                tell(f"{name}: {options.images} images are asked for, and all {len(subject.test.labels)} are taken")
            measurements, infos = _measure(name, subject, options, chosen, folder, tell, tick)
            if record is not None and source is None:
                _keep(record, subject, options, measurements, infos, store, device)
            networks.append((name, measurements, subject.by_image, infos))
    labels = _labels(named)
    found = reports.of_networks([(labels[n[0]], n[1], n[2]) for n in networks])
    about = _about(named, labels, source, options)
    kept = [write.Network(name, measurements, infos) for name, measurements, _, infos in networks]
    for line in [*write.lines(found), str(write.write(found, kept, about, folder))]:
        click.echo(line)


def _about(
    named: Sequence[tuple[str, Record | None, Subject]], labels: dict[str, str], source: str | None, options: Any
) -> list[str]:
    """Return what the written tables are about, as Markdown: the command, the time, the search, and each network."""
    from datetime import UTC, datetime
    from pathlib import Path

    from lcrbench.bench.records import env
    from lcrbench.reports.comparison import CLEAN, Key
    from lcrbench.reports.writers import escape_markdown

    lines = [
        f"`{env.command_line()}`, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC. Search: {options.effort}, seed {options.seed}.",
        "",
        "| Network | Column | Data | Images | Clean accuracy |",
        "|:--|:--|:--|--:|--:|",
    ]
    for name, record, subject in named:
        network, data, clean = name, Path(source or "fashion-mnist-10k").name, "not known"
        if record is not None:
            network = f"{record.spec.label}, seed {record.spec.seed}, run {record.run_id}"
        if record is not None and source is None:
            data = record.spec.data.name
            found = [m.value for m in record.measurements if Key.of(m) == CLEAN]
            clean = f"{found[0]:.1%}" if found else clean
        cells = map(escape_markdown, (network, labels[name], data))
        test = len(subject.test.labels)
        lines.append(f"| {' | '.join(cells)} | {min(options.images, test)} of {test} | {clean} |")
    return [*lines, ""]


def _labels(named: Sequence[tuple[str, Record | None, Subject]]) -> dict[str, str]:
    """Return what each network is compared under: runs that differ in the seed alone are one method, by its label."""
    apart: dict[str, set[str]] = {}
    seeds: dict[str, list[int]] = {}
    for _, record, _ in named:
        if record is not None:
            spec = record.spec
            apart.setdefault(spec.label, set()).add(spec.model_dump_json(exclude={"seed", "metrics"}))
            seeds.setdefault(spec.label, []).append(spec.seed)
    labels = {}
    for name, record, _ in named:
        labels[name] = name
        if record is not None:
            label = record.spec.label
            alone = len(apart[label]) == 1 and len(set(seeds[label])) == len(seeds[label])
            labels[name] = label if alone else f"{label} (seed {record.spec.seed}, {record.run_id[:8]})"
    return labels


def _measure(
    name: str,
    subject: Subject,
    options: Any,
    chosen: Sequence[str],
    folder: Path,
    tell: Callable[[str], None],
    tick: Callable[[int], None],
) -> tuple[list[Measurement], dict[str, MetricInfo]]:
    """Search by every effort, ball by ball, then measure everything: the search's metrics find its results remembered."""
    from lcrbench import registry
    from lcrbench.bench.lipschitz import stored

    try:
        for how in options.efforts():
            stored.modulus(subject, how, folder, lambda text: tell(f"{name}: {text}"), tick)
    except UserError as error:
        raise UserError(f"{name}: {error}") from error
    measurements, infos = [], {}
    for metric_name in chosen:
        metric = registry.load("metric", metric_name)
        if metric_name.removeprefix("lipschitz_") in COSTLY:
            tell(f"{name}: {metric_name} of {_of(metric, metric_name, options).images} images, which takes a while")
        measurements += list(metric.measure(subject, _of(metric, metric_name, options)))
        infos[metric_name] = metric.INFO
    reasons: dict[str, list[str]] = {}
    for metric_name, reason in subject.left_out.items():
        reasons.setdefault(reason, []).append(metric_name)
    for reason, names in reasons.items():
        tell(f"{name}: left out or incomplete: {', '.join(names)}: {reason}")
    return measurements, infos


def _of(metric: Any, name: str, options: Any) -> Any:
    """Return a metric's options: the search's, or its own with the search's images and seed.

    Metrics that take long for each image have fewer of their own, and get no more than the search.
    """
    import dataclasses

    if name.removeprefix("lipschitz_") in SEARCHED:
        return options
    own = metric.Options()
    given = {"seed": options.seed, "images": options.images}
    if name.removeprefix("lipschitz_") in ("proxy", "layer_gain", "probes", *COSTLY):
        given["images"] = min(options.images, getattr(own, "images", 0))
    return dataclasses.replace(own, **{k: v for k, v in given.items() if hasattr(own, k)})


def _keep(
    record: Record,
    subject: Subject,
    options: Any,
    measurements: Sequence[Measurement],
    infos: dict[str, MetricInfo],
    root: str,
    device: str,
) -> None:
    """Write what was measured of a run as a record of its own: that run's, with these metrics in place of its own."""
    import dataclasses

    from lcrbench import registry
    from lcrbench.bench import device as devices
    from lcrbench.bench.records import env, store
    from lcrbench.bench.records.spec import RunSpec

    given = {n: dataclasses.asdict(_of(registry.load("metric", n), n, options)) for n in infos}
    spec = RunSpec.model_validate(record.spec.model_dump() | {"metrics": given})
    planned = env.provenance(device, 1, env.command_line(), record.provenance.corruptions, deterministic=True)
    update = {
        "run_id": spec.run_id,
        "spec": spec,
        "metrics": infos,
        "measurements": tuple(measurements),
        "left_out": subject.left_out,
        "provenance": devices.describe(device, planned),
    }
    files = {store.BY_IMAGE: store.pack(subject.by_image)}
    target = store.Store(root).lipschitz(create=True)
    assert target is not None
    target.write(record.model_copy(update=update), files)


@contextmanager
def _progress(
    efforts: int, options: Any, names: Sequence[str], quiet: bool
) -> Iterator[tuple[Callable[[str], None], Callable[[int], None]]]:
    """Yield a function that tells a line, and one that counts passes: a bar with the time left in a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    console = Console(stderr=True, quiet=quiet)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal)
    total = len(names) * sum(how.passes for how in options.efforts())
    with bar:
        task = bar.add_task(f"searching {len(names)} networks by {efforts} efforts", total=total)

        def tell(text: str) -> None:
            console.print(text, highlight=False, markup=False, soft_wrap=True)

        try:
            yield tell, lambda passes: bar.advance(task, passes)
        except KeyboardInterrupt:
            tell("what was found so far is kept: the same command goes on from there")
            raise


def _options(options: Any, l2: str | None, linf: str | None, images: int | None, seed: int | None) -> Any:
    import dataclasses

    changes: dict[str, Any] = {}
    for name, text in (("l2", l2), ("linf", linf)):
        if text is not None:
            try:
                changes[name] = tuple(float(word) for word in text.replace(",", " ").split())
            except ValueError as error:
                raise UserError(f"--{name} takes numbers separated by spaces or commas, not '{text}'") from error
    changes |= {k: v for k, v in (("images", images), ("seed", seed)) if v is not None}
    return dataclasses.replace(options, **changes)
