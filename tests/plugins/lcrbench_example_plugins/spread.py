"""Lowest and highest clean accuracy of each method's seeds."""

from __future__ import annotations

from lcrbench.reports.comparison import CLEAN
from lcrbench.reports.context import Context
from lcrbench.reports.table import Cell, Column, Table, TableRow


def table(context: Context) -> Table | None:
    """Return the table; None without a finished run."""
    seeds = [(row, row.per_seed(CLEAN)) for row in context.setting.rows if row.runs]
    rows = [TableRow(row.label, (Cell(min(v)), Cell(max(v))), False, row=row) for row, v in seeds if v]
    columns = tuple(Column(title, "%", "Clean accuracy", scale=100) for title in ("lowest", "highest"))
    return Table("spread", "Clean accuracy of the seeds.", columns, tuple(rows)) if rows else None
