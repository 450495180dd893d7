"""The figures of a report: each takes a setting and returns a picture, or None where the records have nothing for it."""

from __future__ import annotations

import math
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray
from scipy import stats as distributions

from lcrbench.bench import stats
from lcrbench.bench.stats import Interval
from lcrbench.bench.store import Store
from lcrbench.errors import UserError
from lcrbench.reports.comparison import CLEAN, COMMON, COMMON_ERROR, GROUPS, MOST, Key, Row, Setting, chosen, within
from lcrbench.reports.figures import MUTED, Hits, Panel, Picture, Point, band_words, gid, line, look, plain_label, tell
from lcrbench.reports.significance import Outcomes
from lcrbench.reports.tables import SECANT, lipschitz_key, norm_text, operations, radius_text

# More ratio panels than this repeat themselves.
MOST_RATIOS = 4
MOST_SEEDS = 5


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
        return within(stats.mean(means, "seeds"), CLEAN), means.tolist()
    per_image = outcomes.per_image(row.runs[0].run_id, f"common/{severity}") if outcomes else None
    if per_image is None:
        return Interval(float(means[0]), None, None, 1, ""), means.tolist()
    return stats.mean(per_image, "base images"), means.tolist()


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
            size = 0.83 * mpl.rcParams["font.size"]
            ax.pcolormesh(
                np.arange(len(severities) + 1) - 0.5,
                np.arange(len(names) + 1) - 0.5,
                np.ma.masked_invalid(values),
                cmap=cmap,
                vmin=bounds[0],
                vmax=bounds[1],
                linewidth=0,
                rasterized=False,
                gid=gid(row),
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
                    ax.text(
                        j,
                        i,
                        shown,
                        ha="center",
                        va="center",
                        fontsize=size,
                        color="#ffffff" if dark else "#111111",
                        in_layout=False,  # it lies inside the axes, and measuring hundreds of them takes seconds
                    )
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

        return Panel(draw, title, size=(3.9, 0.8 + 0.2 * max(4, len(names))))

    panels = [panel(r, grids[r.index], "cividis", (low, high), plain_label(r), False) for r in rows]
    panels += [
        panel(
            r,
            differences[r.index],
            "PuOr",
            (-widest, widest),
            f"{plain_label(r)} − ref., points",
            True,
        )
        for r in others
        if reference is not None
    ]
    against = (
        f", and below or beside it the difference from {reference.label} in points" if others and reference else ""
    )
    caption = f"Accuracy in % by corruption and severity, mean over the seeds{against}. Single cells are descriptive."
    height = 0.42 + 0.135 * max(4, len(names))
    hole = (len(rows) + rows.index(reference),) if others and reference is not None else ()
    width = max(1.05, min(2.2, 7.0 / len(rows)))
    return Picture(
        "heatmap",
        "Corruption by severity",
        caption,
        panels,
        pd.DataFrame(data),
        len(rows),
        paper=(width, height),
        shared=True,
        holes=hole,
    )


def training(setting: Setting, store: Store) -> Picture | None:
    """Return training loss and accuracy against images seen, and for a regularizer its loss and its ratios."""
    drawn = {r.index for r in chosen(setting)}
    rows = [r for r in setting.rows if r.index in drawn or (r.failed and len(setting.rows) <= MOST)]
    logs: dict[int, list[tuple[bool, pd.DataFrame]]] = {}
    data = []
    for row in rows:
        for run in [*row.runs[:MOST_SEEDS], *row.failed[:3]]:
            try:
                log = store.log(run.run_id)
            except UserError:
                continue  # the page names what is damaged elsewhere; a curve less is no reason to have no report
            if log.empty or "images" not in log:
                continue
            logs.setdefault(row.index, []).append((run.status == "failed", log))
            data.append(log.assign(method=row.label, seed=run.spec.seed, run_id=run.run_id))
    if not data:
        return None
    together = pd.concat(data, ignore_index=True)
    columns = [c for c in ("cross_entropy", "accuracy") if c in together]
    columns = columns if "cross_entropy" in columns else [c for c in ("loss", "accuracy") if c in together]
    regularizers = sorted({str(c).partition(".")[0] for c in together if str(c).endswith(".loss")})
    thousand = 1e-3

    def curve(column: str, label: str, title: str, scale: float = 1.0) -> Panel:
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
                        text = f"{row.label} at {images:,} images: {title} {value * scale:.4g}"
                        hits.point(ax, images * thousand, value * scale, text, row.index)
            ax.set_title(title)
            ax.set_xlabel("training images seen, thousands")
            ax.set_ylabel(label)
            ax.yaxis.set_major_locator(MaxNLocator(5))

        return Panel(draw, title, size=(4.4, 2.9))

    names = {
        "cross_entropy": ("nats", "cross-entropy"),
        "loss": ("nats", "loss"),
        "accuracy": ("%", "training accuracy"),
    }
    panels = [curve(c, *names[c], scale=100 if c == "accuracy" else 1) for c in columns]
    for name in regularizers:
        panels.append(curve(f"{name}.loss", "unweighted", f"{name} loss"))
        ratios = sorted((str(c) for c in together if str(c).startswith(f"{name}.ratio.")), key=lambda c: (len(c), c))
        with_ratios = 0
        for row in rows:
            finished = [log for bad, log in logs.get(row.index, []) if not bad and ratios and ratios[0] in log]
            with_ratios += bool(finished)
            if finished and with_ratios <= MOST_RATIOS:
                panels.append(_ratios(row, finished, ratios, name))
    caption = (
        "Training as the log recorded it: the thin lines are seeds (the first five), the thick one their mean; a cross ends "
        "a run that failed."
        " Accuracy is that on the training batches, with augmentation."
    )
    legend = tuple(r for r in rows if r.index in logs)
    return Picture("training", "Training", caption, panels, together, 3, legend, paper=(2.35, 1.75))


def _ratios(row: Row, logs: list[pd.DataFrame], columns: list[str], name: str) -> Panel:
    def draw(ax: Axes, hits: Hits) -> None:
        together = pd.concat(logs).groupby("images")[columns].mean()
        shades = mpl.colormaps["cividis"](np.linspace(0.3, 0.92, len(columns)))
        ax.axhline(1, color=MUTED, linewidth=0.8, linestyle="dashed")
        for colour, column in zip(shades, columns, strict=True):
            line = together[column].dropna()
            layer = column.rpartition(".")[2]
            ax.plot(line.index * 1e-3, line, color=colour, linewidth=1.1, gid=gid(row))
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
        low, high = ax.get_ylim()
        ax.set_ylim(min(low, 0.5), max(high, 2.0))
        ax.yaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5), numticks=20))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        ax.yaxis.set_minor_locator(NullLocator())

    return Panel(draw, f"{name} ratio, {row.label}", size=(4.4, 2.9))


