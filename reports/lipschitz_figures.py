"""Figures of the Lipschitz part of a report: curves over the radius, the slope, and what each layer does."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from scipy import stats as distributions

from lcrbench.reports.comparison import COMMON_ERROR, Key, Row
from lcrbench.reports.figures import MUTED, Hits, Panel, Picture, Point, band_words, gid, line, look, tell
from lcrbench.reports.lipschitz import Lipschitz, drawn, effort_note, layer_value, layers
from lcrbench.reports.tables import norm_text, radius_text

CURVES = (
    ("lipschitz_kappa", "q50", "median kappa (margins)", 1.0),
    ("lipschitz_kappa", "flipped", "images with a found flip, %", 100.0),
    ("lipschitz_relative_gain", "q50", "median relative gain, per pixel unit", 1.0),
)


def pictures(found: Lipschitz) -> list[Picture]:
    """Return the figures that the measurements allow."""
    made = [curves(found), slopes(found), by_layer(found), against_error(found)]
    return [p for p in made if p is not None]


def curves(found: Lipschitz) -> Picture | None:
    """Return kappa, the share of flips and the relative gain against the radius, a column of panels a norm."""
    rows = drawn(found)
    panels, data = [], []
    norms = list(dict.fromkeys(k.norm for k in found.keys("lipschitz_kappa")))
    for metric, statistic, label, scale in CURVES:
        for norm in norms:
            keys = sorted(
                (k for k in found.keys(metric) if (k.statistic, k.norm) == (statistic, norm)),
                key=lambda k: k.radius or 0.0,
            )
            if not keys:
                continue
            panels.append(_curve(rows, keys, label, scale))
            data += [
                {"method": r.label, "metric": metric, "statistic": statistic, "norm": norm, "radius": k.radius}
                | i._asdict()
                for r in rows
                for k in keys
                if (i := r.estimate(k))
            ]
    if not data:
        return None
    caption = (
        f"What a search found within each radius: lower bounds. Kappa is the largest margin change over the margin, "
        f"from 1 on (dashed) a flip; the relative gain is the change of the logits over the radius and over their "
        f"size. {effort_note(found)} " + band_words([len(r.runs) or 1 for r in rows])
    )
    columns = len(norms)
    return Picture(
        "lipschitz",
        "Lipschitz figures against the radius",
        caption,
        panels,
        pd.DataFrame(data),
        columns,
        tuple(rows),
        paper=(3.3 if columns < 3 else 2.4, 1.9),
    )


def _curve(rows: list[Row], keys: list[Key], label: str, scale: float) -> Panel:
    metric, norm = keys[0].metric, keys[0].norm
    radii = [(k.radius or 0.0) * 255 for k in keys]

    def draw(ax: Axes, hits: Hits) -> None:
        values = []
        for row in rows:
            points: list[Point] = []
            for key, radius in zip(keys, radii, strict=True):
                if i := row.estimate(key):
                    text = f"{row.label}, {norm_text(norm)}, {radius_text(key.radius)}: {label} {tell(i, scale, '', 3)}"
                    points.append((radius, i, text, row.per_seed(key)))
                    values += [v * scale for v in (i.value, i.low, i.high) if v is not None]
            line(ax, hits, row, points, scale)
        ax.set_xscale("log")
        ax.set_xticks(radii, [f"{r:g}" for r in radii])
        ax.xaxis.set_minor_locator(NullLocator())
        if scale == 1:
            logarithmic(ax, values)
        else:
            ax.set_ylim(-3, 103)
        if metric == "lipschitz_kappa" and scale == 1:
            ax.axhline(1, color=MUTED, linewidth=0.8, linestyle="dashed", zorder=1)
        ax.set_xlabel(f"radius in {norm_text(norm)}, 1/255 pixel units")
        ax.set_ylabel(label)

    return Panel(draw, f"{label}, {norm_text(norm)}", size=(4.6, 2.9))


def slopes(found: Lipschitz) -> Picture | None:
    """Return the slope of log omega against log radius between neighbouring radii, a panel a norm."""
    rows = drawn(found)
    keys = found.keys("lipschitz_slope")
    norms = list(dict.fromkeys(k.norm for k in keys))
    if not keys:
        return None

    def middle(key: Key) -> float:
        low, _, high = key.statistic.partition("-")
        return math.sqrt(float(low) * float(high))

    def panel(norm: str) -> Panel:
        here = sorted((k for k in keys if k.norm == norm), key=middle)

        def draw(ax: Axes, hits: Hits) -> None:
            for row in rows:
                points: list[Point] = []
                for key in here:
                    if i := row.estimate(key):
                        text = f"{row.label}, {norm_text(norm)}, {key.statistic} /255: slope {tell(i, 1, '', 2)}"
                        points.append((middle(key), i, text, row.per_seed(key)))
                line(ax, hits, row, points, 1)
            for y in (0, 1):
                ax.axhline(y, color=MUTED, linewidth=0.8, linestyle="dashed", zorder=1)
            ax.set_xscale("log")
            ax.set_xticks([middle(k) for k in here], [k.statistic.replace("-", "–") for k in here])
            ax.xaxis.set_minor_locator(NullLocator())
            ax.margins(x=0.12)
            ax.set_xlabel(f"between radii in {norm_text(norm)}, 1/255 pixel units")
            ax.set_ylabel("slope of log omega on log radius")

        return Panel(draw, f"slope, {norm_text(norm)}", size=(4.6, 2.7))

    data = [{"method": r.label} | k._asdict() | i._asdict() for r in rows for k in keys if (i := r.estimate(k))]
    caption = (
        "Discontinuity index: how the largest found change of the logits, omega, grows with the radius. 1 (dashed): in "
        "proportion, as a Lipschitz network's; 0 (dashed): not at all, as after a jump. It does not depend on the "
        "scale of the logits. An estimate, since both ends are lower bounds. "
        + band_words([len(r.runs) or 1 for r in rows])
    )
    return Picture(
        "lipschitz_slope",
        "Slope of the modulus of continuity",
        caption,
        [panel(n) for n in norms],
        pd.DataFrame(data),
        len(norms),
        tuple(rows),
        paper=(3.3, 2.0),
    )


LAYERED = (
    ("upper", "operator norm, l2 to l2"),
    ("gain", "local gain, l2 to l2"),
    ("sigma_1", "proxy sigma 1 (no unit)"),
    ("p1", "proxy p1 (no unit)"),
)


def by_layer(found: Lipschitz) -> Picture | None:
    """Return norm, local gain and both proxies of each layer in the order of use; the norm's band is its bracket."""
    rows = [r for r in drawn(found) if layers(r)]
    order: dict[str, int] = {}
    for row in rows:
        for name in layers(row):
            if not name.startswith("stage ") and any(layer_value(row, name, f) is not None for f, _ in LAYERED):
                order.setdefault(name, len(order))
    if not order:
        return None
    data = [
        {"method": row.label, "layer": name, "figure": figure, "value": value}
        for row in rows
        for name in order
        for figure in ("lower", *(f for f, _ in LAYERED))
        if (value := layer_value(row, name, figure)) is not None
    ]
    names = list(order)

    def panel(figure: str, label: str) -> Panel | None:
        known = {
            r.index: [(order[n], n, v) for n in names if (v := layer_value(r, n, figure)) is not None] for r in rows
        }
        if not any(known.values()):
            return None

        def draw(ax: Axes, hits: Hits) -> None:
            for row in rows:
                s, points = look(row), known[row.index]
                if not points:
                    continue
                x, y = [p[0] for p in points], [p[2] for p in points]
                ax.plot(x, y, color=s.colour, linestyle=s.dash, marker=s.marker, gid=gid(row))
                if figure == "upper":
                    low = [layer_value(row, n, "lower") or v for _, n, v in points]
                    ax.fill_between(x, low, y, color=s.colour, alpha=0.25, linewidth=0, gid=gid(row))
                for px, name, v in points:
                    hits.point(ax, px, v, f"{row.label}, {name}: {label} {v:.3g}", row.index)
            logarithmic(ax, [p[2] for points in known.values() for p in points])
            ax.set_xlim(-0.5, len(names) - 0.5)
            step = max(1, math.ceil(len(names) / 12))
            ax.set_xticks(range(0, len(names), step), [str(k + 1) for k in range(0, len(names), step)])
            ax.set_xlabel("layer, in the order of use")
            ax.set_ylabel(label)

        return Panel(draw, label, size=(4.6, 2.7))

    panels = [p for p in (panel(*f) for f in LAYERED) if p is not None]
    caption = (
        "Each layer's operator norm with batch norm folded in (the band reaches down to the lower end of its bracket, "
        "and is thinner than the line where both ends agree), the local gain of the surrogate from a binary layer's "
        "input to the next one's, and LCR's proxy of the same pair, exact and as released. Means over seeds. Layers: "
        + ", ".join(f"{k + 1} {n}" for n, k in order.items())
        + "."
    )
    return Picture(
        "lipschitz_layers", "Layer by layer", caption, panels, pd.DataFrame(data), 2, tuple(rows), paper=(3.3, 1.9)
    )


