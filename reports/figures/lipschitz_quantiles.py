"""The quantile functions of the ranked figures over images, at the middle radius."""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from lcrbench.bench.stats import Interval
from lcrbench.reports.context import Context
from lcrbench.reports.drawing import MUTED, ZERO, Hits, Panel, Picture, Point, along, line
from lcrbench.reports.lipschitz import Figure, Lipschitz, drawn, quantiles
from lcrbench.reports.words import norm_text
from lcrbench.reports.words.lipschitz import effort_note, figure_text

SECTION, ORDER = "lipschitz", 50

LEVELS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


def figure(context: Context) -> Picture | None:
    """Return the value that a share of the images does not exceed, by method, a column of panels a norm."""
    found = context.lipschitz
    if found is None:
        return None
    rows = drawn(found)
    figures = []
    for metric in dict.fromkeys(f.metric for f in found.figures if not f.distance):
        for norm in dict.fromkeys(f.norm for f in found.figures):
            same = [f for f in found.figures if (f.metric, f.norm) == (metric, norm)]
            figures += same[len(same) // 2 : len(same) // 2 + 1]
    panels, data = [], []
    for figure in figures:
        of_rows = {}
        for row in rows:
            by_seed = quantiles(found, row, figure, LEVELS)
            if not len(by_seed):
                continue
            of_rows[row.index] = by_seed
            data += [
                {"method": row.label, **figure.axes, "level": level, "seed": seed, "value": value}
                for level, values in zip(LEVELS, by_seed.T, strict=True)
                for seed, value in enumerate(values)
            ]
        if of_rows:
            panels += [_panel(found, figure, of_rows, axis) for axis in ("log", "linear")]
    if not data:
        return None
    caption = (
        "The value that a share of the images does not exceed: the median is at 50 %, the 95 % quantile at 95 %. Lower "
        "bounds by search at the middle radius; from kappa 1 on (dashed) a flip was found. Lines: the median over the "
        "training seeds; bands: their range. "
    )
    values = [point["value"] for point in data]
    caption += f"{ZERO} " * bool(min(values) <= 0 < max(values)) + effort_note(found)
    columns = len({f.norm for f in figures}) if len({f.norm for f in figures}) > 1 else len(panels) // 2
    title = "Lipschitz figures over the images"
    return Picture(
        "lipschitz_quantiles", title, caption, panels, pd.DataFrame(data), columns, tuple(rows), paper=(3.3, 2.0)
    )


def _panel(found: Lipschitz, figure: Figure, of_rows: dict[int, np.ndarray], axis: str) -> Panel:
    def draw(ax: Axes, hits: Hits) -> None:
        shown: list[float] = []
        for row in found.rows:
            if row.index not in of_rows:
                continue
            points: list[Point] = []
            for level, values in zip(LEVELS, of_rows[row.index].T, strict=True):
                middle, low, high = float(np.median(values)), float(values.min()), float(values.max())
                if not np.isfinite(middle):
                    continue
                seeds = len(values)
                between = seeds > 1 and np.isfinite(high)
                told = f"median of {seeds} seeds, {low:.3g} to {high:.3g}" if seeds > 1 else "one seed"
                text = f"{row.name}, {figure_text(figure)}: {level * 100:g} % of images at most {middle:.3g} ({told})"
                interval = Interval(middle, low if between else None, high if between else None, seeds, "")
                points.append((level * 100, interval, text, list(map(float, values))))
                shown += [low, middle, high] if between else [middle]
            line(ax, hits, row, points, 1, ends=True)
        along(ax, shown, axis)
        if figure.ranking.threshold is not None:
            ax.axhline(figure.ranking.threshold, color=MUTED, linewidth=0.8, linestyle="dashed", zorder=1)
        ax.set_xlim(0, 100)
        ax.set_xlabel(f"images, % ({norm_text(figure.norm)}, {figure.radius_255:g}/255)")
        ax.set_ylabel(textwrap.fill(f"{figure.title}, {figure.unit}", 30))

    return Panel(draw, figure_text(figure), size=(4.6, 2.9), scale=axis)
