"""Training curves."""

from __future__ import annotations

import itertools

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from lcrbench.reports.comparison import MOST, Row, chosen
from lcrbench.reports.context import Context
from lcrbench.reports.drawing import MUTED, Hits, Panel, Picture, decades, gid, look, plain_label

SECTION, ORDER = "cost", 130

# More ratio panels than this repeat themselves.
MOST_RATIOS = 4
MOST_SEEDS = 5


def figure(context: Context) -> Picture | None:
    """Return training loss and accuracy against images seen, and for a regularizer its loss and its ratios."""
    setting = context.setting
    if not context.options.drawn:  # the logs of a very large store take long to read
        return None
    drawn = {r.index for r in chosen(setting)}
    rows = [r for r in setting.rows if r.index in drawn or (r.failed and len(setting.rows) <= MOST)]
    logs: dict[int, list[tuple[bool, pd.DataFrame]]] = {}
    data = []
    for row in rows:
        for run in [*row.runs[:MOST_SEEDS], *row.failed[:3]]:
            log = context.log(run)
            if log.empty or "images" not in log:
                continue
            logs.setdefault(row.index, []).append((run.status == "failed", log))
            data.append(log.assign(method=row.label, seed=run.spec.seed, run_id=run.run_id))
    if not data:
        return None
    together = pd.concat(data, ignore_index=True)
    columns = [c for c in ("cross_entropy", "accuracy") if c in together]
    columns = columns if "cross_entropy" in columns else [c for c in ("loss", "accuracy") if c in together]
    named = sorted({name for row in rows for name in row.regularizers})
    regularizers = [name for name in named if column_of(name, "loss") in together]
    thousand = 1e-3

    def curve(column: str, label: str, title: str, scale: float = 1.0, axis: str = "") -> Panel:
        def draw(ax: Axes, hits: Hits) -> None:
            for row in rows:
                s = look(row)
                usable = [
                    (bad, log) for bad, log in logs.get(row.index, []) if column in log and log[column].notna().any()
                ]
                good = [log for bad, log in usable if not bad]
                for bad, log in usable:
                    x, y = log["images"] * thousand, log[column] * scale
                    alone = bad or len(good) == 1
                    ax.plot(
                        x,
                        y,
                        color=s.colour,
                        linestyle=s.dash,
                        linewidth=1.3 if alone else 0.5,
                        alpha=1 if alone else 0.45,
                        gid=gid(row),
                    )
                    if bad:
                        last = log[log[column].notna()].iloc[-1]
                        ax.plot(
                            [last["images"] * thousand],
                            [last[column] * scale],
                            "x",
                            color=s.colour,
                            markersize=5,
                            gid=gid(row),
                        )
                if good:
                    mean = pd.concat(good).groupby("images")[column].mean().dropna()
                    if len(good) > 1:
                        ax.plot(mean.index * thousand, mean * scale, color=s.colour, linestyle=s.dash, gid=gid(row))
                    for seen, value in list(mean.items())[:: max(1, len(mean) // 12)]:
                        images = int(str(seen))
                        text = f"{row.name} at {images:,} images: {title} {value * scale:.4g}"
                        hits.point(ax, images * thousand, value * scale, text, row.index)
            ax.set_title(title)
            ax.set_xlabel("training images seen, thousands")
            ax.set_ylabel(label)
            if axis == "log":
                decades(ax)
            else:
                ax.yaxis.set_major_locator(MaxNLocator(5))

        return Panel(draw, title, size=(4.4, 2.9), scale=axis)

    names = {
        "cross_entropy": ("nats", "cross-entropy"),
        "loss": ("nats", "loss"),
        "accuracy": ("%", "training accuracy"),
    }
    panels = []
    for column in columns:
        if column == "accuracy" or not (together[column].dropna() > 0).all():
            panels.append(curve(column, *names[column], scale=100 if column == "accuracy" else 1))
        else:
            panels += [curve(column, *names[column], axis=axis) for axis in ("linear", "log")]
    for name in regularizers:
        panels.append(curve(column_of(name, "loss"), "unweighted", f"{name} loss"))
        ratios = _layers(name, "ratio", together)
        with_ratios = 0
        for row in rows:
            finished = [log for bad, log in logs.get(row.index, []) if not bad and ratios and ratios[1] in log]
            its = {k: column for k, column in ratios.items() if any(column in log for log in finished)}
            with_ratios += bool(finished)
            if finished and with_ratios <= MOST_RATIOS:
                panels.append(_ratios(row, finished, its, name))
    caption = (
        "Training as the log recorded it: the thin lines are seeds (the first five), the thick one their mean; a cross ends "
        "a run that failed."
        " Accuracy is that on the training batches, with augmentation."
    )
    legend = tuple(r for r in rows if r.index in logs)
    return Picture("training", "Training", caption, panels, together, 3, legend, paper=(2.35, 1.75))


def column_of(regularizer: str, figure: str, layer: int = 0) -> str:
    """Return the log's column of what a regularizer's term tells (`figures` of its contract), of a layer from 1 on.

    >>> column_of("lcr", "ratio", 2)
    'lcr.ratio.2'
    """
    return f"{regularizer}.{figure}" + (f".{layer}" if layer else "")


def _layers(regularizer: str, figure: str, log: pd.DataFrame) -> dict[int, str]:
    """Return the columns of a figure that is told by layer, by the layer's number."""
    columns = ((k, column_of(regularizer, figure, k)) for k in itertools.count(1))
    return dict(itertools.takewhile(lambda one: one[1] in log, columns))


def _ratios(row: Row, logs: list[pd.DataFrame], columns: dict[int, str], name: str) -> Panel:
    def draw(ax: Axes, hits: Hits) -> None:
        together = pd.concat(logs).groupby("images")[list(columns.values())].mean()
        shades = mpl.colormaps["cividis"](np.linspace(0.3, 0.92, len(columns)))
        ax.axhline(1, color=MUTED, linewidth=0.8, linestyle="dashed")
        for colour, (layer, column) in zip(shades, columns.items(), strict=True):
            line = together[column].dropna()
            ax.plot(line.index * 1e-3, line, color=colour, linewidth=1.1, gid=gid(row))
            for x, y in list(line.items())[:: max(1, len(line) // 8)]:
                hits.point(
                    ax,
                    float(str(x)) * 1e-3,
                    y,
                    f"{row.name}, layer {layer} at {int(str(x)):,} images: ratio {y:.3g}",
                    row.index,
                )
            if len(line) and len(columns) <= 8:
                ax.annotate(
                    str(layer),
                    (line.index[-1] * 1e-3, line.iloc[-1]),
                    xytext=(3, 0),
                    textcoords="offset points",
                    fontsize=6,
                    va="center",
                    color=MUTED,
                )
        ax.set_title(f"{name} ratio by layer, {plain_label(row)}")
        ax.set_xlabel("training images seen, thousands")
        ax.set_ylabel("σ binary / σ full")
        ax.set_yscale("log")
        low, high = ax.get_ylim()
        ax.set_ylim(min(low, 0.5), max(high, 2.0))
        ax.yaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5), numticks=20))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        ax.yaxis.set_minor_locator(NullLocator())

    return Panel(draw, f"{name} ratio, {row.name}", size=(4.4, 2.9))
