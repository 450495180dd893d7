"""What a search had found after so many passes: does it still find more?"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

from lcrbench.bench.records.statistics import Statistic
from lcrbench.reports.comparison import Key, Row
from lcrbench.reports.context import Context
from lcrbench.reports.drawing import Hits, Panel, Picture, Point, line, tell
from lcrbench.reports.lipschitz import drawn
from lcrbench.reports.words import norm_text

SECTION, ORDER = "lipschitz", 65
APART = 4
"""By what factor the passes of two rounds of a search differ."""


def figure(context: Context) -> Picture | None:
    """Return median kappa at the middle radius and flips at the largest one against passes, a row of panels a norm."""
    found = context.lipschitz
    if found is None:
        return None
    rows = drawn(found)
    keys = found.keys("lipschitz_convergence")
    if not keys:
        return None
    panels = []
    for norm in dict.fromkeys(k.norm for k in keys):
        radii = sorted({k.radius for k in keys if k.norm == norm and k.radius is not None})
        for statistic, radius in ((Statistic.Q50, radii[len(radii) // 2]), (Statistic.FLIPPED, radii[-1])):
            here = [k for k in keys if (k.norm, k.radius, k.statistic) == (norm, radius, statistic)]
            if here:  # a median among ties is left out
                panels.append(_panel(rows, sorted(here, key=lambda k: k.about.passes or 0)))
    data = [{"method": r.label} | k.columns | i._asdict() for r in rows for k in keys if (i := r.estimate(k))]
    caption = (
        "What the search had found after so many passes of an image, forward and backward counted; its parts take turns, so "
        "that a curve rises in steps. The radii share an effort's passes, and those of a norm are a part of them. Rounds of "
        "the search end at the ticks, and an order of two networks has to hold at the last two. Where a curve still rises "
        "at its end, more passes would find more, and the figures of that network are understated by more than those of "
        "one whose curve is flat."
    )
    if blind := [row.name for row in rows if row.index in {b.index for b in found.blind}]:
        caption += f" Searched without gradients: {', '.join(blind)}."
    return Picture(
        "lipschitz_convergence",
        "How far the search has come",
        caption,
        panels,
        pd.DataFrame(data),
        2,
        tuple(rows),
        paper=(3.3, 2.0),
        seeds=tuple(n for n in found.seeds(rows) if n > 1),  # a curve over images has no interval
    )


def _panel(rows: Sequence[Row], keys: list[Key]) -> Panel:
    first = keys[0]
    ball = f"{norm_text(first.norm)} {255 * (first.radius or 0.0):g}/255"
    share = first.statistic == Statistic.FLIPPED
    scale, unit, digits = (100, " %", 0) if share else (1, "", 2)
    passes = [key.about.passes or 0 for key in keys]
    ends = [passes[-1] // APART**k for k in range(4) if passes[-1] // APART**k >= passes[0]]

    def draw(ax: Axes, hits: Hits) -> None:
        for row in rows:
            points: list[Point] = []
            for key in keys:
                if i := row.estimate(key):
                    what = "flips" if share else "median kappa"
                    text = f"{row.name}, {ball}, {key.about.passes:,} passes: {what} {tell(i, scale, unit, digits)}"
                    points.append((key.about.passes or 0, i, text, row.per_seed(key)))
            line(ax, hits, row, points, scale)
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(FixedLocator(ends))
        ax.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.set_ylim(bottom=0)
        ax.set_xlabel(f"passes an image, {norm_text(first.norm)}")
        ax.set_ylabel(f"flips within {ball}, %" if share else f"median kappa, {ball}")

    return Panel(draw, f"{'flips' if share else 'median kappa'} within {ball}", size=(4.6, 2.7))
