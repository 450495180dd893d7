"""What figures are made of, panels and marks, and what they share: a method's look, lines with bands, axes.

matplotlib draws on an axes each, so that a file for a paper and a panel of the page share their code (`rendering`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Polygon
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from lcrbench.bench.stats import Interval
from lcrbench.reports.colours import INK, Style
from lcrbench.reports.comparison import Row

# Stand for the page's rule and muted text, and are replaced by them inside the page.
RULE, MUTED = "#d8dbe0", "#6a7079"


Band = Literal["seeds", "se", "ci", "none"]
"""What lies around a mean over seeds: their range, the standard error, the 95 % interval, or nothing."""
BANDS: tuple[Band, ...] = ("seeds", "se", "ci")
"""What the page lets a reader choose from; the first is drawn in files unless another is asked for."""


@dataclass
class Hits:
    """Where the data stand in a figure, and what the page says when they are pointed at; which bands are drawn."""

    bands: tuple[Band, ...] = BANDS[:1]
    points: list[tuple[Axes, float, float, str, int]] = field(default_factory=list)
    boxes: list[tuple[Axes, float, float, str, int]] = field(default_factory=list)
    numbers: list[tuple[Axes, float, float, str, str, int]] = field(default_factory=list)

    def point(self, ax: Axes, x: float, y: float, text: str, row: int) -> None:
        """Remember a point of row `row`."""
        self.points.append((ax, x, y, text, row))

    def box(self, ax: Axes, x: float, y: float, text: str, row: int) -> None:
        """Remember a unit square around (x, y)."""
        self.boxes.append((ax, x, y, text, row))

    def number(self, ax: Axes, x: float, y: float, text: str, colour: str, row: int) -> None:
        """Print a few characters around (x, y). A heat map has hundreds, and matplotlib takes milliseconds for each text."""
        self.numbers.append((ax, x, y, text, colour, row))


Draw = Callable[[Axes, Hits], None]


@dataclass
class Panel:
    """One axes: how to draw it, its size in the page in inches, and the group that a filter finds it by."""

    draw: Draw
    title: str = ""
    size: tuple[float, float] = (3.7, 2.6)
    group: str = ""
    row: Row | None = None
    """The method that the panel is about, if it is about one."""
    scale: str = ""
    """The axis where a figure has panels for a choice, "log" or "linear"; a file has those of the first one."""
    svg: Callable[[str], str] | None = None
    """Draws the panel for the page in place of `draw`, given a prefix for ids."""


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
    shared: bool = False
    """Panels of a column and of a row have the same axes, so in a file only the outer ones are labelled."""
    holes: tuple[int, ...] = ()
    """Places of the grid that stay empty in a file."""
    seeds: tuple[int, ...] = ()
    """Of a figure with bands: how many seeds each row has."""
    subject: str = ""
    """What data and backbone it is of; the composition of a report sets it."""

    @property
    def printed(self) -> list[Panel]:
        """Return the panels of a file: of those for a choice of axis the first kind."""
        scales = [p.scale for p in self.panels if p.scale]
        return [p for p in self.panels if p.scale in ("", *scales[:1])]

    def said(self, band: Band = BANDS[0]) -> str:
        """Return what stands under the figure where this band is drawn."""
        return f"{self.caption} {band_words(self.seeds, band)}".strip() if self.seeds else self.caption


def look(row: Row) -> Style:
    """Return how a row is drawn: as its method, but dotted where it stands aside under another budget."""
    s = row.style
    return s._replace(dash="dotted") if row.aside else s


_serial = itertools.count()


def restart() -> None:
    """Number the marks of a figure from 0 again."""
    global _serial
    _serial = itertools.count()


def gid(row: Row, kind: str = "") -> str:
    """Return an id that tells the page whose mark this is, and of which kind: a band, or the line of a seed."""
    return f"row-{row.index}-{next(_serial)}" + (f"-{kind}" if kind else "")


def plain_label(row: Row) -> str:
    """Return a row's name for a figure: matplotlib reads a dollar sign as mathematics, so it is escaped."""
    return row.name.replace("$", r"\$") + (" †" if row.aside else "")


def tell(interval: Interval, scale: float = 100, unit: str = " %", digits: int = 1) -> str:
    """Return a number with its interval and n in words, for a tooltip."""
    text = f"{interval.value * scale:.{digits}f}{unit}"
    if interval.low is not None and interval.high is not None:
        text += f" [{interval.low * scale:.{digits}f}, {interval.high * scale:.{digits}f}]"
    return f"{text}, n={interval.n:,}"


Point = tuple[float, Interval, str, Sequence[float]]
"""Where a point stands, its number, what is told of it, and its value in each seed."""


def band_words(row_seeds: Sequence[int], band: Band = BANDS[0]) -> str:
    """Say what the lines and bands of a figure are, for rows with these numbers of seeds."""
    said = []
    if any(n > 1 for n in row_seeds):
        said.append("Thick lines: means over the training seeds; thin ones: single seeds.")
        around = {
            "seeds": "the range of the seeds",
            "se": "the mean ± its standard error over the seeds",
            "ci": "the 95 % t interval over the seeds",
            "none": "",
        }[band]
        said.append(f"Bands: {around}." if around else "No bands.")
    if 1 in row_seeds and band != "none":
        said.append(
            "Where a method has one seed, its band is the 95 % interval over test images."
            if said
            else "One training seed a method; bands: 95 % intervals over test images."
        )
    return " ".join(said)