def lipschitz(setting: Setting) -> Picture | None:
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


def lipschitz_error(setting: Setting) -> Picture | None:
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


def accuracy_operations(setting: Setting) -> Picture | None:
    """Return clean and mean corrupted accuracy against operations an image, with the Pareto front."""
    rows = [r for r in chosen(setting) if r.runs and operations(r.runs[0])]
    if len(rows) < 2:
        return None
    sides: list[tuple[str, dict[int, Interval]]] = []
    for title, key, flip in (("clean", CLEAN, False), ("mean of the common corruptions", COMMON_ERROR, True)):
        found = {}
        for row in rows:
            i = row.estimate(key)
            if i:
                found[row.index] = _flipped(i) if flip else i
        if len(found) >= 2:
            sides.append((title, found))
    data = [
        {"method": r.label, "images": title, "operations": operations(r.runs[0])} | found[r.index]._asdict()
        for title, found in sides
        for r in rows
        if r.index in found
    ]

    def panel(title: str, found: dict[int, Interval]) -> Panel:
        def draw(ax: Axes, hits: Hits) -> None:
            points = []
            for row in rows:
                if row.index not in found:
                    continue
                s, i, x = look(row), found[row.index], (operations(row.runs[0]) or 0) * 1e-6
                if i.low is not None and i.high is not None:
                    ax.plot([x, x], [i.low * 100, i.high * 100], color=s.colour, linewidth=2, alpha=0.3, gid=gid(row))
                ax.plot([x], [i.value * 100], s.marker, color=s.colour, markersize=5, gid=gid(row))
                hits.point(ax, x, i.value * 100, f"{row.label}: {x:.3g} million OPs, {tell(i)}", row.index)
                if not row.aside:
                    points.append((x, i.value * 100))
            front = pareto(points)
            ax.plot(
                [p[0] for p in front],
                [p[1] for p in front],
                color=MUTED,
                linewidth=0.8,
                zorder=1,
                drawstyle="steps-post",
            )
            ax.set_xscale("log")
            ax.xaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
            ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
            ax.xaxis.set_minor_locator(NullLocator())
            ax.set_xlabel("operations an image, millions")
            ax.set_ylabel("accuracy, %")
            ax.set_title(title)
            ax.margins(0.12)

        return Panel(draw, f"accuracy against operations, {title}", size=(4.4, 3.1))

    caption = "Accuracy against operations an image (binary ones count 1/64); grey: the Pareto front."
    return Picture(
        "accuracy_operations",
        "Accuracy against operations",
        caption,
        [panel(*side) for side in sides],
        pd.DataFrame(data),
        2,
        tuple(rows),
        (3.3, 2.4),
    )


