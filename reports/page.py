"""The page: one HTML file with everything inside it, made from the same tables and figures as the files beside it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import jinja2
from markupsafe import Markup, escape

from lcrbench import __version__
from lcrbench.reports.budget_proof import Proof
from lcrbench.reports.colours import VARIABLES, style
from lcrbench.reports.comparison import MOST_COLUMNS, Comparison, Row, Setting
from lcrbench.reports.results import COST
from lcrbench.reports.tables import Cell, Column, Table, bounds, number, part, worded
from lcrbench.reports.words import CODE

if TYPE_CHECKING:  # matplotlib takes a second to import
    from lcrbench.reports.figures import Picture

# Of the figures' data so many characters are in the page for download; what is more lies only beside it.
EMBED = 1_200_000
MOST_RUNS = 200
# Of the long tables of one name in all settings together, but of each at least `TALL`; what is more lies beside the page.
MOST_ROWS = 400
# A table with more rows than this scrolls in a box of its own, and with no more than that it is not split in print.
TALL, SHORT = 70, 15
# Panels side by side.
MOST_PANELS = 5
# Letters of a row's label, from which on it takes more than a name's room.
LONG = 24


@dataclass
class Finding:
    """One headline: a figure, its interval and a sentence."""

    figure: str
    interval: str
    text: str


@dataclass
class Section:
    """Everything the page shows of one setting."""

    setting: Setting
    summary: str
    main: Table
    corruptions: Table
    differences: list[Table]
    generic: Table | None
    published: Table | None
    proof: Proof
    pictures: list[tuple[Picture, list[str], str, list[str]]] = field(default_factory=list)
    """A figure with its panels' SVG, its folder ("" or "setting-2/") and its files' names."""
    problems: list[str] = field(default_factory=list)
    lipschitz: list[Table] = field(default_factory=list)


def render(
    comparison: Comparison,
    sections: Sequence[Section],
    *,
    title: str,
    summary: str,
    findings: Sequence[Finding],
    warnings: Sequence[str],
    claims: Sequence[dict[str, str]],
    methods_notes: Sequence[dict[str, str]],
    environment: Sequence[tuple[str, str]],
    listing: Sequence[tuple[str, str]],
) -> str:
    """Return the page's HTML. Everything that comes from a record is escaped."""
    environment_ = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=False)
    environment_.filters["prose"] = _prose
    here = files("lcrbench.reports")
    template = environment_.from_string((here / "page.html.jinja").read_text(encoding="utf-8"))
    index = {label: i for i, label in enumerate(comparison.labels)}
    all_runs = comparison.runs
    shown = all_runs[:MOST_RUNS]
    present = {g for s in sections for r in s.corruptions.rows if (g := r.group)}
    return template.render(
        version=__version__,
        css=Markup((here / "page.css").read_text(encoding="utf-8")),
        js=Markup((here / "page.js").read_text(encoding="utf-8")),
        labels=_json({s.setting.index: {r.index: index[r.label] for r in s.setting.rows} for s in sections}),
        title=title,
        summary=summary,
        created=max((r.provenance.created[:10] for r in all_runs), default=""),
        findings=findings,
        warnings=warnings,
        claims=claims,
        methods=[{"label": label, "mark": _mark(label)} for label in comparison.labels],
        groups=[g for g in ("noise", "blur", "weather", "digital", "extra", "other") if g in present],
        settings=[_section(s, index, len(sections)) for s in sections],
        environment=environment,
        methods_notes=methods_notes,
        files=[{"name": name, "href": quote(name), "what": what} for name, what in listing],
        runs=[
            {
                "id": r.run_id,
                "label": r.spec.label,
                "method": index[r.spec.label],
                "seed": r.spec.seed,
                "failed": r.status == "failed",
                "status": f"failed: {r.failure.reason}, {r.failure.message}" if r.failure else r.status,
                "created": r.provenance.created,
            }
            for r in shown
        ],
        runs_left_out=len(all_runs) - len(shown),
        run_count=len(all_runs),
        data=_json(_embedded(sections)),
    )


def _embedded(sections: Sequence[Section]) -> dict[str, str]:
    """Return the figures' data as CSV by the figure's id in the page, the first ones that there is room for."""
    found: dict[str, str] = {}
    room = EMBED
    for section in sections:
        for picture, *_ in section.pictures:
            csv = picture.data.to_csv(index=False)
            room -= len(csv)
            if room < 0:
                return found
            found[f"s{section.setting.index}-{picture.name}"] = csv
    return found


def _json(value: object) -> Markup:
    """Return JSON that may stand inside a script element, whatever it holds."""
    text = json.dumps(value)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _prose(text: str) -> Markup:
    """Return a sentence as HTML: what stands in backticks is code, everything else is escaped."""
    return Markup(CODE.sub(r"<code>\1</code>", str(escape(text))))


def _mark(label: str) -> dict[str, str]:
    s = style(label)
    dash = {"dashed": "5 2.5", "dashdot": "6 2 1.5 2", "dotted": "1.5 2"}.get(s.dash, "")
    return {"colour": f"var({VARIABLES[s.colour]})", "dash": dash, "marker": s.marker}


