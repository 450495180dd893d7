"""Figures: drawn with matplotlib on an axes each, so that a file for a paper and a panel of the page share their code.

A panel for the page is inline SVG whose ink, rules and text follow the page's theme, with invisible marks over the data
that tell their values when pointed at. Nothing here touches matplotlib's global state.
"""

from __future__ import annotations

import html
import io
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lcrbench.bench import stats
from lcrbench.bench.stats import Interval
from lcrbench.bench.store import Store
from lcrbench.reports.colours import INK, style
from lcrbench.reports.comparison import CLEAN, COMMON, GROUPS, Key, Row, Setting
from lcrbench.reports.significance import Outcomes
from lcrbench.reports.tables import norm_text, radius_text

# Stand for the page's rule and muted text, and are replaced by them inside the page.
RULE, MUTED = "#d8dbe0", "#6a7079"
# More lines than this in one panel are a tangle; the tables hold the rest.
MOST = 10
FORMATS = ("png", "svg", "pdf")

_STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 7.5,
    "axes.titlesize": 8,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 7.5,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.6,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.formatter.use_mathtext": False,
    "grid.color": RULE,
    "grid.linewidth": 0.5,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.4,
    "lines.markersize": 3.2,
    "legend.frameon": False,
    "legend.fontsize": 7,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "svg.hashsalt": "lcrbench",
    "pdf.fonttype": 42,
}


@dataclass
class Hits:
    """Where the data stand in a figure, and what the page says when they are pointed at."""

    points: list[tuple[Axes, float, float, str, int]] = field(default_factory=list)
    boxes: list[tuple[Axes, float, float, str, int]] = field(default_factory=list)

    def point(self, ax: Axes, x: float, y: float, text: str, row: int) -> None:
        """Remember a point of row `row`."""
        self.points.append((ax, x, y, text, row))

    def box(self, ax: Axes, x: float, y: float, text: str, row: int) -> None:
        """Remember a unit square around (x, y)."""
        self.boxes.append((ax, x, y, text, row))


Draw = Callable[[Axes, Hits], None]


@dataclass
class Panel:
    """One axes: how to draw it, its size in the page in inches, and the group that a filter finds it by."""

    draw: Draw
    title: str = ""
    size: tuple[float, float] = (2.9, 2.05)
    group: str = ""
    polar: bool = False


@dataclass
class Picture:
    """A figure: its panels, what stands under it, and its data."""

    name: str
    title: str
    caption: str
    panels: list[Panel]
    data: pd.DataFrame
    columns: int = 5
    legend: tuple[Row, ...] = ()
    paper: tuple[float, float] = (1.45, 1.3)
    """Inches a panel takes in a file for print, where columns of panels share the width of a page."""
    inline: bool = True


@contextmanager
def _house_style() -> Iterator[None]:
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


def save(picture: Picture, folder: Path, formats: Sequence[str] = FORMATS) -> list[str]:
    """Write a figure as files `name.png`, `.svg` and `.pdf`; returns the files' names. PNG is white, the rest clear."""
    with _house_style():
        n = len(picture.panels)
        columns = min(picture.columns, n)
        rows = math.ceil(n / columns)
        width, height = columns * picture.paper[0], rows * picture.paper[1] + (0.3 if picture.legend else 0)
        # One panel alone keeps a readable size.
        figure = Figure(figsize=(max(width, 3.3), max(height, 2.0)), layout="constrained")
        for i, panel in enumerate(picture.panels):
            ax = figure.add_subplot(rows, columns, i + 1)
            panel.draw(ax, Hits())
        if picture.legend:
            handles = [_handle(r) for r in picture.legend]
            # As many to a line as the width has room for.
            fits = max(1, int(max(width, 3.3) / (0.5 + 0.065 * max(len(h.get_label()) for h in handles))))
            figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), fits))
        names = []
        for kind in formats:
            name = f"{picture.name}.{kind}"
            metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {"Software": None}}[kind]
            face = "white" if kind == "png" else "none"
            figure.savefig(folder / name, dpi=200, facecolor=face, metadata=metadata)
            names.append(name)
    return names


