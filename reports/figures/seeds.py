"""The distribution of accuracy over training seeds."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from lcrbench.reports.comparison import CLEAN, COMMON_ERROR, Key, Row, chosen
from lcrbench.reports.context import Context
from lcrbench.reports.drawing import Hits, Panel, Picture, gid, look, plain_label

SECTION, ORDER = "trust", 25
NEEDS = "a method with three training seeds"
# From this many seeds of a method there is a distribution to see.
LEAST = 3


def figure(context: Context) -> Picture | None:
    """Return each seed's clean and mean corrupted accuracy by method; None with fewer than three seeds of every method."""
    rows = chosen(context.setting)
    if max((len(r.runs) for r in rows), default=0) < LEAST:
        return None
    found = {
        title: {row.index: [(1 - v if key == COMMON_ERROR else v) * 100 for v in row.per_seed(key)] for row in rows}
        for title, key in _endpoints().items()
    }
    found = {title: values for title, values in found.items() if any(values.values())}
    if not found:
        return None
    data = [
        {"method": row.label, "images": title, "seed": seed, "accuracy_percent": value}
        for title, values in found.items()
        for row in rows
        if len(values[row.index]) == len(row.seeds)
        for seed, value in zip(row.seeds, values[row.index], strict=True)
    ]
    caption = (
        "Accuracy of each training seed, a point a seed, with the median of each method as a stroke. Seeds of one method "
        "differ by chance alone."
    )
    height = 0.6 + 0.22 * len(rows)
    panels = [_panel(title, rows, values, height) for title, values in found.items()]
    frame = pd.DataFrame(data)
    return Picture("seeds", "Accuracy by seed", caption, panels, frame, 2, paper=(3.3, height), shared=True)


def _endpoints() -> dict[str, Key]:
    return {"clean": CLEAN, "mean of the common corruptions": COMMON_ERROR}


def _panel(title: str, rows: list[Row], values: dict[int, list[float]], height: float) -> Panel:
    def draw(ax: Axes, hits: Hits) -> None:
        for place, row in enumerate(rows):
            s, x = look(row), values[row.index]
            y = [place] * len(x)
            before = set(ax.get_children())
            if x:
                ax.plot(x, y, s.marker, color=s.colour, markersize=4, markeredgewidth=0, alpha=0.75)
                ax.plot([float(np.median(x))] * 2, [place - 0.3, place + 0.3], color=s.colour, linewidth=1.2)
            for artist in set(ax.get_children()) - before:
                artist.set_gid(gid(row))
            for seed, value in zip(row.seeds, x, strict=False):
                hits.point(ax, value, place, f"{row.name}, seed {seed}: {value:.2f} %", row.index)
        ax.set_yticks(range(len(rows)), [plain_label(r) for r in rows])
        ax.set_ylim(len(rows) - 0.5, -0.5)
        ax.set_xlabel("accuracy, %")
        ax.set_title(title)
        ax.margins(x=0.08)

    return Panel(draw, f"accuracy by seed, {title}", size=(4.4, 0.9 + 0.28 * len(rows)))
