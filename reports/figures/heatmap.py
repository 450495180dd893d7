"""Accuracy by corruption and severity, and its difference from the reference."""

from __future__ import annotations

import math
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from lcrbench.reports.comparison import Key, Row, chosen
from lcrbench.reports.context import Context
from lcrbench.reports.drawing import RULE, Hits, Panel, Picture, gid, plain_label
from lcrbench.reports.words import words

SECTION, ORDER = "figures", 20


def figure(context: Context) -> Picture | None:
    """Return accuracy by corruption and severity, a panel a method, and each one's difference from the reference."""
    setting = context.setting
    rows = chosen(setting, 6)
    names, severities = setting.corruptions, setting.severities
    grids: dict[int, Any] = {}
    for row in rows:
        cells = [[row.estimate(Key("accuracy", corruption=c, severity=s)) for s in severities] for c in names]
        grids[row.index] = np.array([[math.nan if c is None else c.value * 100 for c in line] for line in cells])
    rows = [r for r in rows if np.isfinite(grids[r.index]).any()]
    if not rows:
        return None
    reference = setting.reference if setting.reference in rows else None
    others = [r for r in rows if reference is not None and r is not reference]
    differences = {r.index: grids[r.index] - grids[reference.index] for r in others if reference is not None}
    low = min(float(np.nanmin(grids[r.index])) for r in rows)
    high = max(float(np.nanmax(grids[r.index])) for r in rows)
    widest = max([1.0, *[float(np.nanmax(np.abs(d))) for d in differences.values()]])
    data = []
    for row in rows:
        for i, c in enumerate(names):
            for j, s in enumerate(severities):
                line: dict[str, object] = {"method": row.label, "corruption": c, "severity": s}
                line["accuracy_percent"] = float(grids[row.index][i, j])
                if row.index in differences:
                    line["difference_points"] = float(differences[row.index][i, j])
                data.append(line)

    def panel(row: Row, values: Any, colours: str, bounds: tuple[float, float], title: str, sign: bool) -> Panel:
        def draw(ax: Axes, hits: Hits) -> None:
            cmap = mpl.colormaps[colours]
            # Numbers are printed by `hits`, and ticks set below: seaborn would draw the figure to see whether they fit.
            sns.heatmap(
                values,
                vmin=bounds[0],
                vmax=bounds[1],
                cmap=cmap,
                cbar=False,
                linewidths=0.4,
                linecolor=RULE,
                xticklabels=False,
                yticklabels=False,
                ax=ax,
                gid=gid(row),
            )
            for i, name in enumerate(names):
                for j, severity in enumerate(severities):
                    v = float(values[i, j])
                    if math.isnan(v):
                        continue
                    r, g, b, _ = cmap((v - bounds[0]) / max(1e-9, bounds[1] - bounds[0]))
                    dark = 0.299 * r + 0.587 * g + 0.114 * b < 0.5
                    shown = f"{v:+.0f}".replace("-", "−") if sign else f"{v:.0f}"
                    shown = "0" if shown in ("+0", "−0") else shown
                    hits.number(ax, j + 0.5, i + 0.5, shown, "#ffffff" if dark else "#111111", row.index)
                    what = f"{v:+.1f} points against {reference.label}" if sign and reference else f"{v:.1f} %"
                    hits.box(
                        ax, j + 0.5, i + 0.5, f"{row.label}, {name.replace('_', ' ')} {severity}: {what}", row.index
                    )
            ax.set_yticks(np.arange(len(names)) + 0.5, [words(n) for n in names], rotation="horizontal")
            ax.set_xticks(np.arange(len(severities)) + 0.5, [str(s) for s in severities])
            ax.set_xlabel("severity")
            ax.tick_params(length=0)
            ax.grid(visible=False)
            ax.set_title(title)

        return Panel(draw, title, size=(3.9, 0.8 + 0.2 * max(4, len(names))))

    panels = [panel(r, grids[r.index], "cividis", (low, high), plain_label(r), False) for r in rows]
    panels += [
        panel(
            r,
            differences[r.index],
            "PuOr",
            (-widest, widest),
            f"{plain_label(r)} − ref.",
            True,
        )
        for r in others
        if reference is not None
    ]
    against = (
        f", and below or beside it the difference from {reference.label} in points" if others and reference else ""
    )
    caption = f"Accuracy in % by corruption and severity, mean over the seeds{against}. Single cells are descriptive."
    height = 0.42 + 0.135 * max(4, len(names))
    hole = (len(rows) + rows.index(reference),) if others and reference is not None else ()
    width = max(1.05, min(2.2, 7.0 / len(rows)))
    return Picture(
        "heatmap",
        "Corruption by severity",
        caption,
        panels,
        pd.DataFrame(data),
        len(rows),
        paper=(width, height),
        shared=True,
        holes=hole,
    )
