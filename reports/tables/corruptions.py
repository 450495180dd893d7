"""The error of each corruption."""

from __future__ import annotations

from dataclasses import replace

from lcrbench.reports.comparison import CLEAN, COMMON_ERROR, GROUPS, Key, Setting, chosen, flipped
from lcrbench.reports.context import Context
from lcrbench.reports.table import Cell, Column, Table, TableRow, marked
from lcrbench.reports.words import listed
from lcrbench.reports.words.names import corruption_name
from lcrbench.reports.words.tables import left_out, pool_note, unit_note

SECTION, ORDER = "corruptions", 10


def table(context: Context) -> Table | None:
    """Return the error of each corruption, mean over severities, one line a corruption and one column a method.

    Of very many methods the reference and the most accurate are shown, and the file holds all.
    """
    setting, most = context.setting, context.options.columns
    rows = sum(1 for r in setting.rows if r.runs)
    if not rows:
        return None
    shown = by_corruption(setting, most)
    return shown if rows <= most else replace(shown, whole=by_corruption(setting, rows))


def by_corruption(setting: Setting, most: int) -> Table:
    """Return the table with no more than so many methods."""
    digits = setting.digits
    shown = chosen(setting, most)
    pool = setting.pool
    columns = tuple(
        Column(
            r.label + " †" * bool(r.aside),
            "%",
            better=False if r in pool else None,
            digits=digits,
            scale=100,
            note=r.aside,
            name=r.name + " †" * bool(r.aside),
        )
        for r in shown
    )
    clean = [r.estimate(CLEAN) for r in shown]
    rows = [TableRow("clean", tuple(Cell.of(c and flipped(c)) for c in clean), name="Clean")]
    groups = {name: g for g, names in GROUPS.items() for name in names}
    for name in setting.corruptions:
        cells = [Cell.of(r.estimate(Key("corruption_error", corruption=name))) for r in shown]
        rows.append(TableRow(name, tuple(cells), group=groups.get(name, "other"), name=corruption_name(name)))
    if any(r.estimate(COMMON_ERROR) for r in shown):
        cells = [Cell.of(r.estimate(COMMON_ERROR)) for r in shown]
        rows.append(TableRow("mean of the common", tuple(cells), name="Mean of the common"))
    caption = f"{setting.title}: error by corruption, mean over severities {listed(setting.severities)}."
    notes = (
        unit_note(setting),
        pool_note(setting),
        "Single corruptions are descriptive: the one endpoint that is tested is the mean.",
    )
    return marked(
        Table(
            "corruptions",
            caption,
            columns,
            tuple(rows),
            (*notes, *left_out(setting, len(shown))),
            "Corruption",
            "row",
            tuple(r.label for r in shown),
            file="corruptions",
        )
    )
