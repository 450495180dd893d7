"""Every measurement that has no place of its own."""

from __future__ import annotations

from lcrbench.reports.comparison import chosen
from lcrbench.reports.context import Context
from lcrbench.reports.table import Cell, Column, Table, TableRow
from lcrbench.reports.words import norm_text, radius_text
from lcrbench.reports.words.tables import left_out, unit_note

SECTION, ORDER = "measurements", 10
# measurements.csv holds all of them, a line a run.
FORMATS: tuple[str, ...] = ()
SPECIAL = ("accuracy", "corruption_error")


def table(context: Context) -> Table | None:
    """Return every metric that has no place of its own: one line a cell, one column a method; None if there is none."""
    setting = context.setting
    shown = chosen(setting, context.options.columns)
    rows = []
    for metric, info in sorted(setting.metrics.items()):
        if metric in SPECIAL:
            continue
        for key in setting.keys(metric):
            kind = info.kind(key.statistic)
            parts = [
                "" if key.statistic == "mean" else key.statistic,
                key.about.form,
                key.about.probe or "",
                key.layer and f"layer {key.layer}",
                key.about.stage and f"stage {key.about.stage}",
                key.about.search and f"search {key.about.search}",
                key.about.passes and f"after {key.about.passes:,} passes",
                key.about.inner_radius and f"from {radius_text(key.about.inner_radius)}",
                f"{key.corruption} {key.severity or ''}".strip(),
                norm_text(key.norm),
                radius_text(key.radius),
                {"lower": "lower bound", "upper": "upper bound", "estimate": "estimate"}.get(kind.bound, ""),
            ]
            label = ", ".join([metric, *[p for p in parts if p]]) + f" ({kind.unit})"
            cells = tuple(Cell.of(r.estimate(key)) for r in shown)
            rows.append(TableRow(label, cells, kind.higher_is_better is not None, info.summary, group=key.corruption))
    if not rows:
        return None
    columns = tuple(Column(r.label, digits=3, note=r.aside, name=r.name) for r in shown)
    caption = f"{setting.title}: every other measurement, as the records hold it."
    return Table(
        "measurements",
        caption,
        columns,
        tuple(rows),
        (unit_note(setting), *left_out(setting, len(shown))),
        "Measurement",
        "row",
    )
