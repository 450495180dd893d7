"""Our clean accuracy beside what the methods' authors published."""

from __future__ import annotations

from lcrbench.reports import published
from lcrbench.reports.comparison import CLEAN
from lcrbench.reports.context import Context
from lcrbench.reports.table import Cell, Column, Table, TableRow
from lcrbench.reports.words.tables import unit_note

SECTION, ORDER = "trust", 20


def table(context: Context) -> Table | None:
    """Return our clean accuracy beside what the methods' authors published; None where no number is sourced.

    A number stands here only if the method's form, the data and the topology are those of the run (see `published`).
    """
    setting = context.setting
    rows = []
    for row in setting.rows:
        if not row.runs:
            continue
        ours, spec, ledger = row.estimate(CLEAN), row.any.spec, row.runs[0].ledger
        for p in published.of(row.runs[0]):
            paper = published.papers()[p.paper]
            cells = (
                Cell.of(ours),
                Cell(p.top1 / 100, how="no interval is published"),
                Cell(ledger.images / spec.data.train if ledger else None),
                Cell(p.epochs) if p.epochs else Cell(text="not told"),
                Cell(text=published.WHERE[p.epochs_from] if p.epochs_from else "–"),
                Cell(text=f"{paper.short}, arXiv {paper.arxiv}", href=paper.link),
                Cell(text=p.source, href=paper.code),
            )
            rows.append(TableRow(row.label, cells, False, row.aside, row=row, href=paper.link))
    if not rows:
        return None
    columns = (
        Column("ours", "%", "Clean accuracy", digits=setting.digits, scale=100),
        Column("published", "%", "Clean accuracy", digits=2, scale=100),
        Column("ours", "epochs", "Budget", digits=1),
        Column("published", "epochs", "Budget", digits=0),
        Column("epochs read in", head="Budget"),
        Column("paper", head="Published"),
        Column("number read in", head="Published"),
    )
    notes = (
        unit_note(setting),
        "Published numbers were read in the authors' own repositories; epochs that are not told there, in their code. Their "
        "budgets and recipes are other than ours, so a difference is not one between implementations, and none is tested.",
        "The published network has the same options as ours, and the method its published form. Data are the official "
        "ones, by the hash of their pixels and labels.",
    )
    caption = f"{setting.title}: ours and published."
    return Table("published", caption, columns, tuple(rows), notes, title="Ours and published", file="published")
