"""The slope of the modulus of continuity between neighbouring radii."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from lcrbench.reports.comparison import Key
from lcrbench.reports.context import Context
from lcrbench.reports.drawing import MUTED, Hits, Panel, Picture, Point, by_method, line, tell
from lcrbench.reports.lipschitz import drawn
from lcrbench.reports.words import norm_text

SECTION, ORDER = "lipschitz", 60


def figure(context: Context) -> Picture | None:
    """Return the slope of log omega against log radius between neighbouring radii, a panel a norm."""
    found = context.lipschitz
    if found is None:
        return None
    rows = drawn(found)
    keys = found.keys("lipschitz_slope")
    norms = list(dict.fromkeys(k.norm for k in keys))
    if not keys:
        return None

    def middle(key: Key) -> float:
        """Return the geometric mean of the two radii, in 1/255 pixel units."""
        return 255 * math.sqrt((key.about.inner_radius or 0.0) * (key.radius or 0.0))

    def ends(key: Key) -> str:
        return f"{(key.about.inner_radius or 0.0) * 255:g}–{(key.radius or 0.0) * 255:g}"

    def panel(norm: str) -> Panel:
        here = sorted((k for k in keys if k.norm == norm), key=middle)

        def draw(ax: Axes, hits: Hits) -> None:
            for row in rows:
                points: list[Point] = []
                for key in here:
                    if i := row.estimate(key):
                        x = middle(key) if len(here) > 1 else rows.index(row)
                        text = f"{row.name}, {norm_text(norm)}, {ends(key)} /255: slope {tell(i, 1, '', 2)}"
                        points.append((x, i, text, row.per_seed(key)))
                line(ax, hits, row, points, 1)
            for y in (0, 1):
                ax.axhline(y, color=MUTED, linewidth=0.8, linestyle="dashed", zorder=1)
            where = f"between radii in {norm_text(norm)}, 1/255 pixel units"
            if len(here) == 1:
                by_method(ax, rows)
                ax.set_title(f"{where}: {ends(here[0])}")
            else:
                ax.set_xscale("log")
                ax.set_xticks([middle(k) for k in here], [ends(k) for k in here])
                ax.xaxis.set_minor_locator(NullLocator())
                ax.margins(x=0.12)
                ax.set_xlabel(where)
            ax.set_ylabel("slope (no unit)")

        return Panel(draw, f"slope, {norm_text(norm)}", size=(4.6, 2.7))

    data = [{"method": r.label} | k.columns | i._asdict() for r in rows for k in keys if (i := r.estimate(k))]
    caption = (
        "Discontinuity index: how the largest found change of the logits, omega, grows with the radius. 1 (dashed): in "
        "proportion, as a Lipschitz network's; 0 (dashed): not at all, as after a jump. It does not depend on the "
        "scale of the logits. An estimate, since both ends are lower bounds."
    )
    return Picture(
        "lipschitz_slope",
        "Slope of the modulus of continuity",
        caption,
        [panel(n) for n in norms],
        pd.DataFrame(data),
        len(norms),
        tuple(rows),
        paper=(3.3, 2.0),
        seeds=tuple(found.seeds(rows)),
    )