def _section(section: Section, index: dict[str, int], settings: int) -> dict[str, Any]:
    setting = section.setting
    short = f"{setting.title} ({setting.index + 1})" if settings > 1 else setting.title
    prefix = f"s{setting.index}"
    results = [c.head for c in section.main.columns if c.head not in COST]
    return {
        "index": setting.index,
        "title": short,
        "short": short,
        "summary": section.summary,
        "notes": setting.notes,
        "main": view(replace(part(section.main, results), notes=section.main.notes[:-1]), f"{prefix}-main", index),
        "cost": view(replace(part(section.main, COST), notes=section.main.notes[-1:]), f"{prefix}-cost", index),
        "corruptions": view(section.corruptions, f"{prefix}-by-corruption", index),
        "differences": [view(t, f"{prefix}-{t.name}", index) for t in section.differences],
        "generic": section.generic and view(section.generic, f"{prefix}-generic", index),
        "published": section.published and view(section.published, f"{prefix}-published", index),
        "problems": section.problems,
        "lipschitz": [
            view(_first(t, max(TALL, MOST_ROWS // settings)), f"{prefix}-{t.name}-table", index)
            for t in section.lipschitz
        ],
        "pictures": [_picture(*p, index) for p in section.pictures],
        "proof": {
            "identical": section.proof.identical,
            "sentence": section.proof.sentence,
            "labels": [{"label": label, "method": index[label]} for label in section.proof.labels[:MOST_COLUMNS]],
            "fields": [
                {"name": name, "cells": values[:MOST_COLUMNS], "equal": equal, "hash": name in Proof.HASHED}
                for name, values, equal in section.proof.fields
            ],
            "left_out": max(0, len(section.proof.labels) - MOST_COLUMNS),
            "seconds": [{"name": name, "cells": values[:MOST_COLUMNS]} for name, values in section.proof.seconds],
        },
    }


def _first(table: Table, most: int) -> Table:
    """Return a table with as many rows as the page has room for, and where the others are."""
    if len(table.rows) <= most:
        return table
    said = f"The first {most} of {len(table.rows):,} rows; `{table.name}_table.csv`, beside this page, holds all."
    return replace(table, rows=table.rows[:most], notes=(*table.notes, said))


def view(table: Table, name: str, index: dict[str, int]) -> dict[str, Any]:
    """Return a table as what the template needs: printed numbers, sort keys, and whose column or row it is."""
    heads, i = [], 0
    while i < len(table.columns) and any(c.head for c in table.columns):
        j = i
        while j < len(table.columns) and table.columns[j].head == table.columns[i].head:
            j += 1
        heads.append({"text": table.columns[i].head, "span": j - i})
        i = j
    words = [worded(table, j) for j in range(len(table.columns))]
    labels = max((len(r.label) for r in table.rows), default=0)
    sizes = {
        "told": any(words),
        "long": labels > LONG,
        "tall": len(table.rows) > TALL,
        "short": len(table.rows) <= SHORT,
    }
    owners = [index.get(label) for label in table.labels] or [None] * len(table.columns)
    return {
        "id": name,
        "caption": table.caption,
        "told": sizes["told"],
        "classes": " ".join(["table", *[name for name, holds in sizes.items() if holds]]),
        "first": table.first,
        "heads": heads,
        "notes": table.notes,
        "columns": [
            {"title": c.title, "unit": c.unit, "group": c.group, "note": c.note, "method": owner, "text": text}
            for c, owner, text in zip(table.columns, owners, words, strict=True)
        ],
        "rows": [
            {
                "label": r.label.replace("_", " ") if table.first == "Corruption" else r.label,
                "note": r.note,
                "failed": r.failed,
                "group": r.group,
                "aside": bool(r.row and r.row.aside),
                "method": index.get(r.row.label) if r.row else None,
                "cells": [_cell(cell, column) for cell, column in zip(r.cells, table.columns, strict=False)],
            }
            for r in table.rows
        ],
    }


def _cell(cell: Cell, column: Column) -> dict[str, Any]:
    if cell.value is None:
        shown, words = cell.text or "–", " " in cell.text
        return {"sort": cell.text, "shown": shown, "bounds": "", "n": "", "mark": "", "how": cell.how, "words": words}
    return {
        "sort": f"{cell.value:.10g}",
        "shown": number(cell.value, column),
        "bounds": bounds(cell, column),
        "n": f"{cell.n:,}" if cell.n else "",
        "mark": cell.mark,
        "how": cell.how,
        "words": False,
    }


def _picture(
    picture: Picture, panels: list[str], folder: str, names: list[str], index: dict[str, int]
) -> dict[str, Any]:
    links = []
    for name in (*names, f"{picture.name}.csv"):
        kind = name.rpartition(".")[2]
        # The script makes these two from what is in the page; without it they are the files beside the page.
        give = kind if kind in ("svg", "csv") else ""
        links.append({"kind": kind.upper(), "name": name, "href": quote(folder + name), "give": give})
    return {
        "name": picture.name,
        "title": picture.title,
        "caption": picture.caption,
        "wide": len(panels) > 1,
        "columns": min(picture.columns, len(panels), MOST_PANELS),
        "legend": [_legend(r, index) for r in picture.legend],
        "width": round(picture.panels[0].size[0] * 72),
        "panels": [{"svg": Markup(svg), "group": p.group} for svg, p in zip(panels, picture.panels, strict=True)],
        "files": links,
    }


def _legend(row: Row, index: dict[str, int]) -> dict[str, Any]:
    label = row.label + (" †" if row.aside else "")
    return {"label": label, "method": index[row.label], "mark": _mark(row.label)}