def against_error(found: Lipschitz) -> Picture | None:
    """Return mean corruption error against median kappa at the middle l2 radius, a point a run."""
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
            hits.point(ax, x, y, f"{row.label}, seed {point['seed']}: kappa {x:.3g}, error {y:.1f} %", row.index)
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


def logarithmic(ax: Axes, values: list[float]) -> None:
    """Give a y axis a logarithmic scale that has room for 0: a step of sign activations may leave most images unmoved.

    On a plain logarithmic axis a zero lies infinitely far below, and the lines that lead there take the layout with them.
    """
    positive = [v for v in values if v > 0]
    if not positive:
        return
    if min(values) <= 0:
        # Linear below a third of the smallest positive number, so that 0 stands a little below it.
        threshold = min(positive) / 3
        ax.set_yscale("symlog", linthresh=threshold, linscale=0.3)
        ax.set_ylim(bottom=-threshold / 3)
        decades = range(math.floor(math.log10(threshold)), math.ceil(math.log10(max(positive))) + 1)
        steps = (1, 2, 5) if len(decades) < 4 else (1,)
        ticks = [s * 10.0**d for d in decades for s in steps if threshold < s * 10.0**d <= max(positive)]
        ax.set_yticks([0.0, *ticks])
    else:
        ax.set_yscale("log")
        decades_spanned = math.log10(max(positive) / min(positive))
        ax.yaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5) if decades_spanned < 3 else (1,)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    ax.yaxis.set_minor_locator(NullLocator())