def inline(picture: Picture, prefix: str) -> list[str]:
    """Return a figure's panels as SVG elements for the page; `prefix` keeps their ids apart from all others."""
    found = []
    with _house_style(), mpl.rc_context({"svg.fonttype": "none"}):
        for i, panel in enumerate(picture.panels):
            figure = Figure(figsize=panel.size, dpi=72, layout="constrained")
            hits = Hits()
            panel.draw(figure.add_subplot(), hits)
            figure.draw_without_rendering()
            buffer = io.StringIO()
            figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
            found.append(_themed(buffer.getvalue(), f"{prefix}-{i}", panel, figure, hits))
    return found


def _themed(svg: str, prefix: str, panel: Panel, figure: Figure, hits: Hits) -> str:
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    # A drawn method becomes a class that the page's filter finds, any other id gets this panel's prefix.
    svg = re.sub(r'id="row-(\d+)-\d+"', r'class="m m\1"', svg)
    svg = re.sub(r' id="([^"]+)"', rf' id="{prefix}-\1"', svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\g<1>{prefix}-", svg)
    for colour, variable in ((INK, "--ink"), (RULE, "--rule"), (MUTED, "--muted")):
        svg = svg.replace(colour, f"var({variable})")
    svg = re.sub(r"font: ([^;\"]*?)'DejaVu Sans'[^;\"]*", r"font: \1var(--sans)", svg)
    svg = re.sub(r"font-family: *'?DejaVu Sans'?[^;\"]*", "font-family: var(--sans)", svg)
    svg = re.sub(r"\n\s*", "\n", svg)
    width, height = (float(x) * 72 for x in figure.get_size_inches())
    label = html.escape(panel.title or "figure", quote=True)
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{label}" data-group="{html.escape(panel.group)}">'
    )
    svg = re.sub(r"<svg[^>]*>", lambda _: opening, svg, count=1)
    marks = []
    for ax, x, y, text, row in hits.points:
        px, py = ax.transData.transform((x, y))
        if math.isfinite(px) and math.isfinite(py):
            marks.append(
                f'<circle class="hit m m{row}" cx="{px:.1f}" cy="{height - py:.1f}" r="6"><title>{html.escape(text)}</title></circle>'
            )
    for ax, x, y, text, row in hits.boxes:
        (ax0, ay0), (ax1, ay1) = ax.transData.transform([(x - 0.5, y - 0.5), (x + 0.5, y + 0.5)])
        left, top = min(ax0, ax1), height - max(ay0, ay1)
        marks.append(
            f'<rect class="hit m m{row}" x="{left:.1f}" y="{top:.1f}" width="{abs(ax1 - ax0):.1f}" height="{abs(ay1 - ay0):.1f}">'
            f"<title>{html.escape(text)}</title></rect>"
        )
    return svg.replace("</svg>", "".join(marks) + "</svg>").strip()


_counter = iter(range(10**12))


def _gid(row: Row) -> str:
    return f"row-{row.index}-{next(_counter)}"


def _handle(row: Row) -> Any:
    from matplotlib.lines import Line2D

    s = style(row.label)
    return Line2D([], [], color=s.colour, linestyle=s.dash, marker=s.marker, label=plain_label(row))


def plain_label(row: Row) -> str:
    """Return a row's label for a figure: matplotlib reads a dollar sign as mathematics, so it is escaped."""
    return row.label.replace("$", r"\$") + (" †" if row.aside else "")


def tell(interval: Interval, scale: float = 100, unit: str = " %", digits: int = 1) -> str:
    """Return a number with its interval and n in words, for a tooltip."""
    text = f"{interval.value * scale:.{digits}f}{unit}"
    if interval.low is not None and interval.high is not None:
        text += f" [{interval.low * scale:.{digits}f}, {interval.high * scale:.{digits}f}]"
    return f"{text}, n={interval.n:,}"


