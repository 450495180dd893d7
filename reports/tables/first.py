"""The table that a reader sees first: accuracy clean and corrupted, in five columns."""

from __future__ import annotations

from lcrbench.reports.comparison import chosen
from lcrbench.reports.context import Context
from lcrbench.reports.paper.styles import COLUMNS
from lcrbench.reports.table import Table, TableRow, marked
from lcrbench.reports.words.tables import failures, interval_words, left_out

SECTION, ORDER = "first", 10
# The tables below and beside the page hold the same numbers.
FORMATS: tuple[str, ...] = ()
SHOWN = ("wa", "clean", "endpoint", "drop")
MOST = 10


def table(context: Context) -> Table:
    """Return bits, clean accuracy, mean error and drop of the reference and the most accurate, and which runs failed."""
    setting = context.setting
    made = [found for name in SHOWN if (found := COLUMNS[name](context))]
    drawn = {row.index for row in chosen(setting, MOST)}
    rows = []
    for row in setting.rows:
        if row.index in drawn:
            cells = tuple(cell(row) for _, cell in made)
            rows.append(TableRow(row.label, cells, row in setting.pool, row.aside, failures(row), row=row))
        elif not row.runs and len(rows) < MOST:
            rows.append(TableRow(row.label, (), False, row.aside, failures(row), row=row))
    notes = left_out(setting, len(drawn))
    caption = f"{setting.title}: {interval_words(setting)}."
    return marked(
        Table(
            "first",
            caption,
            tuple(column for column, _ in made),
            tuple(rows),
            notes,
            title="",
            brackets=interval_words(setting),
        )
    )
