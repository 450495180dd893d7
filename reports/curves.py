"""Accuracy against severity: the lines of each corruption and of their mean, which several figures draw."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from lcrbench.bench import stats
from lcrbench.bench.records.measurement import Scale
from lcrbench.bench.stats import Interval
from lcrbench.reports.comparison import CLEAN, COMMON, Key, Row, chosen, group_of, within
from lcrbench.reports.context import Context
from lcrbench.reports.drawing import Hits, Panel, Point, line, tell
from lcrbench.reports.significance import Outcomes
from lcrbench.reports.words.names import corruption_name

MEAN = "mean of the common corruptions"


@dataclass(frozen=True)
class Curves:
    """The lines by what was shown and row, the rows that have one, their data, and the ends of the axis in percent."""

    context: Context
    rows: tuple[Row, ...]
    lines: dict[tuple[str, int], list[Point]]
    data: pd.DataFrame
    ends: tuple[float, float]

    @property
    def names(self) -> list[str]:
        """Return what was shown, the mean first."""
        return list(dict.fromkeys(name for name, _ in self.lines))

    @property
    def caption(self) -> str:
        """Return what the lines are, and which methods are left out."""
        setting = self.context.setting
        said = f"Accuracy on the {setting.any.spec.data.test:,} test images against severity; 0 is clean."
        if len(self.rows) < len([r for r in setting.rows if r.runs]):
            said += f" The reference and the {len(self.rows) - 1} most accurate methods are drawn; the tables hold all."
        return said

    def panel(self, name: str, size: tuple[float, float] = (3.7, 2.6), title: str | None = None) -> Panel:
        """Return the panel of a corruption, or of the mean."""
        severities = self.context.setting.severities
        called = MEAN if name == MEAN else corruption_name(name)

        def draw(ax: Axes, hits: Hits) -> None:
            for row in self.rows:
                line(ax, hits, row, self.lines.get((name, row.index), []))
            ax.set_title(title if title is not None else "mean of common" if name == MEAN else called)
            ax.set_ylim(*self.ends)
            ax.set_xlim(-0.15, max(severities) + 0.15)
            ax.set_xticks([0, *severities])
            ax.set_xlabel("severity (0: clean)")
            ax.set_ylabel("accuracy, %")

        return Panel(draw, called, size, group="common" if name == MEAN else group_of(name))


def curves(context: Context, names: Sequence[str]) -> Curves | None:
    """Return the lines of these corruptions, `MEAN` among them or not; None where nothing was shown."""
    setting = context.setting
    lines: dict[tuple[str, int], list[Point]] = {}
    data = []
    for row in chosen(setting):
        clean = row.estimate(CLEAN)
        for name in names:
            points = [(0.0, clean, row.per_seed(CLEAN))] if clean else []
            for severity in setting.severities:
                if name == MEAN:
                    value, seeds = _mean_at(row, severity, context.outcomes)
                else:
                    key = Key("accuracy", corruption=name, severity=severity)
                    value, seeds = row.estimate(key), row.per_seed(key)
                if value:
                    points.append((float(severity), value, seeds))
            if len(points) < 2:
                continue
            called = MEAN if name == MEAN else corruption_name(name)
            lines[name, row.index] = [
                (x, i, f"{row.name}, {called}{f' {x:g}' if x else ': clean'}: {tell(i)}", seeds)
                for x, i, seeds in points
            ]
            data += [{"method": row.label, "corruption": name, "severity": int(x)} | i._asdict() for x, i, _ in points]
    if not data:
        return None
    shown = [p for points in lines.values() for p in points]
    values = [v for _, i, _, seeds in shown for v in (i.value, *seeds)]
    # One seed has its interval over images drawn around it.
    around = [end for _, i, _, seeds in shown if len(seeds) < 2 for end in (i.low, i.high) if end is not None]
    bottom = max(0.0, math.floor(min([min(values) * 100 - 3, *(end * 100 for end in around)]) / 10) * 10)
    top = min(100.0, math.ceil(max([max(values) * 100 + 1, *(end * 100 for end in around)]) / 10) * 10)
    rows = tuple(row for row in chosen(setting) if any((name, row.index) in lines for name in names))
    ordered = {(n, r.index): lines[n, r.index] for n in names for r in rows if (n, r.index) in lines}
    return Curves(context, rows, ordered, pd.DataFrame(data), (bottom, top))


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