def line(ax: Axes, hits: Hits, row: Row, points: Sequence[Point], scale: float = 100, *, ends: bool = False) -> None:
    """Draw one method's line with its bands, and remember its points.

    With several seeds the line is thick and each seed's is thin. `ends`: the band is what the intervals say, whatever
    the reader chooses.
    """
    if not points:
        return
    s = look(row)
    x = [p[0] for p in points]
    y = [p[1].value * scale for p in points]
    several = not ends and any(len(p[3]) > 1 for p in points)
    # The reference lies under the others, so that nothing hides behind it.
    z = 2.0 if s.colour == INK else 3.0
    wide = mpl.rcParams["lines.linewidth"] * (1.25 if several else 1.0)
    [drawn] = ax.plot(
        x, y, color=s.colour, linestyle=s.dash, linewidth=wide, marker=s.marker, gid=gid(row), zorder=z, clip_on=False
    )
    drawn.set_in_layout(False)  # only its markers reach over the edge
    if several:
        _seed_lines(ax, row, points, scale)
        for kind in hits.bands:
            _band(ax, row, [(p[0], around) for p in points if (around := _around(p, kind))], scale, kind)
    elif "none" not in hits.bands:
        known = [(p[0], (p[1].low, p[1].high)) for p in points if p[1].low is not None and p[1].high is not None]
        _band(ax, row, known, scale, "")
    for px, interval, text, _ in points:
        hits.point(ax, px, interval.value * scale, text, row.index)


def _around(point: Point, kind: Band) -> tuple[float, float] | None:
    """Return the ends of a band at a point; None where it has none."""
    _, interval, _, seeds = point
    if kind == "none" or len(seeds) < 2:
        return None
    if kind == "seeds":
        return min(seeds), max(seeds)
    if kind == "se":
        error = float(np.std(seeds, ddof=1)) / math.sqrt(len(seeds))
        return interval.value - error, interval.value + error
    return None if interval.low is None or interval.high is None else (interval.low, interval.high)


def _seed_lines(ax: Axes, row: Row, points: Sequence[Point], scale: float) -> None:
    """Draw each seed's line thin, all of them in one stroke with gaps."""
    x: list[float] = []
    y: list[float] = []
    for seed in range(min(len(p[3]) for p in points)):
        x += [*(p[0] for p in points), math.nan]
        y += [*(p[3][seed] * scale for p in points), math.nan]
    [drawn] = ax.plot(x, y, color=look(row).colour, linewidth=0.5, alpha=0.5, gid=gid(row, "seed"), zorder=1.8)
    drawn.set_in_layout(False)


def _band(
    ax: Axes, row: Row, known: Sequence[tuple[float, tuple[float | None, float | None]]], scale: float, kind: str
) -> None:
    """Draw a band between pairs of ends; over one point it has no width and is a stroke."""
    colour, ends = look(row).colour, [(x, (low or 0.0) * scale, (high or 0.0) * scale) for x, (low, high) in known]
    mark = gid(row, f"band {kind}" if kind else "")
    if len(ends) == 1:
        x, low, high = ends[0]
        ax.plot([x, x], [low, high], color=colour, linewidth=2.5, alpha=0.35, gid=mark, zorder=1.5)
    elif ends:
        # One patch: `fill_between` makes a collection, which takes several times as long, and a page has hundreds of bands.
        around = [(x, low) for x, low, _ in ends] + [(x, high) for x, _, high in reversed(ends)]
        ax.add_patch(Polygon(around, color=colour, alpha=0.14, linewidth=0, gid=mark, zorder=1.5))


def by_method(ax: Axes, rows: Sequence[Row]) -> None:
    """Give an x axis one place a method, where there is one number of each: on a labelled axis no point is moved."""
    ax.set_xlim(-0.5, len(rows) - 0.5)
    ax.set_xticks(range(len(rows)), [plain_label(r) for r in rows], rotation=25, ha="right", rotation_mode="anchor")


ZERO = (
    "An axis with a break in it is logarithmic above the break and linear from there down to 0: how steeply a line or a "
    "band falls to 0 says nothing."
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
        # The break, as two strokes through the axis.
        stroke = [(-1.6, -0.6), (1.6, 0.6)]
        for y in (0.5, 0.75):
            [mark] = ax.plot(
                [0], [threshold * y], marker=stroke, markersize=7, color=MUTED, transform=ax.get_yaxis_transform()
            )
            mark.set(clip_on=False, in_layout=False, markeredgewidth=0.8)
    else:
        ax.set_yscale("log")
        decades_spanned = math.log10(max(positive) / min(positive))
        ax.yaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5) if decades_spanned < 3 else (1,)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    ax.yaxis.set_minor_locator(NullLocator())


def along(ax: Axes, values: Sequence[float], axis: str) -> None:
    """Give a y axis of lower bounds the scale that the reader chose: "log", with room for 0, or "linear", from 0 on."""
    if axis == "log":
        logarithmic(ax, list(values))
    else:
        ax.set_ylim(min([0.0, *values]), 1.05 * max(values, default=1.0))


def decades(ax: Axes) -> None:
    """Give a y axis of positive values a logarithmic scale with a few plain numbers."""
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    ax.yaxis.set_minor_locator(NullLocator())


def positive(ax: Axes, side: Literal["x", "y"], values: Sequence[float]) -> None:
    """Give an axis of positive values a scale from 0, or a logarithmic one where they span more than a factor of 30."""
    if not values:
        return
    if min(values) > 0 and max(values) > 30 * min(values):
        ax.set(**{f"{side}scale": "log"})
        axis = ax.xaxis if side == "x" else ax.yaxis
        axis.set_major_locator(LogLocator(10))
        axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        axis.set_minor_locator(NullLocator())
    else:
        ax.set(**{f"{side}lim": (0, 1.08 * max(values))})
