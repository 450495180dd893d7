"""Mean ranks over the corruptions, with the critical difference."""

from __future__ import annotations

import math

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray
from scipy import stats as distributions

from lcrbench.bench import stats
from lcrbench.reports.comparison import COMMON, Key, chosen, errors_of
from lcrbench.reports.context import Context
from lcrbench.reports.drawing import MUTED, Hits, Panel, Picture, gid, look, plain_label

SECTION, ORDER = "trust", 110
NEEDS = "three ranked methods, and five of the common corruptions"


def figure(context: Context) -> Picture | None:
    """Return Demsar's diagram: mean ranks over the corruptions, methods within the critical difference joined."""
    setting = context.setting
    rows = [r for r in chosen(setting) if not r.aside]
    errors = errors_of(
        setting, rows, [Key("corruption_error", corruption=c) for c in setting.corruptions if c in COMMON]
    )
    if errors is None or len(rows) < 3 or len(errors) < 5:
        return None
    ranks, p, distance = ranks_over(errors)
    order = sorted(range(len(rows)), key=lambda i: ranks[i])
    groups: list[tuple[int, int]] = []
    for i in range(len(order)):
        j = max(k for k in range(i, len(order)) if ranks[order[k]] - ranks[order[i]] <= distance)
        if j > i and not any(a <= i and j <= b for a, b in groups):
            groups.append((i, j))

    def draw(ax: Axes, hits: Hits) -> None:
        n = len(rows)
        top = 1.0
        ax.plot([1, n], [top, top], color=MUTED, linewidth=0.8)
        for tick in range(1, n + 1):
            ax.plot([tick, tick], [top, top + 0.12], color=MUTED, linewidth=0.8)
            ax.annotate(str(tick), (tick, top + 0.18), ha="center", va="bottom", color=MUTED)
        half = (n + 1) // 2
        for place, i in enumerate(order):
            row, rank = rows[i], float(ranks[i])
            s = look(row)
            left = place < half
            depth = top - 0.55 - 0.32 * len(groups) - 0.42 * (place if left else n - 1 - place)
            edge = 1 - 0.08 * n if left else n + 0.08 * n
            ax.plot([rank, rank, edge], [top, depth, depth], color=s.colour, linewidth=1, gid=gid(row))
            text = f"{plain_label(row)} {rank:.2f}"
            ax.annotate(
                text,
                (edge, depth),
                xytext=(-3 if left else 3, 0),
                textcoords="offset points",
                ha="right" if left else "left",
                va="center",
                fontsize=0.93 * mpl.rcParams["font.size"],
            )
            hits.point(ax, rank, top, f"{row.name}: mean rank {rank:.2f} over {len(errors)} corruptions", row.index)
        for level, (i, j) in enumerate(groups):
            y = top - 0.28 - 0.3 * level
            ax.plot(
                [ranks[order[i]] - 0.03, ranks[order[j]] + 0.03],
                [y, y],
                color=MUTED,
                linewidth=3,
                solid_capstyle="round",
            )
        ax.plot([1, 1 + distance], [top + 0.75, top + 0.75], color=MUTED, linewidth=1.2)
        ax.annotate(
            f"critical difference {distance:.2f}",
            (1 + distance / 2, top + 0.82),
            ha="center",
            va="bottom",
            fontsize=0.93 * mpl.rcParams["font.size"],
            color=MUTED,
        )
        ax.set_xlim(1 - 0.35 * n, n + 0.35 * n)
        ax.set_ylim(top - 0.9 - 0.32 * len(groups) - 0.42 * half, top + 1.25)
        ax.set_axis_off()

    height = 1.1 + 0.17 * len(rows) + 0.1 * len(groups)
    caption = (
        f"Mean rank over the {len(errors)} common corruptions (1 is the most accurate); a grey bar joins methods "
        "closer than Nemenyi's "
        f"critical difference. Friedman's p {p:.2g}. Corruptions are not a sample of anything: a picture, not a claim."
    )
    data = pd.DataFrame({"method": [rows[i].label for i in order], "mean_rank": [float(ranks[i]) for i in order]})
    panel = Panel(draw, "critical difference", size=(6.4, height))
    return Picture("critical_difference", "Mean ranks", caption, [panel], data, 1, (), (5.5, height * 0.9))


def ranks_over(errors: NDArray[np.float64]) -> tuple[NDArray[np.float64], float, float]:
    """Return mean ranks of the columns of (block, method) errors, Friedman's p, and Nemenyi's critical difference at .05."""
    blocks, k = errors.shape
    ranks = distributions.rankdata(errors, axis=1).mean(axis=0)
    p = float("nan")
    if k > 2:  # where all methods tie in every block the statistic is 0 / 0
        p = float(distributions.friedmanchisquare(*errors.T).pvalue) if np.ptp(errors, axis=1).any() else 1.0
    q = float(distributions.studentized_range.ppf(stats.LEVEL, k, np.inf)) / math.sqrt(2)
    return ranks, p, q * math.sqrt(k * (k + 1) / (6 * blocks))