def _line(ax: Axes, hits: Hits, row: Row, points: Sequence[tuple[float, Interval, str]], scale: float = 100) -> None:
    """Draw one method's line with its band, and remember its points."""
    if not points:
        return
    s = style(row.label)
    x = [p[0] for p in points]
    y = [p[1].value * scale for p in points]
    # The reference lies under the others, so that nothing hides behind it.
    z = 2.0 if s.colour == INK else 3.0
    ax.plot(x, y, color=s.colour, linestyle=s.dash, marker=s.marker, gid=_gid(row), zorder=z, clip_on=False)
    known = [p for p in points if p[1].low is not None and p[1].high is not None]
    if known:
        low = [(p[1].low or 0.0) * scale for p in known]
        high = [(p[1].high or 0.0) * scale for p in known]
        ax.fill_between(
            [p[0] for p in known], low, high, color=s.colour, alpha=0.14, linewidth=0, gid=_gid(row), zorder=1.5
        )
    for px, interval, text in points:
        hits.point(ax, px, interval.value * scale, text, row.index)


def chosen(setting: Setting, most: int = MOST) -> list[Row]:
    """Return the rows that figures draw: all finished ones, or the reference and the most accurate if they are many."""
    rows = [r for r in setting.rows if r.runs]
    if len(rows) <= most:
        return rows

    def key(row: Row) -> tuple[bool, bool, float]:
        error = row.estimate(Key("corruption_error", corruption="common")) or row.estimate(CLEAN)
        sign = 1 if row.estimate(Key("corruption_error", corruption="common")) else -1
        return (row is not setting.reference, bool(row.aside), sign * error.value if error else math.inf)

    best = sorted(rows, key=key)[:most]
    return [r for r in rows if r in best]


def group_of(corruption: str) -> str:
    """Return the group a corruption belongs to, "other" for one that no paper knows."""
    return next((g for g, names in GROUPS.items() if corruption in names), "other")


def words(name: str) -> str:
    """Return a corruption's name with spaces."""
    return name.replace("_", " ").replace("$", r"\$")


def corruption_curves(setting: Setting, outcomes: Outcomes | None) -> Picture | None:
    """Return accuracy against severity, a panel a corruption and one for the mean over the common ones."""
    rows = chosen(setting)
    names = setting.corruptions
    lines: dict[tuple[str, int], list[tuple[float, Interval, str]]] = {}
    data = []
    average = "mean of the common corruptions"
    for row in rows:
        clean = row.estimate(CLEAN)
        for name in [average, *names]:
            points = [(0.0, clean)] if clean else []
            for severity in setting.severities:
                if name == average:
                    value = _mean_at(row, severity, outcomes)
                else:
                    value = row.estimate(Key("accuracy", corruption=name, severity=severity))
                if value:
                    points.append((float(severity), value))
            if len(points) < 2:
                continue
            lines[name, row.index] = [
                (x, i, f"{row.label}, {name.replace('_', ' ')}{f' {x:g}' if x else ': clean'}: {tell(i)}")
                for x, i in points
            ]
            data += [{"method": row.label, "corruption": name, "severity": int(x)} | i._asdict() for x, i in points]
    if not data:
        return None
    low = min(p[1].value for line in lines.values() for p in line) * 100
    bottom = max(0.0, math.floor((low - 3) / 10) * 10)
    top = min(100.0, math.ceil((max(p[1].value for line in lines.values() for p in line) * 100 + 1) / 10) * 10)

    def panel(name: str) -> Panel:
        def draw(ax: Axes, hits: Hits) -> None:
            for row in rows:
                _line(ax, hits, row, lines.get((name, row.index), []))
            ax.set_title("mean of common" if name == average else words(name))
            ax.set_ylim(bottom, top)
            ax.set_xlim(-0.15, max(setting.severities) + 0.15)
            ax.set_xticks([0, *setting.severities], ["clean", *map(str, setting.severities)])
            ax.set_xlabel("severity")
            ax.set_ylabel("accuracy, %")

        return Panel(draw, name.replace("_", " "), group="common" if name == average else group_of(name))

    shown = [n for n in [average, *names] if any((n, r.index) in lines for r in rows)]
    caption = (
        f"Accuracy on the {setting.any.spec.data.test:,} test images against severity; 0 is clean. Bands: "
        f"{'95 % t intervals over training seeds' if setting.unit == 'seeds' else '95 % intervals over test images'}."
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
    )


