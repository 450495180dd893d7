"""Accuracy against operations, with the Pareto front."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from lcrbench.bench.stats import Interval
from lcrbench.reports.comparison import CLEAN, COMMON_ERROR, chosen, flipped
from lcrbench.reports.context import Context
from lcrbench.reports.cost import operations
from lcrbench.reports.drawing import MUTED, Hits, Panel, Picture, gid, look, tell

SECTION, ORDER = "cost", 100
NEEDS = "two methods whose operations were counted"


def figure(context: Context) -> Picture | None:
    """Return clean and mean corrupted accuracy against operations an image, with the Pareto front."""
    rows = [r for r in chosen(context.setting) if r.runs and operations(r.runs[0])]
    if len(rows) < 2:
        return None
    sides: list[tuple[str, dict[int, Interval]]] = []
    for title, key, flip in (("clean", CLEAN, False), ("mean of the common corruptions", COMMON_ERROR, True)):
        found = {}
        for row in rows:
            i = row.estimate(key)
            if i:
                found[row.index] = flipped(i) if flip else i
        if len(found) >= 2:
            sides.append((title, found))
    data = [
        {"method": r.label, "images": title, "operations": operations(r.runs[0])} | found[r.index]._asdict()
        for title, found in sides
        for r in rows
        if r.index in found
    ]

    million = {r.index: (operations(r.runs[0]) or 0) * 1e-6 for r in rows}

    def panel(title: str, found: dict[int, Interval], axis: str) -> Panel:
        def draw(ax: Axes, hits: Hits) -> None:
            points = []
            for row in rows:
                if row.index not in found:
                    continue
                s, i, x = look(row), found[row.index], million[row.index]
                if i.low is not None and i.high is not None:
                    ax.plot([x, x], [i.low * 100, i.high * 100], color=s.colour, linewidth=2, alpha=0.3, gid=gid(row))
                ax.plot([x], [i.value * 100], s.marker, color=s.colour, markersize=5, gid=gid(row))
                hits.point(
                    ax, x, i.value * 100, f"{row.name}: {million[row.index]:.3g} million OPs, {tell(i)}", row.index
                )
                if not row.aside:
                    points.append((million[row.index], i.value * 100))
            front = pareto(points)
            ax.plot(
                [p[0] for p in front],
                [p[1] for p in front],
                color=MUTED,
                linewidth=0.8,
                zorder=1,
                drawstyle="steps-post",
            )
            if axis == "log":
                ax.set_xscale("log")
                ax.xaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
                ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
                ax.xaxis.set_minor_locator(NullLocator())
            ax.set_xlabel("operations an image, millions")
            ax.set_ylabel("accuracy, %")
            ax.set_title(title)
            ax.margins(0.12)

        return Panel(draw, f"accuracy against operations, {title}", size=(4.4, 3.1), scale=axis)

    caption = (
        "Accuracy against operations an image (binary ones count 1/64); methods of the same number stand above one "
        "another. Strokes: 95 % intervals. Grey: the Pareto front."
    )
    return Picture(
        "accuracy_operations",
        "Accuracy against operations",
        caption,
        [panel(*side, axis) for axis in ("log", "linear") for side in sides],
        pd.DataFrame(data),
        2,
        tuple(rows),
        (3.3, 2.4),
    )


def pareto(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points that no other beats in both cost (first) and value (second), by cost.

    >>> pareto([(1, 1), (2, 3), (3, 2), (4, 4)])
    [(1, 1), (2, 3), (4, 4)]
    """
    front: list[tuple[float, float]] = []
    for cost, value in sorted(points, key=lambda p: (p[0], -p[1])):
        if not front or value > front[-1][1]:
            front.append((cost, value))
    return front
