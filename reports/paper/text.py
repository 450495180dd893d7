"""A paper's table as Markdown, CSV, HTML, and plain text for a terminal."""

from __future__ import annotations

import html
import unicodedata

from lcrbench.reports import spreadsheet, writers
from lcrbench.reports.paper.latex import Intervals
from lcrbench.reports.table import Cell, Column, Table, bounds, number


def shown(cell: Cell, column: Column, intervals: Intervals) -> str:
    """Return a cell in one line: the value, and behind it the standard deviation or the interval."""
    if cell.value is None:
        return cell.text or "–"
    value = number(cell.value, column)
    if intervals == "pm" and cell.spread is not None:
        return f"{value} ± {number(cell.spread, column)}"
    return f"{value} {bounds(cell, column)}".strip() if intervals == "ci" else value


def titles(table: Table) -> list[str]:
    """Return the heading of each column, with its unit."""
    return [table.first, *(f"{c.shown}, {c.unit}" if c.unit else c.shown for c in table.columns)]


def lines(table: Table, intervals: Intervals) -> list[list[str]]:
    """Return the rows as text, each beginning with its label."""
    return [
        [
            r.shown + " †" * bool(r.note),
            *(shown(c, col, intervals) for c, col in zip(r.cells, table.columns, strict=True)),
        ]
        for r in table.rows
    ]


def notes(table: Table) -> list[str]:
    """Return what is said below a table: which rows are not ranked and why, and which runs failed."""
    asides = [f"{r.shown}: {r.note}" for r in table.rows if r.note]
    failed = [f"{r.shown}: {r.failed}" for r in table.rows if r.failed]
    return [*table.notes, *(["† not ranked: " + "; ".join(asides)] if asides else []), *failed]


def markdown(table: Table, intervals: Intervals) -> str:
    """Return the table in GitHub's Markdown."""
    escape = writers.escape_markdown
    made = [escape(title) for title in titles(table)]
    rows = [f"| {' | '.join(made)} |", "|:--|" + "--:|" * len(table.columns)]
    for row, cells in zip(table.rows, lines(table, intervals), strict=True):
        marks = ["", *(c.mark for c in row.cells)]
        texts = [escape(text) for text in cells]
        texts = [
            f"**{t}**" if m == "best" else f"<u>{t}</u>" if m == "second" else t
            for t, m in zip(texts, marks, strict=True)
        ]
        rows.append(f"| {' | '.join(texts)} |")
    said = "".join(f"\n{writers.prose_markdown(note)}\n" for note in notes(table))
    return f"**{escape(table.caption)}**\n\n" + "\n".join(rows) + "\n" + said


def csv(table: Table) -> str:
    """Return the table with numbers as numbers: of each column the value, the interval, the deviation and n."""
    frame = writers.frame(table)
    for row, (index, _) in zip(table.rows, frame.iterrows(), strict=True):
        for column, cell in zip(table.columns, row.cells, strict=True):
            if cell.spread is not None:
                frame.loc[index, f"{writers.column_name(column)} std"] = cell.spread * column.scale
    return spreadsheet.text(frame)


def page(table: Table, intervals: Intervals) -> str:
    """Return the table as an HTML element."""
    head = "".join(f'<th scope="col">{html.escape(title)}</th>' for title in titles(table))
    body = []
    for row, (label, *cells) in zip(table.rows, lines(table, intervals), strict=True):
        texts = [
            {"best": f"<b>{html.escape(t)}</b>", "second": f"<u>{html.escape(t)}</u>"}.get(c.mark, html.escape(t))
            for t, c in zip(cells, row.cells, strict=True)
        ]
        body.append(
            f'<tr><th scope="row">{html.escape(label)}</th>' + "".join(f"<td>{t}</td>" for t in texts) + "</tr>"
        )
    said = "".join(f"\n<p>{html.escape(note)}</p>" for note in notes(table))
    caption = f"<caption>{html.escape(table.caption)}</caption>"
    return (
        f"<table>\n{caption}\n<thead><tr>{head}</tr></thead>\n<tbody>\n"
        + "\n".join(body)
        + f"\n</tbody>\n</table>{said}\n"
    )


def terminal(table: Table, intervals: Intervals, width: int = 0) -> str:
    """Return the table as plain text no wider than so many columns (0: as wide as it is): the last ones are left out."""
    grid = [
        [table.first, *(_printable(c.shown) for c in table.columns)],
        *(list(map(_printable, line)) for line in lines(table, intervals)),
    ]
    wide = [max(len(line[j]) for line in grid) for j in range(len(grid[0]))]
    kept = len(wide)
    while width and kept > 2 and sum(wide[:kept]) + 2 * (kept - 1) > width:
        kept -= 1
    made = ["  ".join(t.ljust(w) if j == 0 else t.rjust(w) for j, (t, w) in enumerate(zip(line[:kept], wide, strict=False)))
            for line in grid]  # fmt: skip
    rule = "-" * (sum(wide[:kept]) + 2 * (kept - 1))
    more = [f"(and {len(wide) - kept} more columns: lcrbench table)"] * (kept < len(wide))
    return "\n".join([made[0], rule, *made[1:], *more])


def _printable(text: str) -> str:
    """Return what may be printed: what was read from a store must not steer the terminal."""
    kept = "".join(c for c in " ".join(text.split()) if c.isprintable() and unicodedata.category(c) != "Cf")
    return kept if len(kept) <= 40 else f"{kept[:39]}…"