def _mean_at(row: Row, severity: int, outcomes: Outcomes | None) -> Interval | None:
    """Return the accuracy at one severity, mean over the common corruptions; over images from the outcomes if one seed."""
    per_seed: list[list[float]] = []
    for name in COMMON:
        values = row.per_seed(Key("accuracy", corruption=name, severity=severity))
        if values:
            per_seed.append(values)
    if not per_seed or len({len(v) for v in per_seed}) != 1:
        return None
    means = np.mean(per_seed, axis=0)
    if means.size > 1:
        return stats.mean(means, "seeds")
    per_image = outcomes.per_image(row.runs[0].run_id, f"common/{severity}") if outcomes else None
    return (
        stats.mean(per_image, "base images") if per_image is not None else Interval(float(means[0]), None, None, 1, "")
    )


def heatmap(setting: Setting) -> Picture | None:
    """Return accuracy by corruption and severity, a panel a method, and each one's difference from the reference."""
    rows = chosen(setting, 6)
    names, severities = setting.corruptions, setting.severities
    grids: dict[int, Any] = {}
    for row in rows:
        cells = [[row.estimate(Key("accuracy", corruption=c, severity=s)) for s in severities] for c in names]
        grids[row.index] = np.array([[math.nan if c is None else c.value * 100 for c in line] for line in cells])
    rows = [r for r in rows if np.isfinite(grids[r.index]).any()]
    if not rows:
        return None
    reference = setting.reference if setting.reference in rows else None
    others = [r for r in rows if reference is not None and r is not reference]
    differences = {r.index: grids[r.index] - grids[reference.index] for r in others if reference is not None}
    low = min(float(np.nanmin(grids[r.index])) for r in rows)
    high = max(float(np.nanmax(grids[r.index])) for r in rows)
    widest = max([1.0, *[float(np.nanmax(np.abs(d))) for d in differences.values()]])
    data = []
    for row in rows:
        for i, c in enumerate(names):
            for j, s in enumerate(severities):
                line: dict[str, object] = {"method": row.label, "corruption": c, "severity": s}
                line["accuracy_percent"] = float(grids[row.index][i, j])
                if row.index in differences:
                    line["difference_points"] = float(differences[row.index][i, j])
                data.append(line)

    def panel(row: Row, values: Any, colours: str, bounds: tuple[float, float], title: str, sign: bool) -> Panel:
        def draw(ax: Axes, hits: Hits) -> None:
            cmap = mpl.colormaps[colours]
            ax.pcolormesh(
                np.arange(len(severities) + 1) - 0.5,
                np.arange(len(names) + 1) - 0.5,
                np.ma.masked_invalid(values),
                cmap=cmap,
                vmin=bounds[0],
                vmax=bounds[1],
                linewidth=0,
                rasterized=False,
                gid=_gid(row),
            )
            for i, name in enumerate(names):
                for j, severity in enumerate(severities):
                    v = float(values[i, j])
                    if math.isnan(v):
                        continue
                    r, g, b, _ = cmap((v - bounds[0]) / max(1e-9, bounds[1] - bounds[0]))
                    dark = 0.299 * r + 0.587 * g + 0.114 * b < 0.5
                    shown = f"{v:+.0f}".replace("-", "−") if sign else f"{v:.0f}"
                    shown = "0" if shown in ("+0", "−0") else shown
                    ax.text(j, i, shown, ha="center", va="center", fontsize=6, color="#ffffff" if dark else "#111111")
                    what = f"{v:+.1f} points against {reference.label}" if sign and reference else f"{v:.1f} %"
                    hits.box(ax, j, i, f"{row.label}, {name.replace('_', ' ')} {severity}: {what}", row.index)
            ax.set_yticks(range(len(names)), [words(n) for n in names])
            ax.set_xticks(range(len(severities)), [str(s) for s in severities])
            ax.set_xlabel("severity")
            ax.set_ylim(len(names) - 0.5, -0.5)
            ax.tick_params(length=0)
            ax.grid(visible=False)
            for spine in ax.spines.values():
                spine.set_visible(False)
            ax.set_title(title)

        return Panel(draw, title, size=(3.0, 0.62 + 0.165 * max(4, len(names))))

    panels = [panel(r, grids[r.index], "cividis", (low, high), f"{plain_label(r)}: accuracy, %", False) for r in rows]
    panels += [
        panel(
            r,
            differences[r.index],
            "PuOr",
            (-widest, widest),
            f"{plain_label(r)} − {plain_label(reference)}, points",
            True,
        )
        for r in others
        if reference is not None
    ]
    caption = "Accuracy by corruption and severity, mean over the seeds, and the difference from the reference in points. Single cells are descriptive."
    height = 0.55 + 0.135 * max(4, len(names))
    return Picture("heatmap", "Corruption by severity", caption, panels, pd.DataFrame(data), 3, paper=(2.35, height))


