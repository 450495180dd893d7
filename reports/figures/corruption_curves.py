"""Accuracy against severity, by corruption and averaged."""

from __future__ import annotations

from lcrbench.reports.context import Context
from lcrbench.reports.curves import MEAN, curves
from lcrbench.reports.drawing import Picture

SECTION, ORDER = "corruptions", 10


def figure(context: Context) -> Picture | None:
    """Return accuracy against severity, a panel a corruption and one for the mean over the common ones."""
    found = curves(context, list(context.options.corruptions) or [MEAN, *context.setting.corruptions])
    if found is None:
        return None
    return Picture(
        "corruption_curves",
        "Accuracy against severity by corruption",
        found.caption,
        [found.panel(name) for name in found.names],
        found.data,
        legend=found.rows,
        shared=True,
        seeds=tuple(len(r.runs) for r in found.rows),
    )
