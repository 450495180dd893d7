"""Corruption error against kappa."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from scipy import stats as distributions

from lcrbench.reports.comparison import COMMON_ERROR
from lcrbench.reports.context import Context
from lcrbench.reports.drawing import Hits, Panel, Picture, gid, look
from lcrbench.reports.lipschitz import drawn
from lcrbench.reports.words import norm_text, radius_text

SECTION, ORDER = "lipschitz", 90


def figure(context: Context) -> Picture | None:
    """Return mean corruption error against median kappa at the middle l2 radius, a point a run."""
    found = context.lipschitz
    if found is None:
        return None
    keys = [k for k in found.keys("lipschitz_kappa") if k.statistic == "q50"]
    keys = sorted((k for k in keys if k.norm == "l2"), key=lambda k: k.radius or 0.0) or keys
    if not keys:
        return None
    key = keys[len(keys) // 2]
    data: list[dict[str, Any]] = []
    for row in drawn(found):
        kappa, error = row.per_seed(key), row.per_seed(COMMON_ERROR)
        if len(kappa) == len(error) == len(row.runs):
            data += [
                {"row": row.index, "method": row.label, "seed": run.spec.seed, "kappa": k, "error_percent": e * 100}
                for run, k, e in zip(row.runs, kappa, error, strict=True)
            ]
    if len(data) < 3:
        return None
    frame = pd.DataFrame(data)
    if len(frame) >= 8 and frame["kappa"].nunique() > 1 and frame["error_percent"].nunique() > 1:
        rho, p = distributions.spearmanr(frame["kappa"], frame["error_percent"])
        said = (
            f"Spearman's rank correlation over {len(frame)} runs: {rho:.2f} (p {p:.2g}); runs of one method are alike, "
            "so it is descriptive."
        )
    else:
        said = f"{len(frame)} runs, too few or too much alike for a correlation."
    rows = {r.index: r for r in found.rows}

    def draw(ax: Axes, hits: Hits) -> None:
        for point in data:
            row = rows[int(point["row"])]
            s = look(row)
            x, y = float(point["kappa"]), float(point["error_percent"])
            ax.plot([x], [y], s.marker, color=s.colour, markersize=5, alpha=0.85, gid=gid(row))
            hits.point(ax, x, y, f"{row.name}, seed {point['seed']}: kappa {x:.3g}, error {y:.1f} %", row.index)
        ax.set_xlabel(f"median kappa (margins), {norm_text(key.norm)}, {radius_text(key.radius)}, lower bound")
        ax.set_ylabel("mean corruption error, %")
        ax.margins(0.08)

    legend = tuple(r for r in drawn(found) if r.index in set(frame["row"]))
    caption = f"Mean error over the common corruptions against kappa, a point a run. {said}"
    panel = Panel(draw, "corruption error against kappa", size=(6.2, 3.6))
    return Picture(
        "lipschitz_error",
        "Kappa against corruption error",
        caption,
        [panel],
        frame.drop(columns="row"),
        1,
        legend,
        (4.2, 2.7),
    )