def pareto(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points that no other beats in both cost (first) and value (second), by cost.

    >>> pareto([(1, 1), (2, 3), (3, 2), (4, 4)])
    [(1, 1), (2, 3), (4, 4)]
    """
    front: list[tuple[float, float]] = []
    for cost, value in sorted(points, key=lambda p: (p[0], -p[1])):
        if not front or value > front[-1][1]:
            front.append((cost, value))
    return front


def _flipped(i: Interval) -> Interval:
    low = None if i.high is None else 1 - i.high
    return Interval(1 - i.value, low, None if i.low is None else 1 - i.low, i.n, i.how)


def _errors(setting: Setting, rows: list[Row], cells: list[Key]) -> NDArray[np.float64] | None:
    """Return errors (cell, row) of the cells that all rows have; None if there are none."""
    lines = []
    for key in cells:
        found = [r.estimate(key) for r in rows]
        if all(found):
            lines.append([(1 - i.value) if key.metric == "accuracy" else i.value for i in found if i])
    return np.array(lines) if lines else None


def ranks_over(errors: NDArray[np.float64]) -> tuple[NDArray[np.float64], float, float]:
    """Return mean ranks of the columns of (block, method) errors, Friedman's p, and Nemenyi's critical difference at .05."""
    blocks, k = errors.shape
    ranks = distributions.rankdata(errors, axis=1).mean(axis=0)
    p = float(distributions.friedmanchisquare(*errors.T).pvalue) if k > 2 else float("nan")
    q = float(distributions.studentized_range.ppf(stats.LEVEL, k, np.inf)) / math.sqrt(2)
    return ranks, p, q * math.sqrt(k * (k + 1) / (6 * blocks))


def critical_difference(setting: Setting) -> Picture | None:
    """Return Demsar's diagram: mean ranks over the corruptions, methods within the critical difference joined."""
    rows = [r for r in chosen(setting) if not r.aside]
    errors = _errors(setting, rows, [Key("corruption_error", corruption=c) for c in setting.corruptions if c in COMMON])
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
                fontsize=7,
            )
            hits.point(ax, rank, top, f"{row.label}: mean rank {rank:.2f} over {len(errors)} corruptions", row.index)
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
            fontsize=7,
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


def performance_profile(setting: Setting) -> Picture | None:
    """Return the share of cells in which a method's error is within a factor of the best one's."""
    rows = [r for r in chosen(setting) if not r.aside]
    cells = [
        Key("accuracy", corruption=c, severity=s)
        for c in setting.corruptions
        if c in COMMON
        for s in setting.severities
    ]
    errors = _errors(setting, rows, cells)
    if errors is None or len(rows) < 2 or len(errors) < 5:
        return None
    # One image's worth of error keeps the ratio finite where the best method makes none.
    floor = 1 / setting.any.spec.data.test
    ratios = (errors + floor) / (errors.min(axis=1, keepdims=True) + floor)
    top = min(4.0, max(1.2, float(np.quantile(ratios, 0.98))))
    taus = np.linspace(1, top, 61)
    shares = {r.index: [(ratios[:, j] <= t + 1e-12).mean() * 100 for t in taus] for j, r in enumerate(rows)}

    def draw(ax: Axes, hits: Hits) -> None:
        for row in rows:
            s = look(row)
            ax.plot(taus, shares[row.index], color=s.colour, linestyle=s.dash, drawstyle="steps-post", gid=gid(row))
            for k in range(0, len(taus), 6):
                share = shares[row.index][k]
                text = f"{row.label}: within {taus[k]:.2f} times the best error in {share:.0f} % of {len(errors)} cells"
                hits.point(ax, float(taus[k]), shares[row.index][k], text, row.index)
        ax.set_xlim(1, top)
        ax.set_ylim(-2, 102)
        ax.set_xlabel("factor of the best method's error")
        ax.set_ylabel("share of cells, %")
        ax.set_title("performance profile")

    caption = (
        f"Share of the {len(errors)} corruption x severity cells in which a method's error is within a factor of the "
        "smallest one. "
        "Higher and further left is better. A picture, not a claim."
    )
    data = pd.DataFrame({"factor": taus} | {r.label: shares[r.index] for r in rows})
    panel = Panel(draw, "performance profile", size=(6.2, 3.6))
    return Picture("performance_profile", "Performance profile", caption, [panel], data, 1, tuple(rows), (4.2, 2.5))
