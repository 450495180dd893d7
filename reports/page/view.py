"""Tables and figures as what the page's template needs: printed numbers, sort keys, and whose column or row it is."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from markupsafe import Markup, escape

from lcrbench.bench.records.spec import MethodId
from lcrbench.reports.colours import VARIABLES, style
from lcrbench.reports.comparison import Row
from lcrbench.reports.table import Cell, Column, Table, bounds, number, part, worded
from lcrbench.reports.words import CODE

if TYPE_CHECKING:  # matplotlib takes a second to import
    from lcrbench.reports.drawing import Picture

# A table with more rows than this scrolls in a box of its own, and with no more than that it is not split in print.
TALL, SHORT = 70, 15
# Panels side by side.
MOST_PANELS = 5
# Letters of a row's label, from which on it takes more than a name's room.
LONG = 24


@dataclass(frozen=True)
class Drawn:
    """A figure with its panels as SVG, its folder ("" or "setting-2/") and its files' names."""

    picture: Picture
    panels: list[str]
    folder: str
    names: list[str]


def prose(text: str) -> Markup:
    """Return a sentence as HTML: what stands in backticks is code, everything else is escaped."""
    return Markup(CODE.sub(r"<code>\1</code>", str(escape(text))))


def mark(label: str, method: MethodId | None) -> dict[str, str]:
    """Return how a method is drawn, for the page's legends."""
    s = style(label, method)
    dash = {"dashed": "5 2.5", "dashdot": "6 2 1.5 2", "dotted": "1.5 2"}.get(s.dash, "")
    return {"colour": f"var({VARIABLES[s.colour]})", "dash": dash, "marker": s.marker}


def parts(table: Table) -> list[tuple[str | None, Table]]:
    """Return a table, or the two that the page shows in its place, each with its title."""
    if table.second is None:
        return [(table.title, table)]
    heads = [c.head for c in table.columns if c.head not in table.second.heads]
    return [
        (table.title, replace(part(table, heads), notes=table.notes[:-1])),
        (
            table.second.title,
            replace(part(table, table.second.heads), name=f"{table.name}-second", notes=table.notes[-1:]),
        ),
    ]


def first(table: Table, most: int) -> Table:
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
    # Nearly all cells have it, and what an element says on pointing at it those in it say too, unless they say otherwise.
    counts = Counter(cell.how for r in table.rows for cell in r.cells)
    how = counts.most_common(1)[0][0] if counts else ""
    owners = [index.get(label) for label in table.labels] or [None] * len(table.columns)
    return {
        "id": name,
        "caption": table.caption,
        "told": sizes["told"],
        "how": how,
        "classes": " ".join(["table", *[name for name, holds in sizes.items() if holds]]),
        "first": table.first,
        "heads": heads,
        "notes": table.notes,
        "columns": [
            {
                "title": c.title,
                "whole": (f"{c.head}, {c.title}" if c.head else c.title) + (f" ({c.unit})" if c.unit else ""),
                "unit": c.unit,
                "group": c.group,
                "note": c.note,
                "method": owner,
                "text": text,
            }
            for c, owner, text in zip(table.columns, owners, words, strict=True)
        ],
        "rows": [
            {
                "label": r.label.replace("_", " ") if table.first == "Corruption" else r.label,
                "href": r.href,
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
        plain = {"bounds": "", "n": "", "mark": "", "how": cell.how}
        return {"sort": cell.text, "shown": shown, "href": cell.href, "words": words} | plain
    return {
        "sort": f"{cell.value:.7g}",
        "shown": number(cell.value, column),
        "href": "",
        "bounds": bounds(cell, column),
        "n": f"{cell.n:,}" if cell.n else "",
        "mark": cell.mark,
        "how": cell.how,
        "words": False,
    }


def figure(drawn: Drawn, index: dict[str, int]) -> dict[str, Any]:
    """Return a figure as what the template needs: its panels, its legend, and its files."""
    picture, panels = drawn.picture, drawn.panels
    links = []
    for name in (*drawn.names, f"{picture.name}.csv"):
        kind = name.rpartition(".")[2]
        # The script makes these two from what is in the page; without it they are the files beside the page.
        give = kind if kind in ("svg", "csv") else ""
        links.append({"kind": kind.upper(), "name": name, "href": quote(drawn.folder + name), "give": give})
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
    return {"label": label, "method": index[row.label], "mark": mark(row.label, row.method)}
