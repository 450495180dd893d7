"""What `lcrbench lipschitz` prints and writes of networks that need no report: figures, tables, and all measurements."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from lcrbench.bench.records.measurement import Detail, Measurement, MetricInfo
from lcrbench.bench.records.statistics import Function, Statistic
from lcrbench.errors import UserError
from lcrbench.reports import entries, spreadsheet, writers
from lcrbench.reports.comparison import Key, Setting
from lcrbench.reports.context import Context
from lcrbench.reports.folder import file_of
from lcrbench.reports.lipschitz import Lipschitz
from lcrbench.reports.table import Table
from lcrbench.reports.tables.lipschitz import constant
from lcrbench.reports.words import norm_text
from lcrbench.reports.words.lipschitz import (
    WHY,
    beside,
    blind_note,
    effort_note,
    figure_text,
    others,
    rank_note,
    uncompared_text,
    why_text,
)


class Network(NamedTuple):
    """A network that was measured: what it is called, its measurements, and what each metric's numbers mean."""

    name: str
    measurements: Sequence[Measurement]
    infos: Mapping[str, MetricInfo]


def alone(found: Lipschitz) -> Context:
    """Return what tables and figures of Lipschitz figures are made from, where there is no store to compare."""
    return Context(Setting(0, tuple(found.rows), None), lipschitz=found)


def tables(found: Lipschitz) -> list[Table]:
    """Return our tables of Lipschitz figures, as far as there is something in them."""
    made = [e for e in entries.found("table")[0] if e.own and e.section == "lipschitz"]
    return [table for e in made for table in entries.tables_of(e, alone(found))]


def write(found: Lipschitz, networks: Sequence[Network], about: Sequence[str], folder: Path) -> Path:
    """Write tables, figures and all measurements into a folder, in place of those of an earlier comparison.

    `about` are lines of Markdown that say what was measured. Returns the path of the tables, `lipschitz.md`; raises
    `UserError` where the folder cannot be written.
    """
    from lcrbench.reports import rendering  # matplotlib takes a second to import

    drawn = [e for e in entries.found("figure")[0] if e.own and e.section == "lipschitz"]
    made = tables(found)
    pictures = [p for e in drawn if (p := entries.picture_of(e, alone(found)))]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for e in [*drawn, *(e for e in entries.found("table")[0] if e.own and e.section == "lipschitz")]:
            for ending in (*(f".{kind}" for kind in rendering.FORMATS), "_table.csv"):
                (folder / f"{e.name}{ending}").unlink(missing_ok=True)
        shown = [f"![{p.title}]({p.name}.png)\n\n{writers.prose_markdown(p.caption)}\n" for p in pictures]
        text = ["# Lipschitz measurement\n", *about, *map(writers.markdown, made), *shown]
        (folder / "lipschitz.md").write_text("\n".join(text), encoding="utf-8")
        for table in made:
            spreadsheet.write(writers.frame(table), folder / file_of(table))
        for picture in pictures:
            rendering.save(picture, folder, rendering.FORMATS)
        _measurements(networks, folder / "lipschitz.csv")
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror or error}") from error
    return folder / "lipschitz.md"


def _measurements(networks: Sequence[Network], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        what = (
            *("metric", "statistic", "layer", "norm", "radius", *Detail.model_fields),
            *("value", "low", "high", "n", "interval"),
        )
        titles = ["radius_pixel_units" if field == "radius" else field for field in what]
        rows.writerow(("network", *titles, "unit", "bound"))
        for network in networks:
            for m in network.measurements:
                kind = network.infos[m.metric].kind(m.statistic)
                flat = m.flat()
                values = (network.name, *(flat[field] for field in what), kind.unit, kind.bound)
                rows.writerow([spreadsheet.cell(value) for value in values])


def lines(found: Lipschitz) -> list[str]:
    """Return what is printed: each network's figures, the orders, the effort and what it means."""
    said = []
    blind = {r.index for r in found.blind}
    for row in found.rows:
        said.append(f"{row.name}: Lipschitz constant {constant(found, row).text or 'not bounded here'}")
        for figure in found.figures:
            if figure.metric != "lipschitz_kappa":
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
            ball = f"  {norm_text(figure.norm):3}{figure.radius_255:>5g}/255  "
            about = ["searched without gradients"] * (row.index in blind)
            about += ["not converged"] * found.rising(row, figure)
            said.append(
                f"{ball}kappa >= {kappa} flipped >= {flipped} relative gain >= {gain}{', '.join(about)}".rstrip()
            )
            if row.index not in blind and (alike := found.decided(row, figure)) is not None:
                said.append(f"{ball}kappa >= {alike:<8.3g} searched without gradients")
        bound = row.estimate(
            Key("lipschitz_product", Statistic.UPPER, norm="l2", detail=Detail(form=Function.SURROGATE))
        )
        if bound:
            said.append(f"  the surrogate (hardtanh for sign), another function: product bound {bound.value:.3g}")
    for v in found.verdicts:
        if v.figure.ranking.order and not v.figure.distance:
            continue
        by = f", {beside(found, v)}" if beside(found, v) else ""
        if v.separated:
            worse = v.second if v.better is v.first else v.first
            scale, unit = (255, "/255") if v.figure.distance else (1, "")
            low, high = sorted(abs(scale * end) for end in (v.gap.low or 0.0, v.gap.high or 0.0))
            said.append(
                f"{figure_text(v.figure)}: {v.better.name} is better than {worse.name} by "
                f"{abs(scale * v.gap.value):.3g}{unit} [{low:.3g}, {high:.3g}] in the median, n={v.gap.n}, p={v.p:.2g}"
                f"{by}"
            )
        else:
            said.append(
                f"{figure_text(v.figure)}: {v.first.name} and {v.second.name} are not separated ({why_text(v)}{by})"
            )
    said += [f"{u.first.name} and {u.second.name} are {uncompared_text(u)}" for u in found.uncompared]
    notes = (blind_note(found), others(found), rank_note(found))
    return [*said, *[note for note in notes if note], effort_note(found), WHY]
