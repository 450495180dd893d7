"""What `lcrbench lipschitz` prints and writes: lines, tables and figures, composed from the reports."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from lcrbench.bench.lipschitz.measure import Measured, Network
from lcrbench.bench.lipschitz.options import Options
from lcrbench.bench.records import env
from lcrbench.errors import UserError
from lcrbench.reports import figures, lipschitz_fidelity, lipschitz_tables, writers
from lcrbench.reports import lipschitz as reports
from lcrbench.reports.comparison import CLEAN, Key
from lcrbench.reports.lipschitz import Lipschitz
from lcrbench.reports.pictures import (
    lipschitz,
    lipschitz_layers,
    lipschitz_modulus,
    lipschitz_quantiles,
    lipschitz_slope,
)
from lcrbench.reports.pictures import lipschitz_fidelity as fidelity_picture
from lcrbench.reports.words import norm_text
from lcrbench.reports.writers import escape_markdown


def about(found: Sequence[Network], labels: dict[str, str], source: str | None, options: Options) -> list[str]:
    """Return what the written tables are about, as Markdown: the command, the time, the search, and each network."""

    lines = [
        f"`{env.command_line()}`, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC. Search: {options.effort}, seed {options.seed}.",
        "",
        "| Network | Column | Data | Images | Clean accuracy |",
        "|:--|:--|:--|--:|--:|",
    ]
    for one in found:
        name, record, test = one.name, one.record, len(one.dataset.test.labels)
        network, data, clean = name, Path(source or "fashion-mnist-10k").name, "not known"
        if record is not None:
            network = f"{record.spec.label}, seed {record.spec.seed}, run {record.run_id}"
        if record is not None and source is None:
            data = record.spec.data.name
            accuracy = [m.value for m in record.measurements if Key.of(m) == CLEAN]
            clean = f"{accuracy[0]:.1%}" if accuracy else clean
        cells = map(escape_markdown, (network, labels[name], data))
        lines.append(f"| {' | '.join(cells)} | {min(options.images, test)} of {test} | {clean} |")
    return [*lines, ""]


def lines(found: Lipschitz) -> list[str]:
    """Return what is printed: each network's figures, the orders, the effort and what it means."""

    told = []
    for row in found.rows:
        told.append(
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
            told.append(
                f"  {norm_text(figure.norm):3}{figure.radius_255:>5g}/255  kappa >= {kappa} flipped >= {flipped} "
                f"relative gain >= {gain}"
            )
        bound = row.estimate(Key("lipschitz_product", "surrogate", norm="l2"))
        if bound:
            told.append(f"  the surrogate (hardtanh for sign), another function: product bound {bound.value:.3g}")
    for v in found.verdicts:
        if v.figure.name == "relative_gain":
            continue
        if v.separated:
            worse = v.second if v.better is v.first else v.first
            scale, unit = (255, "/255") if v.figure.name == "flip_radius" else (1, "")
            low, high = sorted(abs(scale * end) for end in (v.gap.low or 0.0, v.gap.high or 0.0))
            told.append(
                f"{v.figure.words}: {v.better.label} is better than {worse.label} by {abs(scale * v.gap.value):.3g}{unit} "
                f"[{low:.3g}, {high:.3g}] in the median, n={v.gap.n}, p={v.p:.2g}"
            )
        else:
            told.append(f"{v.figure.words}: {v.first.label} and {v.second.label} are not separated ({v.why})")
    apart = reports.others(found)
    return [*told, *[apart] * bool(apart), reports.effort_note(found), lipschitz_tables.WHY]


def write(found: Lipschitz, measured: Sequence[Measured], about: Sequence[str], folder: Path) -> list[str]:
    """Write tables, figures and all measurements in place of those of an earlier comparison; return where."""

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
            for network, measurements, infos in measured:
                for m in measurements:
                    kind = infos[m.metric].kind(m.statistic)
                    rows.writerow((network.name, *(getattr(m, field) for field in what), kind.unit, kind.bound))
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror or error}") from error
    return [str(folder / "lipschitz.md")]
