"""Accuracy against severity, by corruption and averaged."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from lcrbench.bench import stats
from lcrbench.bench.records.measurement import Scale
from lcrbench.bench.stats import Interval
from lcrbench.reports.comparison import CLEAN, COMMON, Key, Row, chosen, group_of, within
from lcrbench.reports.context import Context
from lcrbench.reports.drawing import Hits, Panel, Picture, Point, band_words, line, tell
from lcrbench.reports.significance import Outcomes
from lcrbench.reports.words import words

SECTION, ORDER = "figures", 10


def figure(context: Context) -> Picture | None:
    """Return accuracy against severity, a panel a corruption and one for the mean over the common ones."""
    setting, outcomes = context.setting, context.outcomes
    rows = chosen(setting)
    names = setting.corruptions
    lines: dict[tuple[str, int], list[Point]] = {}
    data = []
    average = "mean of the common corruptions"
    for row in rows:
        clean = row.estimate(CLEAN)
        for name in [average, *names]:
            points = [(0.0, clean, row.per_seed(CLEAN))] if clean else []
            for severity in setting.severities:
                if name == average:
                    value, seeds = _mean_at(row, severity, outcomes)
                else:
                    key = Key("accuracy", corruption=name, severity=severity)
                    value, seeds = row.estimate(key), row.per_seed(key)
                if value:
                    points.append((float(severity), value, seeds))
            if len(points) < 2:
                continue
            lines[name, row.index] = [
                (x, i, f"{row.label}, {name.replace('_', ' ')}{f' {x:g}' if x else ': clean'}: {tell(i)}", seeds)
                for x, i, seeds in points
            ]
            data += [{"method": row.label, "corruption": name, "severity": int(x)} | i._asdict() for x, i, _ in points]
    if not data:
        return None
    low = min(p[1].value for line in lines.values() for p in line) * 100
    bottom = max(0.0, math.floor((low - 3) / 10) * 10)
    top = min(100.0, math.ceil((max(p[1].value for line in lines.values() for p in line) * 100 + 1) / 10) * 10)

    def panel(name: str) -> Panel:
        def draw(ax: Axes, hits: Hits) -> None:
            for row in rows:
                line(ax, hits, row, lines.get((name, row.index), []))
            ax.set_title("mean of common" if name == average else words(name))
            ax.set_ylim(bottom, top)
            ax.set_xlim(-0.15, max(setting.severities) + 0.15)
            ax.set_xticks([0, *setting.severities])
            ax.set_xlabel("severity (0: clean)")
            ax.set_ylabel("accuracy, %")

        return Panel(draw, name.replace("_", " "), group="common" if name == average else group_of(name))

    shown = [n for n in [average, *names] if any((n, r.index) in lines for r in rows)]
    caption = f"Accuracy on the {setting.any.spec.data.test:,} test images against severity; 0 is clean. " + band_words(
        [len(r.runs) for r in rows]
    )
    if len(rows) < len([r for r in setting.rows if r.runs]):
        caption += f" The reference and the {len(rows) - 1} most accurate methods are drawn; the tables hold all."
    return Picture(
        "corruption_curves",
        "Accuracy against severity",
        caption,
        [panel(n) for n in shown],
        pd.DataFrame(data),
        legend=tuple(rows),
        shared=True,
    )


def _mean_at(row: Row, severity: int, outcomes: Outcomes | None) -> tuple[Interval | None, list[float]]:
    """Return the accuracy at one severity, mean over the common corruptions, and its value in each seed.

    With one seed the interval is over images, from the outcomes.
    """
    per_seed: list[list[float]] = []
    for name in COMMON:
        values = row.per_seed(Key("accuracy", corruption=name, severity=severity))
        if values:
            per_seed.append(values)
    if not per_seed or len({len(v) for v in per_seed}) != 1:
        return None, []
    means = np.mean(per_seed, axis=0)
    if means.size > 1:
        return within(stats.mean(means, "seeds"), Scale.SHARE), means.tolist()
    per_image = outcomes.per_image(row.runs[0].run_id, "common", severity) if outcomes else None
    if per_image is None:
        return Interval(float(means[0]), None, None, 1, ""), means.tolist()
    return stats.mean(per_image, "base images"), means.tolist()
