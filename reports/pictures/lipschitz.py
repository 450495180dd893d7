"""The secant gain against the radius."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from lcrbench.reports.comparison import SECANT, Key, Row, Setting, chosen
from lcrbench.reports.figures import MUTED, Hits, Panel, Picture, band_words, gid, line, look, plain_label, tell
from lcrbench.reports.words import norm_text, radius_text


def picture(setting: Setting) -> Picture | None:
    """Return the secant gain's quantiles against the radius, a panel a quantile; a dot plot where there is one radius."""
    rows = chosen(setting)
    metric = SECANT
    keys = [k for k in setting.keys(metric) if k.radius and not k.layer]
    if not keys:
        return None
    info = setting.metrics[metric]
    radii = sorted({k.radius for k in keys if k.radius})
    norms = sorted({k.norm for k in keys})
    statistics = sorted({k.statistic for k in keys}, key=lambda s: (s == "max", s))
    kind = {"lower": "lower bounds", "upper": "upper bounds"}.get(info.bound, "estimates")
    data = []
    for row in rows:
        for k in keys:
            i = row.estimate(k)
            if i:
                data.append(
                    {
                        "method": row.label,
                        "metric": metric,
                        "statistic": k.statistic,
                        "norm": k.norm,
                        "radius": k.radius,
                    }
                    | i._asdict()
                )

    def at_one_radius(ax: Axes, hits: Hits) -> None:
        marks = dict(zip(statistics, ("o", "D", "x", "s", "^", "v"), strict=False))
        for y, row in enumerate(reversed(rows)):
            s = look(row)
            for k in keys:
                i = row.estimate(k)
                if i is None or i.value <= 0:
                    continue
                if i.low is not None or i.high is not None:
                    low, high = i.value if i.low is None else i.low, i.value if i.high is None else i.high
                    ax.plot(
                        [max(low, 1e-12), high],
                        [y, y],
                        color=s.colour,
                        linewidth=2.4,
                        alpha=0.35,
                        solid_capstyle="round",
                        gid=gid(row),
                    )
                ax.plot([i.value], [y], marks.get(k.statistic, "."), color=s.colour, markersize=4.5, gid=gid(row))
                ax.annotate(
                    k.statistic,
                    (i.value, y),
                    xytext=(0, 5),
                    textcoords="offset points",
                    ha="center",
                    fontsize=6,
                    color=MUTED,
                )
                hits.point(ax, i.value, y, f"{row.label}, {k.statistic}: {tell(i, 1, '', 2)}", row.index)
        ax.set_yticks(range(len(rows)), [plain_label(r) for r in reversed(rows)])
        ax.set_ylim(-0.6, len(rows) - 0.3)
        ax.set_xlabel(f"secant gain, {info.unit}")
        ax.set_title(f"{norm_text(norms[0])}, {radius_text(radii[0])}: {kind}")
        ax.grid(visible=False, axis="y")
        ax.margins(x=0.08)

    def against_radius(statistic: str, norm: str) -> Panel:
        def draw(ax: Axes, hits: Hits) -> None:
            drawn = []
            for row in rows:
                points = []
                for radius in radii:
                    key = Key(metric, statistic, "", 0, norm, radius)
                    i = row.estimate(key)
                    if i:
                        text = f"{row.label}, {statistic}, {radius_text(radius)}: {tell(i, 1, '', 2)}"
                        points.append((radius * 255, i, text, row.per_seed(key)))
                        drawn.append(i)
                line(ax, hits, row, points, 1)
            ax.set_xscale("log")
            _logarithmic(ax, [v for i in drawn for v in (i.value, i.low, i.high) if v is not None])
            ax.set_xticks([r * 255 for r in radii], [f"{r * 255:.3g}" for r in radii])
            ax.xaxis.set_minor_locator(NullLocator())
            ax.set_xlabel(f"radius ({norm_text(norm)}), pixel steps of 1/255")
            ax.set_ylabel(f"gain, {info.unit}")
            ax.set_title(f"{statistic}, {norm_text(norm)}")

        return Panel(draw, f"secant gain {statistic}", size=(4.4, 2.9))

    if len(radii) == 1 and len(norms) == 1:
        panels = [Panel(at_one_radius, "secant gain", size=(7.0, 1.1 + 0.4 * len(rows)))]
        paper = (5.0, 0.9 + 0.28 * len(rows))
        legend: tuple[Row, ...] = ()
    else:
        panels = [against_radius(s, n) for n in norms for s in statistics]
        paper, legend = (2.35, 1.8), tuple(rows)
    caption = (
        f"The gain ‖f(x+d) − f(x)‖ / ‖d‖ of the deployed network over sampled images and directions: {kind} of the "
        "largest gain at that radius, in raw logits, whose scale is arbitrary, so no method is better for a smaller one. "
        "A sample's maximum has no valid interval over images. "
    ) + band_words([len(r.runs) for r in rows])
    return Picture(
        "lipschitz", "Empirical Lipschitz: secant gain", caption, panels, pd.DataFrame(data), 3, legend, paper
    )


def _logarithmic(ax: Axes, values: list[float]) -> None:
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
        ax.yaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    ax.yaxis.set_minor_locator(NullLocator())
