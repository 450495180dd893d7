"""Corruption error against the secant gain."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from scipy import stats as distributions

from lcrbench.reports.comparison import COMMON_ERROR, Setting, chosen
from lcrbench.reports.figures import Hits, Panel, Picture, gid, look
from lcrbench.reports.results import lipschitz_key
from lcrbench.reports.words import norm_text, radius_text


def picture(setting: Setting) -> Picture | None:
    """Return mean corruption error against the secant gain, a point a run; a rank correlation from eight runs on."""
    key = lipschitz_key(setting)
    if key is None:
        return None
    info = setting.metrics[key.metric]
    data: list[dict[str, Any]] = []
    for row in chosen(setting):
        pairs = zip(row.runs, row.per_seed(key), row.per_seed(COMMON_ERROR), strict=False)
        if len(row.per_seed(key)) == len(row.per_seed(COMMON_ERROR)) == len(row.runs):
            data += [
                {
                    "row": row.index,
                    "method": row.label,
                    "seed": run.spec.seed,
                    "gain": gain,
                    "error_percent": error * 100,
                }
                for run, gain, error in pairs
            ]
    if len(data) < 3:
        return None
    frame = pd.DataFrame(data)
    rows = {r.index: r for r in setting.rows}
    if len(frame) >= 8 and frame["gain"].nunique() > 1 and frame["error_percent"].nunique() > 1:
        rho, p = distributions.spearmanr(frame["gain"], frame["error_percent"])
        said = (
            f"Spearman's rank correlation over {len(frame)} runs: {rho:.2f} (p {p:.2g}); runs of one method "
            "are alike, so it is descriptive."
        )
    else:
        said = f"{len(frame)} runs, too few or too much alike for a correlation."

    def draw(ax: Axes, hits: Hits) -> None:
        for point in data:
            row = rows[int(point["row"])]
            s = look(row)
            x, y = float(point["gain"]), float(point["error_percent"])
            ax.plot([x], [y], s.marker, color=s.colour, markersize=5, alpha=0.85, gid=gid(row))
            hits.point(ax, x, y, f"{row.label}, seed {point['seed']}: gain {x:.3g}, error {y:.1f} %", row.index)
        ax.set_xlabel(f"secant gain {key.statistic}, {norm_text(key.norm)}, {radius_text(key.radius)}, {info.unit}")
        ax.set_ylabel("mean corruption error, %")
        ax.set_title("corruption error against gain")
        ax.margins(0.08)

    legend = tuple(r for r in chosen(setting) if r.index in set(frame["row"]))
    caption = f"Mean error over the common corruptions against the secant gain, a point a run. {said}"
    panel = Panel(draw, "corruption error against secant gain", size=(6.2, 3.6))
    frame = frame.drop(columns="row")
    return Picture(
        "lipschitz_error", "Lipschitz against corruption error", caption, [panel], frame, 1, legend, (4.2, 2.7)
    )