def training(setting: Setting, store: Store) -> Picture | None:
    """Return training loss and accuracy against images seen, and for a regularizer its loss and its ratios."""
    rows = [r for r in setting.rows if r in chosen(setting) or (r.failed and len(setting.rows) <= MOST)]
    logs: dict[int, list[tuple[bool, pd.DataFrame]]] = {}
    data = []
    for row in rows:
        for run in [*row.runs[:10], *row.failed[:3]]:
            log = store.log(run.run_id)
            if log.empty or "images" not in log:
                continue
            logs.setdefault(row.index, []).append((run.status == "failed", log))
            data.append(log.assign(method=row.label, seed=run.spec.seed, run_id=run.run_id))
    if not data:
        return None
    together = pd.concat(data, ignore_index=True)
    columns = [c for c in ("cross_entropy", "accuracy") if c in together]
    columns = columns if "cross_entropy" in columns else [c for c in ("loss", "accuracy") if c in together]
    regularizers = sorted({c.partition(".")[0] for c in together if isinstance(c, str) and c.endswith(".loss")})
    thousand = 1e-3

    def curve(column: str, label: str, title: str, scale: float = 1.0) -> Panel:
        def draw(ax: Axes, hits: Hits) -> None:
            for row in rows:
                s = style(row.label)
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
                        gid=_gid(row),
                    )
                    if bad:
                        last = log[log[column].notna()].iloc[-1]
                        ax.plot(
                            [last["images"] * thousand],
                            [last[column] * scale],
                            "x",
                            color=s.colour,
                            markersize=5,
                            gid=_gid(row),
                        )
                if good:
                    mean = pd.concat(good).groupby("images")[column].mean().dropna()
                    if len(good) > 1:
                        ax.plot(mean.index * thousand, mean * scale, color=s.colour, linestyle=s.dash, gid=_gid(row))
                    for x, y in list(mean.items())[:: max(1, len(mean) // 12)]:
                        hits.point(
                            ax,
                            float(str(x)) * thousand,
                            y * scale,
                            f"{row.label} at {int(str(x)):,} images: {title} {y * scale:.4g}",
                            row.index,
                        )
            ax.set_title(title)
            ax.set_xlabel("training images seen, thousands")
            ax.set_ylabel(label)
            ax.yaxis.set_major_locator(MaxNLocator(5))

        return Panel(draw, title, size=(3.6, 2.3))

    names = {
        "cross_entropy": ("nats", "cross-entropy"),
        "loss": ("nats", "loss"),
        "accuracy": ("%", "training accuracy"),
    }
    panels = [curve(c, *names[c], scale=100 if c == "accuracy" else 1) for c in columns]
    for name in regularizers:
        panels.append(curve(f"{name}.loss", "unweighted", f"{name} loss"))
        ratios = sorted((c for c in together if str(c).startswith(f"{name}.ratio.")), key=lambda c: (len(c), c))
        for row in rows:
            finished = [log for bad, log in logs.get(row.index, []) if not bad and ratios and ratios[0] in log]
            if finished:
                panels.append(_ratios(row, finished, ratios, name))
    caption = (
        "Training as the log recorded it: the thin lines are seeds, the thick one their mean; a cross ends a run that failed."
        " Accuracy is that on the training batches, with augmentation."
    )
    legend = tuple(r for r in rows if r.index in logs)
    return Picture("training", "Training", caption, panels, together, 3, legend, paper=(2.35, 1.75))


def _ratios(row: Row, logs: list[pd.DataFrame], columns: list[str], name: str) -> Panel:
    def draw(ax: Axes, hits: Hits) -> None:
        together = pd.concat(logs).groupby("images")[columns].mean()
        shades = mpl.colormaps["cividis"](np.linspace(0.15, 0.9, len(columns)))
        ax.axhline(1, color=MUTED, linewidth=0.8, linestyle="dashed")
        for colour, column in zip(shades, columns, strict=True):
            line = together[column].dropna()
            layer = column.rpartition(".")[2]
            ax.plot(line.index * 1e-3, line, color=colour, linewidth=1.1, gid=_gid(row))
            for x, y in list(line.items())[:: max(1, len(line) // 8)]:
                hits.point(
                    ax,
                    float(str(x)) * 1e-3,
                    y,
                    f"{row.label}, layer {layer} at {int(str(x)):,} images: ratio {y:.3g}",
                    row.index,
                )
            if len(line) and len(columns) <= 8:
                ax.annotate(
                    layer,
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
        ax.yaxis.set_major_locator(mpl.ticker.LogLocator(10, subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda v, _: f"{v:g}"))
        ax.yaxis.set_minor_locator(mpl.ticker.NullLocator())

    return Panel(draw, f"{name} ratio, {row.label}", size=(3.6, 2.3))


def lipschitz(setting: Setting) -> Picture | None:
    """Return the secant gain's quantiles against the radius, a panel a quantile; a dot plot where there is one radius."""
    rows = chosen(setting)
    metrics = [m for m in setting.metrics if m.startswith("lipschitz") and any(k.radius for k in setting.keys(m))]
    if not metrics:
        return None
    metric = metrics[0]
    info = setting.metrics[metric]
    keys = setting.keys(metric)
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
            s = style(row.label)
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
                        gid=_gid(row),
                    )
                ax.plot([i.value], [y], marks.get(k.statistic, "."), color=s.colour, markersize=4.5, gid=_gid(row))
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
            for row in rows:
                points = []
                for radius in radii:
                    i = row.estimate(Key(metric, statistic, "", 0, norm, radius))
                    if i:
                        points.append(
                            (radius * 255, i, f"{row.label}, {statistic}, {radius_text(radius)}: {tell(i, 1, '', 2)}")
                        )
                _line(ax, hits, row, points, 1)
            ax.set_xscale("log")
            ax.set_yscale("log")
            ax.set_xticks([r * 255 for r in radii], [f"{r * 255:.3g}" for r in radii])
            ax.xaxis.set_minor_locator(mpl.ticker.NullLocator())
            ax.yaxis.set_major_locator(mpl.ticker.LogLocator(10, subs=(1, 2, 5)))
            ax.yaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda v, _: f"{v:g}"))
            ax.yaxis.set_minor_locator(mpl.ticker.NullLocator())
            ax.set_xlabel(f"radius ({norm_text(norm)}), pixel steps of 1/255")
            ax.set_ylabel(f"gain, {info.unit}")
            ax.set_title(f"{statistic}, {norm_text(norm)}")

        return Panel(draw, f"secant gain {statistic}", size=(3.6, 2.4))

    if len(radii) == 1 and len(norms) == 1:
        panels = [Panel(at_one_radius, "secant gain", size=(6.4, 0.9 + 0.32 * len(rows)))]
        paper, legend = (5.0, 0.9 + 0.28 * len(rows)), ()
    else:
        panels = [against_radius(s, n) for n in norms for s in statistics]
        paper, legend = (2.35, 1.8), tuple(rows)
    caption = (
        f"The gain ‖f(x+d) − f(x)‖ / ‖d‖ of the deployed network over sampled images and directions: {kind} of the largest gain at that "
        "radius, in raw logits, whose scale is arbitrary, so no method is better for a smaller one. A sample's maximum has no "
        "valid interval over images."
    )
    return Picture(
        "lipschitz", "Empirical Lipschitz: secant gain", caption, panels, pd.DataFrame(data), 3, legend, paper
    )
