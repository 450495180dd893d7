"""Accuracy by corruption and severity, and its difference from the reference."""

from __future__ import annotations

import math
import textwrap
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, to_hex

from lcrbench.reports.comparison import Key, Row, chosen, group_of
from lcrbench.reports.context import Context
from lcrbench.reports.drawing import RULE, Hits, Panel, Picture, gid, plain_label
from lcrbench.reports.heat import HeatCell, HeatRow, heat_svg
from lcrbench.reports.words.names import corruption_name

SECTION, ORDER = "corruptions", 20


def figure(context: Context) -> Picture | None:
    """Return accuracy by corruption and severity, a panel a method, and each one's difference from the reference."""
    setting = context.setting
    rows = chosen(setting, 6)
    names, severities = list(context.options.corruptions or setting.corruptions), setting.severities
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
    width = max(1.05, min(2.2, 7.0 / len(rows)))

    def panel(row: Row, values: Any, colours: str, bounds: tuple[float, float], title: str, against: str) -> Panel:
        cmap = mpl.colormaps[colours]
        marks = [[_cell(float(v), cmap, bounds, bool(against)) for v in line] for line in values]

        def told(i: int, j: int) -> str:
            v = float(values[i, j])
            what = f"{v:+.1f} points against {against}" if against else f"{v:.1f} %"
            return f"{row.name}, {corruption_name(names[i])} {severities[j]}: {what}"

        def draw(ax: Axes, hits: Hits) -> None:
            import seaborn as sns  # for files: the page's map is `svg`

            # Numbers are printed by `hits`, and ticks set below: seaborn would draw the figure to see whether they fit.
            sns.heatmap(
                values, vmin=bounds[0], vmax=bounds[1], cmap=cmap, cbar=False, linewidths=0.4, linecolor=RULE,
                xticklabels=False, yticklabels=False, ax=ax, gid=gid(row),
            )  # fmt: skip
            for i, line in enumerate(marks):
                for j, mark in enumerate(line):
                    if mark is not None:
                        _, ink, shown = mark
                        hits.number(ax, j + 0.5, i + 0.5, shown, ink, row.index)
            ax.set_yticks(
                np.arange(len(names)) + 0.5, [_plain(corruption_name(n)) for n in names], rotation="horizontal"
            )
            ax.set_xticks(np.arange(len(severities)) + 0.5, [str(s) for s in severities])
            ax.set_xlabel("severity")
            ax.tick_params(length=0)
            ax.grid(visible=False)
            ax.set_title(textwrap.fill(title, max(12, int(width * 72 / 4.7))))

        def svg(prefix: str) -> str:
            lines = [
                HeatRow(
                    corruption_name(name),
                    group_of(name),
                    [mark and HeatCell(*mark, told(i, j)) for j, mark in enumerate(marks[i])],
                )
                for i, name in enumerate(names)
            ]
            shown = title.replace(r"\$", "$")
            return heat_svg(shown, lines, [str(s) for s in severities], "severity", row.index, size[0] * 72)

        size = (3.9, 0.8 + 0.2 * max(4, len(names)))
        return Panel(draw, title, size=size, row=row, svg=svg)

    panels = [panel(r, grids[r.index], "cividis", (low, high), plain_label(r), "") for r in rows]
    if reference is not None:
        ends = (-widest, widest)
        panels += [
            panel(r, differences[r.index], "PuOr", ends, f"{plain_label(r)} − {plain_label(reference)}", reference.name)
            for r in others
        ]
    against = f", and below or beside it the difference from {reference.name} in points" if others and reference else ""
    caption = f"Accuracy in % by corruption and severity, mean over the seeds{against}. Single cells are descriptive."
    height = 0.42 + 0.135 * max(4, len(names))
    hole = (len(rows) + rows.index(reference),) if others and reference is not None else ()
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


def _cell(v: float, cmap: Colormap, bounds: tuple[float, float], sign: bool) -> tuple[str, str, str] | None:
    """Return a cell's colour, that of its text, and what is printed; None where nothing was measured."""
    if math.isnan(v):
        return None
    colour = cmap((v - bounds[0]) / max(1e-9, bounds[1] - bounds[0]))
    r, g, b, _ = colour
    shown = f"{v:+.0f}".replace("-", "−") if sign else f"{v:.0f}"
    shown = "0" if shown in ("+0", "−0") else shown
    return to_hex(colour), "#ffffff" if 0.299 * r + 0.587 * g + 0.114 * b < 0.5 else "#111111", shown


def _plain(text: str) -> str:
    """Return text for matplotlib, which reads a dollar sign as mathematics."""
    return text.replace("$", r"\$")
