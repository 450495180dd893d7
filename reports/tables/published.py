"""Our clean accuracy beside what the methods' authors published."""

from __future__ import annotations

from lcrbench.reports import published
from lcrbench.reports.comparison import CLEAN
from lcrbench.reports.context import Context
from lcrbench.reports.table import Cell, Column, Table, TableRow
from lcrbench.reports.words import plain
from lcrbench.reports.words.tables import unit_note

SECTION, ORDER = "results", 20


def table(context: Context) -> Table | None:
    """Return our clean accuracy beside what the methods' authors published; None where no number is sourced.

    A number stands here only if method, data and topology are those of the run (see `published`).
    """
    setting = context.setting
    rows = []
    for row in setting.rows:
        if not row.runs:
            continue
        ours, spec = row.estimate(CLEAN), row.any.spec
        for p in published.of(row.runs[0]):
            told = ", ".join(f"{name} {plain(value)}" for name, value in p.topology.items()) or "one form"
            untold = (
                [name for name in row.runs[0].model.topology if name not in p.topology] if row.runs[0].model else []
            )
            cells = (
                Cell.of(ours),
                Cell(p.top1 / 100, how="no interval is published"),
                Cell(row.runs[0].ledger.images / spec.data.train if row.runs[0].ledger else None),
                Cell(p.epochs) if p.epochs else Cell(text="not told"),
                Cell(text=told + (f"; not told: {', '.join(untold)}" if untold else "")),
                Cell(text=p.source),
            )
            rows.append(TableRow(row.label, cells, False, row.aside, row=row))
    if not rows:
        return None
    columns = (
        Column("ours", "%", "Clean accuracy", digits=setting.digits, scale=100),
        Column("published", "%", "Clean accuracy", digits=2, scale=100),
        Column("ours", "epochs", "Budget", digits=1),
        Column("published", "epochs", "Budget", digits=0),
        Column("topology that the source tells", head="Published"),
        Column("source", head="Published"),
    )
    notes = (
        unit_note(setting),
        "Published numbers were read in the authors' own repositories. Their budgets and recipes are other than ours, so a "
        "difference is not one between implementations, and none is tested.",
        "Data are matched by name, classes, size and number of images; their pixels cannot be compared.",
    )
    caption = f"{setting.title}: ours and published."
    return Table("published", caption, columns, tuple(rows), notes, title="Ours and published", file="published")
