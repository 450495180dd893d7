"""Measure how far trained networks' logits move, and compare."""

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
    from lcrbench.reports.lipschitz import Lipschitz

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


@click.command(epilog='Example: lcrbench lipschitz 3f2a 9c01 --l2 "2 8 128"')
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
def command(
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
    from lcrbench.bench.lipschitz import subjects
    from lcrbench.bench.lipschitz.options import preset as effort
    from lcrbench.bench.records import store as stores
    from lcrbench.reports import lipschitz as reports

    options = _options(effort(preset), l2, linf, images, seed)
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
    for line in [*_lines(found), *_write(found, networks, about, folder)]:
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


def _lines(found: Lipschitz) -> list[str]:
    """Return what is printed: each network's figures, the orders, the effort and what it means."""
    from lcrbench.reports import lipschitz as reports
    from lcrbench.reports import lipschitz_tables
    from lcrbench.reports.comparison import Key
    from lcrbench.reports.words import norm_text

    lines = []
    for row in found.rows:
        lines.append(
            f"{row.label}: Lipschitz constant {lipschitz_tables.constant(found, row).text or 'not bounded here'}"
        )
        for figure in found.figures:
            if figure.name != "kappa":
                continue
            cells = [
                row.estimate(Key(metric, statistic, norm=figure.norm, radius=figure.radius_255 / 255))
                for metric, statistic in (
                    ("lipschitz_kappa", "q50"),
                    ("lipschitz_kappa", "flipped"),
                    ("lipschitz_relative_gain", "q50"),
                )
            ]
            kappa, flipped, gain = (f"{c.value:<8.3g}" if c else "-       " for c in cells)
            lines.append(
                f"  {norm_text(figure.norm):3}{figure.radius_255:>5g}/255  kappa >= {kappa} flipped >= {flipped} "
                f"relative gain >= {gain}"
            )
        bound = row.estimate(Key("lipschitz_product", "surrogate", norm="l2"))
        if bound:
            lines.append(f"  the surrogate (hardtanh for sign), another function: product bound {bound.value:.3g}")
    for v in found.verdicts:
        if v.figure.name == "relative_gain":
            continue
        if v.separated:
            worse = v.second if v.better is v.first else v.first
            scale, unit = (255, "/255") if v.figure.name == "flip_radius" else (1, "")
            low, high = sorted(abs(scale * end) for end in (v.gap.low or 0.0, v.gap.high or 0.0))
            lines.append(
                f"{v.figure.words}: {v.better.label} is better than {worse.label} by {abs(scale * v.gap.value):.3g}{unit} "
                f"[{low:.3g}, {high:.3g}] in the median, n={v.gap.n}, p={v.p:.2g}"
            )
        else:
            lines.append(f"{v.figure.words}: {v.first.label} and {v.second.label} are not separated ({v.why})")
    apart = reports.others(found)
    return [*lines, *[apart] * bool(apart), reports.effort_note(found), lipschitz_tables.WHY]


def _write(found: Lipschitz, networks: Sequence[tuple[Any, ...]], about: Sequence[str], folder: Path) -> list[str]:
    """Write tables, figures and all measurements in place of those of an earlier comparison; return where."""
    import csv

    from lcrbench.reports import figures, lipschitz_fidelity, lipschitz_tables, writers
    from lcrbench.reports.pictures import (
        lipschitz,
        lipschitz_layers,
        lipschitz_modulus,
        lipschitz_quantiles,
        lipschitz_slope,
    )
    from lcrbench.reports.pictures import lipschitz_fidelity as fidelity_picture

    made = [*lipschitz_tables.tables(found), *lipschitz_fidelity.tables(found)]
    drawings = (lipschitz, lipschitz_modulus, lipschitz_quantiles, lipschitz_slope, lipschitz_layers, fidelity_picture)
    pictures = [module.picture(found) for module in drawings]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in [module.__name__.rpartition(".")[2] for module in drawings] + list(lipschitz_tables.TABLES):
            for ending in (*(f".{kind}" for kind in figures.FORMATS), "_table.csv"):
                (folder / f"{name}{ending}").unlink(missing_ok=True)
        shown = [f"![{p.title}]({p.name}.png)\n\n{writers.prose_markdown(p.caption)}\n" for p in pictures if p]
        text = ["# Lipschitz measurement\n", *about, *map(writers.markdown, made), *shown]
        (folder / "lipschitz.md").write_text("\n".join(text), encoding="utf-8")
        for table in made:
            writers.frame(table).to_csv(folder / f"{table.name}_table.csv", index=False)
        for picture in pictures:
            if picture is not None:
                figures.save(picture, folder, figures.FORMATS)
        with (folder / "lipschitz.csv").open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file, lineterminator="\n")
            what = ("metric", "statistic", "layer", "norm", "radius", "value", "low", "high", "n", "interval")
            titles = ["radius_pixel_units" if field == "radius" else field for field in what]
            rows.writerow(("network", *titles, "unit", "bound"))
            for name, measurements, _, infos in networks:
                for m in measurements:
                    kind = infos[m.metric].kind(m.statistic)
                    rows.writerow((name, *(getattr(m, field) for field in what), kind.unit, kind.bound))
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror or error}") from error
    return [str(folder / "lipschitz.md")]


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
