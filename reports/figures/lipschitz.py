"""Kappa, the share of found flips and the relative gain against the radius."""

from __future__ import annotations

import textwrap
from typing import NamedTuple

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

from lcrbench.bench.records.measurement import Scale
from lcrbench.bench.records.statistics import Statistic
from lcrbench.bench.stats import Interval
from lcrbench.reports.comparison import Key, Row
from lcrbench.reports.context import Context
from lcrbench.reports.drawing import (
    MUTED,
    ZERO,
    Hits,
    Panel,
    Picture,
    Point,
    along,
    by_method,
    line,
    tell,
)
from lcrbench.reports.lipschitz import Lipschitz, drawn, title_of
from lcrbench.reports.words import norm_text, radius_text
from lcrbench.reports.words.lipschitz import effort_note

SECTION, ORDER = "lipschitz", 30


class Curve(NamedTuple):
    """A statistic to draw against the radius, multiplied by `scale` and, if `by_radius`, by the radius in pixel units."""

    metric: str
    statistic: str
    label: str
    scale: float = 1.0
    by_radius: bool = False
    threshold: float | None = None


def ranked(found: Lipschitz) -> tuple[Curve, ...]:
    """Return the medians of the metrics that networks are ranked by, each with the shares of images beside it."""
    curves = []
    for metric, info in found.ranked.items():
        if info.ranking is None or info.ranking.distance:
            continue
        label = f"median {title_of(metric, info)}, {info.unit}"
        curves.append(Curve(metric, Statistic.Q50, label, threshold=info.ranking.threshold))
        shares = [(s, kind) for s, kind in info.other.items() if kind.title and kind.scale is Scale.SHARE]
        curves += [Curve(metric, s, f"{kind.title}, % of images", 100.0) for s, kind in shares]
    return tuple(curves)


def figure(context: Context) -> Picture | None:
    """Return kappa, the share of flips and the relative gain against the radius, a column of panels a norm."""
    return against_radius(
        context.lipschitz,
        ranked(context.lipschitz) if context.lipschitz else (),
        "lipschitz",
        "Lipschitz figures against the radius",
        "What a search found within each radius: lower bounds. Kappa is the largest margin change over the margin, from 1 "
        "on (dashed) a flip; the relative gain is the change of the logits over the radius and over their size.",
    )


def against_radius(
    found: Lipschitz | None, curves: tuple[Curve, ...], name: str, title: str, said: str
) -> Picture | None:
    """Return curves against the radius, a column of panels a norm; `said` begins the caption. None if none was measured."""
    if found is None or not curves:
        return None
    rows = drawn(found)
    panels, data, broken = [], [], False
    norms = list(dict.fromkeys(k.norm for k in found.keys(curves[0].metric)))
    for curve in curves:
        for norm in norms:
            keys = sorted(
                (
                    k
                    for k in found.keys(curve.metric)
                    if (k.statistic, k.norm, k.detail) == (curve.statistic, norm, None)
                ),
                key=lambda k: k.radius or 0.0,
            )
            values = {(r.index, k): _of(r, k, curve) for r in rows for k in keys}
            if not any(values.values()):
                continue
            axes = ("log", "linear") if curve.scale == 1 else ("",)
            panels += [_panel(rows, keys, values, curve, axis) for axis in axes]
            drawn_ends = [v for i in values.values() if i for v in (i.value, i.low, i.high) if v is not None]
            broken = broken or bool(curve.scale == 1 and min(drawn_ends) <= 0 < max(drawn_ends))
            data += [
                {"method": r.label, "figure": curve.label, "statistic": k.statistic, "norm": norm, "radius": k.radius}
                | i._asdict()
                for r in rows
                for k in keys
                if (i := values[r.index, k])
            ]
    if not data:
        return None
    columns = len(norms) if len(norms) > 1 else len([p for p in panels if p.scale != "linear"])
    return Picture(
        name,
        title,
        " ".join([said, *[ZERO] * broken, effort_note(found)]),
        panels,
        pd.DataFrame(data),
        columns,
        tuple(rows),
        paper=(3.3 if columns < 3 else 2.4, 1.9),
        seeds=tuple(found.seeds(rows)),
    )


def _of(row: Row, key: Key, curve: Curve) -> Interval | None:
    i = row.estimate(key)
    if i is None or not curve.by_radius:
        return i
    ends = [None if v is None else v * (key.radius or 0.0) for v in (i.value, i.low, i.high)]
    return i._replace(value=ends[0] or 0.0, low=ends[1], high=ends[2])


def _panel(
    rows: list[Row], keys: list[Key], found: dict[tuple[int, Key], Interval | None], curve: Curve, axis: str
) -> Panel:
    norm, label, scale = keys[0].norm, curve.label, curve.scale
    radii = [(k.radius or 0.0) * 255 for k in keys]

    def draw(ax: Axes, hits: Hits) -> None:
        values = []
        for row in rows:
            points: list[Point] = []
            for key, radius in zip(keys, radii, strict=True):
                if i := found[row.index, key]:
                    text = f"{row.name}, {norm_text(norm)}, {radius_text(key.radius)}: {label} {tell(i, scale, '', 3)}"
                    by = (key.radius or 0.0) if curve.by_radius else 1.0
                    x = radius if len(radii) > 1 else rows.index(row)
                    points.append((x, i, text, [v * by for v in row.per_seed(key)]))
                    values += [v * scale for v in (i.value, i.low, i.high) if v is not None]
            line(ax, hits, row, points, scale)
        if len(radii) == 1:
            by_method(ax, rows)
            ax.set_title(f"{norm_text(norm)}, radius {radii[0]:g}/255 pixel units")
        else:
            ax.set_xscale("log")
            ax.set_xticks(radii, [f"{r:g}" for r in radii])
            ax.xaxis.set_minor_locator(NullLocator())
            ax.set_xlabel(f"radius in {norm_text(norm)}, 1/255 pixel units")
        if scale != 1:
            ax.set_ylim(-3, 103)
        else:
            along(ax, values, axis)
        if curve.threshold is not None:
            ax.axhline(curve.threshold, color=MUTED, linewidth=0.8, linestyle="dashed", zorder=1)
        ax.set_ylabel(textwrap.fill(label, 30))

    return Panel(draw, f"{label}, {norm_text(norm)}", size=(4.6, 2.9), scale=axis if scale == 1 else "")
