"""Draw one figure for a paper: curves, a heat map, accuracy against operations, ..."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from lcrbench.bench.cli import FOLDER, say
from lcrbench.errors import UserError, unknown

SHORT = {"curves": "corruption_curves", "pareto": "accuracy_operations", "ranks": "critical_difference"}
"""Names for those that are asked for most; any other figure goes by its own."""
WIDTHS = {"single": 3.35, "double": 6.9}
"""Inches of a column, and of both, in the templates of the field's conferences."""


@click.command(epilog="Example: lcrbench plot lcrbench-runs curves --width single --font 8")
@click.argument("store", type=FOLDER)
@click.argument("figure")
@click.option("--width", type=click.Choice([*WIDTHS]), default="double", show_default=True, help="One column, or both.")
@click.option("--font", type=click.FloatRange(5, 14), default=8.0, show_default=True, help="Points of the letters.")
@click.option("--methods", default="", help='Only these methods, in this order: "irnet irnet+lcr".')
@click.option(
    "--corruptions",
    default="",
    help='(curves, heatmap) Corruptions or groups: "fog noise". For curves also "mean".  [default: mean; all for heatmap]',
)
@click.option(
    "--band",
    type=click.Choice(["seeds", "se", "ci", "none"]),
    default="seeds",
    show_default=True,
    help="Around a mean over seeds: their range, the standard error, the 95 % interval, or nothing.",
)
@click.option("--caption/--no-caption", default=True, help="Whether title and caption stand in the file.")
@click.option("--setting", type=click.IntRange(1), default=1, show_default=True, help="Which setting of the store.")
@click.option("--format", "forms", default="pdf png svg", show_default=True, help="Some of pdf, png and svg.")
@click.option("--out", type=FOLDER, default=".", show_default=True, help="Folder to write.")
def command(
    store: str,
    figure: str,
    width: str,
    font: float,
    methods: str,
    corruptions: str,
    band: Literal["seeds", "se", "ci", "none"],
    caption: bool,
    setting: int,
    forms: str,
    out: str,
) -> None:
    """Draw FIGURE of the runs in STORE as PDF, PNG and SVG, in the width and the letters of a paper.

    FIGURE is curves, heatmap, pareto, seeds, ranks, or any other figure of `lcrbench list figures`.
    """
    from lcrbench import registry
    from lcrbench.bench.records.store import Store
    from lcrbench.reports import entries
    from lcrbench.reports.context import Options
    from lcrbench.reports.paper import of_store
    from lcrbench.reports.rendering import FORMATS, Print, save

    name = SHORT.get(figure, figure)
    if name not in registry.names("figure") and "." not in name:
        raise unknown("figure", figure, [*SHORT, *registry.names("figure")])
    entry = entries.entry(
        "figure", name.rpartition(".")[2], registry.load("figure", name), own=name in registry.files("figure")
    )
    wanted = forms.replace(",", " ").split()
    if lacking := [form for form in wanted if form not in FORMATS]:
        raise unknown("format", lacking[0], FORMATS)
    default = "mean" if name == "corruption_curves" else ""
    context = of_store.context_of(
        Store(store),
        methods.split(),
        setting,
        searched=entry.section == "lipschitz",
        options=Options(corruptions=of_store.corruptions_of(corruptions or default)),
    )
    picture = entries.picture_of(entry, context)
    if picture is None:
        why = f": it needs {entry.needs}" if entry.needs else ""
        raise UserError(f"there is nothing to draw for '{figure}' in {context.setting.title}{why}")
    try:
        Path(out).mkdir(parents=True, exist_ok=True)
        names = save(
            picture,
            Path(out),
            wanted,
            Print(WIDTHS[width], font, band, caption),
            entry.name if "." in figure else figure,
        )
    except OSError as error:
        raise UserError(f"cannot write to {out}: {error.strerror or error}") from error
    for written in names:
        say(f"figure: {Path(out) / written}")
