"""The share of cells in which a method is within a factor of the best."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from lcrbench.reports.comparison import COMMON, Key, chosen, errors_of
from lcrbench.reports.context import Context
from lcrbench.reports.drawing import Hits, Panel, Picture, gid, look

SECTION, ORDER = "trust", 120
NEEDS = "two ranked methods, and five cells of the common corruptions"


def figure(context: Context) -> Picture | None:
    """Return the share of cells in which a method's error is within a factor of the best one's."""
    setting = context.setting
    rows = [r for r in chosen(setting) if not r.aside]
    cells = [
        Key("accuracy", corruption=c, severity=s)
        for c in setting.corruptions
        if c in COMMON
        for s in setting.severities
    ]
    errors = errors_of(setting, rows, cells)
    if errors is None or len(rows) < 2 or len(errors) < 5:
        return None
    # One image's worth of error keeps the ratio finite where the best method makes none.
    floor = 1 / setting.any.spec.data.test
    ratios = (errors + floor) / (errors.min(axis=1, keepdims=True) + floor)
    top = min(4.0, max(1.2, float(np.quantile(ratios, 0.98))))
    taus = np.linspace(1, top, 61)
    shares = {r.index: [(ratios[:, j] <= t + 1e-12).mean() * 100 for t in taus] for j, r in enumerate(rows)}

    def draw(ax: Axes, hits: Hits) -> None:
        for row in rows:
            s = look(row)
            ax.plot(taus, shares[row.index], color=s.colour, linestyle=s.dash, drawstyle="steps-post", gid=gid(row))
            for k in range(0, len(taus), 6):
                share = shares[row.index][k]
                text = f"{row.name}: within {taus[k]:.2f} times the best error in {share:.0f} % of {len(errors)} cells"
                hits.point(ax, float(taus[k]), shares[row.index][k], text, row.index)
        ax.set_xlim(1, top)
        ax.set_ylim(-2, 102)
        ax.set_xlabel("factor of the best method's error")
        ax.set_ylabel("share of cells, %")
        ax.set_title("performance profile")

    caption = (
        f"Share of the {len(errors)} corruption x severity cells in which a method's error is within a factor of the "
        "smallest one. "
        "Higher and further left is better. A picture, not a claim."
    )
    data = pd.DataFrame({"factor": taus} | {r.label: shares[r.index] for r in rows})
    panel = Panel(draw, "performance profile", size=(6.2, 3.6))
    return Picture("performance_profile", "Performance profile", caption, [panel], data, 1, tuple(rows), (4.2, 2.5))
