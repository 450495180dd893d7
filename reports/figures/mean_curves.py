"""Mean accuracy over the common corruptions against severity, one line a method: what a reader sees first."""

from __future__ import annotations

from lcrbench.reports.context import Context
from lcrbench.reports.curves import MEAN, curves
from lcrbench.reports.drawing import Picture

SECTION, ORDER = "first", 10


def figure(context: Context) -> Picture | None:
    """Return the mean over the common corruptions against severity; None where none of them was shown."""
    found = curves(context, [MEAN])
    if found is None or found.names != [MEAN] or all(len(points) < 2 for points in found.lines.values()):
        return None
    return Picture(
        "mean_curves",
        "Accuracy under corruption",
        found.caption + " Mean over the common corruptions.",
        [found.panel(MEAN, size=(5.6, 3.7), title="")],
        found.data,
        1,
        found.rows,
        (3.3, 2.3),
        seeds=tuple(len(r.runs) for r in found.rows),
    )
