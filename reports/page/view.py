"""Tables and figures as what the page's template needs: printed numbers, sort keys, and whose column or row it is."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from markupsafe import Markup, escape

from lcrbench.reports import published
from lcrbench.reports.colours import VARIABLES
from lcrbench.reports.comparison import Row
from lcrbench.reports.table import Cell, Column, Table, bounds, counts, number, part, worded
from lcrbench.reports.words import CODE
from lcrbench.reports.words.names import entry_name

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
    section: str = "more"


def prose(text: str) -> Markup:
    """Return a sentence as HTML: what stands in backticks is code, everything else is escaped."""
    return Markup(CODE.sub(r"<code>\1</code>", str(escape(text))))


def mark(row: Row) -> dict[str, str]:
    """Return how a method is drawn, for the page's legends."""
    s = row.style
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


def first(table: Table, most: int, file: str) -> Table:
    """Return a table with as many rows as the page has room for, and in which file the others are."""
    if len(table.rows) <= most:
        return table
    said = f"The first {most} of {len(table.rows):,} rows; `{file}`, beside this page, holds all."
    return replace(table, rows=table.rows[:most], notes=(*table.notes, said))


def view(table: Table, name: str, index: dict[str, int]) -> dict[str, Any]:
    """Return a table as what the template needs: printed numbers, sort keys, and whose column or row it is."""
    heads: list[dict[str, Any]] = []
    n, i = counts(table), 0
    while i < len(table.columns) and any(c.head for c in table.columns):
        j = i
        while j < len(table.columns) and table.columns[j].head == table.columns[i].head:
            j += 1
        heads.append({"text": table.columns[i].head, "span": j - i})
        i = j
    words = [worded(table, j) for j in range(len(table.columns))]
    labels = max((len(r.shown) for r in table.rows), default=0)
    sizes = {
        "told": any(words),
        "long": labels > LONG,
        "tall": len(table.rows) > TALL,
        "short": len(table.rows) <= SHORT,
    }
    # Nearly all cells have it, and what an element says on pointing at it those in it say too, unless they say otherwise.
    ways = Counter(cell.how for r in table.rows for cell in r.cells)
    how = ways.most_common(1)[0][0] if ways else ""
    owners = [index.get(label) for label in table.labels] or [None] * len(table.columns)
    return {
        "id": name,
        "caption": table.caption,
        "told": sizes["told"],
        "how": how,
        "classes": " ".join(["table", *[name for name, holds in sizes.items() if holds]]),
        "first": table.first,
        "heads": heads,
        "n": n.text
        and f"{n.text}{', unless a column or a cell says otherwise' * _others(table)}."
        + f" Brackets: {table.brackets}." * bool(table.brackets),
        "notes": table.notes,
        "columns": [
            {
                "title": c.shown,
                "whole": (f"{c.head}, {c.shown}" if c.head else c.shown) + (f" ({c.unit})" if c.unit else ""),
                "unit": ", ".join(part for part in (c.unit, f"n = {n.columns[j]:,}" if j in n.columns else "") if part),
                "group": c.group,
                "note": c.note,
                "method": owner,
                "text": text,
                "choose": c.choose,
                "scale": c.scale,
            }
            for j, (c, owner, text) in enumerate(zip(table.columns, owners, words, strict=True))
        ],
        "rows": [
            {
                "id": f"{name}-{row_id(r.label)}" if any(c.choose for c in table.columns) else "",
                "label": r.shown,
                "typed": r.label if r.shown != r.label else "",
                "href": r.href,
                "note": r.note,
                "failed": r.failed,
                "group": r.group,
                "aside": bool(r.row and r.row.aside),
                "method": index.get(r.row.label) if r.row else None,
                "cells": [_cell(cell, table.columns[j], n.of(j)) for j, cell in enumerate(r.cells)],
            }
            for r in table.rows
        ],
    }


def row_id(label: str) -> str:
    """Return what names a row in an address: it stays while the label does, wherever the row stands.

    >>> row_id("foreign:ResNet-18")
    'foreign-resnet-18-794e'
    """
    plain = re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")
    return f"{plain[:40]}-{hashlib.sha256(label.encode()).hexdigest()[:4]}".lstrip("-")


def _others(table: Table) -> bool:
    """Tell whether some numbers rest on another n than most."""
    return len({c.n for r in table.rows for c in r.cells if c.n and (c.low is not None or c.high is not None)}) > 1


def _cell(cell: Cell, column: Column, expected: int | None) -> dict[str, Any]:
    if cell.value is None:
        shown, words = cell.text or "–", " " in cell.text
        plain = {"bounds": "", "n": "", "mark": "", "how": cell.how}
        return {"sort": cell.text, "shown": shown, "href": cell.href, "words": words} | plain
    return {
        "sort": f"{cell.value:.7g}",
        "shown": number(cell.value, column),
        "href": "",
        "bounds": bounds(cell, column),
        "n": f"{cell.n:,}" if cell.n and cell.n != expected and (cell.low is not None or cell.high is not None) else "",
        "mark": cell.mark,
        "how": cell.how,
        "words": False,
    }


def refs(row: Row) -> list[dict[str, str]]:
    """Return the papers of a method and its regularizers with their addresses and those of the code."""
    method = row.method
    if method is None:
        return []
    entries = [("regularizer", name) for name in method.regularizers] + [("method", method.name)]
    found = [(entry_name(kind, name), paper) for kind, name in entries if (paper := published.paper_of(name))]
    return [{"of": of, "paper": p.link, "short": p.short, "title": p.title, "code": p.code} for of, p in found]


def figure(drawn: Drawn, index: dict[str, int]) -> dict[str, Any]:
    """Return a figure as what the template needs: its panels, its legend, and its files."""
    from lcrbench.reports.drawing import BANDS, band_words

    picture, panels = drawn.picture, drawn.panels
    links = []
    for name in (*drawn.names, f"{picture.name}.csv"):
        kind = name.rpartition(".")[2]
        # The script makes these two from what is in the page; without it they are the files beside the page.
        give = kind if kind in ("svg", "csv") else ""
        links.append({"kind": kind.upper(), "name": name, "href": quote(drawn.folder + name), "give": give})
    shown = len(picture.printed)
    return {
        "name": picture.name,
        "title": picture.title,
        "caption": picture.caption,
        "bands": {band: band_words(picture.seeds, band) for band in (*BANDS, "none")} if picture.seeds else {},
        "several": any(n > 1 for n in picture.seeds),
        "wide": shown > 1,
        "columns": min(picture.columns, shown, MOST_PANELS),
        "legend": [_legend(r, index) for r in picture.legend],
        "width": round(picture.panels[0].size[0] * 72),
        "panels": [
            {
                "svg": Markup(svg),
                "group": p.group,
                "method": None if p.row is None else index[p.row.label],
                "scale": p.scale,
                "hidden": p not in picture.printed,
            }
            for svg, p in zip(panels, picture.panels, strict=True)
        ],
        "scales": list(dict.fromkeys(p.scale for p in picture.panels if p.scale)),
        "files": links,
    }


def _legend(row: Row, index: dict[str, int]) -> dict[str, Any]:
    label = row.name + (" †" if row.aside else "")
    return {"label": label, "method": index[row.label], "mark": mark(row)}
