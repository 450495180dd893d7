"""Measure how far trained networks' logits move, and compare."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lcrbench.bench.cli import FOLDER, engine_option, say, store_option
from lcrbench.errors import UserError

if TYPE_CHECKING:
    from lcrbench.bench.evaluation.engine import Choice
    from lcrbench.bench.lipschitz.options import Options


@click.command(epilog='Example: lcrbench lipschitz 3f2a 9c01 --l2 "2 8 128"')
@click.argument("runs", nargs=-1)
@store_option
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
@click.option(
    "--effort",
    default="default",
    show_default=True,
    help="How hard to search: quick (600 passes an image), default (2,400) or full (9,600), the same for every network.",
)
@click.option("--l2", help='Radii in 1/255 pixel units: "2 8 128"; "" for none.  [default: the effort\'s]')
@click.option("--linf", help="Likewise for the linf norm.")
@click.option(
    "--images",
    type=click.IntRange(1),
    help="Number of test images; a metric that takes long for an image gets no more than its own option `images` has by "
    "default.  [default: the effort's]",
)
@click.option("--seed", type=click.IntRange(0), help="Seed of all that is drawn.  [default: 0]")
@click.option(
    "--also",
    multiple=True,
    metavar="METRIC",
    help="Also measure a metric that is measured on request alone; a wrong name lists them.",
)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:N, or auto.")
@engine_option
@click.option(
    "--out",
    type=FOLDER,
    help="Folder for figures, tables and the search's state; what was measured of runs is kept in STORE in any case.  "
    "[default: STORE/lipschitz, without runs lcrbench-lipschitz]",
)
@click.option("--trust-plugins", is_flag=True, help="Run the code of import paths that a run's record names.")
@click.option("--quiet", is_flag=True, help="Show no progress.")
def command(
    runs: tuple[str, ...],
    store: str,
    models: tuple[str, ...],
    source: str | None,
    size: int,
    effort: str,
    l2: str | None,
    linf: str | None,
    images: int | None,
    seed: int | None,
    also: tuple[str, ...],
    device: str,
    engine: Choice,
    out: str | None,
    trust_plugins: bool,
    quiet: bool,
) -> None:
    """Measure RUNS (ids, or their beginnings), and write curves, tables by figure and by layer, and records.

    What a round of the search finds is stored at once: the same command, or one with a larger effort, goes on from there.
    An order of networks counts if a quarter of the passes finds it too, and if more passes would hardly move the figures.
    What was measured of runs is kept with their evaluation in STORE, and the next report shows it. Figures and tables of an
    earlier comparison in the same folder are replaced.
    """
    from lcrbench.bench import device as devices
    from lcrbench.bench.cli._lipschitz_report import about
    from lcrbench.bench.lipschitz import measure
    from lcrbench.bench.lipschitz.options import EFFORTS, of_effort
    from lcrbench.bench.progress import bar
    from lcrbench.bench.records.store import Store
    from lcrbench.reports import lipschitz as reports
    from lcrbench.reports.lipschitz import folder as written

    options = _options(of_effort(effort), l2, linf, images, seed)
    metrics = measure.metrics(also)
    if not runs and not models:
        raise UserError("name a run (see `lcrbench list runs`), or a model with --model MODULE:FUNCTION")
    device = devices.choose(device)
    devices.prepare(device)
    networks = measure.networks(runs, models, store, source, size, device, trust_plugins=trust_plugins, engine=engine)
    target = Store(store) if runs else None
    folder = Path(out) if out else Path(store, "lipschitz") if runs else Path("lcrbench-lipschitz")
    # Before the search, which may take hours.
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror or error}") from error
    what = f"searching {len(networks)} networks, {EFFORTS[effort]:,} passes an image"
    measured = []
    with bar(len(networks) * options.passes, what, quiet, unit="passes") as shown:
        try:
            for network in networks:
                one = measure.measure(
                    network, options, metrics, folder, target, device=device, tell=shown.tell, tick=shown.advance
                )
                measured.append(one)
            if any(m.blind for m in measured):
                seeing = [k for k, m in enumerate(measured) if not m.blind and options.gradients]
                if seeing:
                    shown.tell(
                        f"a network gives no gradient: the {len(seeing)} others are searched without theirs, too"
                    )
                shown.extend(len(seeing) * options.passes)
                for k in seeing:
                    measured[k] = measure.decided(
                        measured[k], options, metrics, folder, device=device, tell=shown.tell, tick=shown.advance
                    )
        except KeyboardInterrupt:
            shown.tell("what was found so far is kept: the same command goes on from there")
            raise
    labels = measure.labels(networks)
    found = reports.of_networks(
        [
            reports.Alone(labels[m.network.name], m.measurements, m.by_image, m.infos, signs=m.network.has_signs)
            for m in measured
        ]
    )
    told = about(networks, labels, source, options, {m.network.name: m.left_out for m in measured})
    shown_as = [written.Network(m.network.name, m.measurements, m.infos) for m in measured]
    for line in [*written.lines(found), str(written.write(found, shown_as, told, folder))]:
        say(line)


def _options(options: Options, l2: str | None, linf: str | None, images: int | None, seed: int | None) -> Options:
    """Return the options of an effort with what was given on the command line."""
    changes: dict[str, Any] = {}
    for name, text in (("l2", l2), ("linf", linf)):
        if text is not None:
            try:
                changes[name] = tuple(float(word) for word in text.replace(",", " ").split())
            except ValueError as error:
                raise UserError(
                    f"--{name} takes radii in 1/255, numbers separated by spaces or commas (8 for 8/255), not '{text}'"
                ) from error
    changes |= {k: v for k, v in (("images", images), ("seed", seed)) if v is not None}
    return dataclasses.replace(options, **changes)
