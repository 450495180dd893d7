"""Clean accuracy as bars."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from lcrbench.reports.comparison import CLEAN
from lcrbench.reports.context import Context
from lcrbench.reports.drawing import Hits, Panel, Picture, gid, look, plain_label


def figure(context: Context) -> Picture | None:
    """Return the figure; None without a finished run."""
    found = [(row, clean) for row in context.setting.rows if (clean := row.estimate(CLEAN))]

    def draw(ax: Axes, hits: Hits) -> None:
        for place, (row, clean) in enumerate(found):
            ax.barh([place], [100 * clean.value], color=look(row).colour, gid=gid(row))
        ax.set_yticks(range(len(found)), [plain_label(row) for row, _ in found])
        ax.set_xlabel("clean accuracy, %")

    data = pd.DataFrame([{"method": row.label, "clean": clean.value} for row, clean in found])
    return Picture("bars", "Bars", "Clean accuracy.", [Panel(draw, "clean accuracy")], data) if found else None
