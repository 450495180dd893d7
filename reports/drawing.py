"""What figures are made of, panels and marks, and what they share: a method's look, lines with bands, axes.

matplotlib draws on an axes each, so that a file for a paper and a panel of the page share their code (`rendering`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from lcrbench.bench.stats import Interval
from lcrbench.reports.colours import INK, Style, style
from lcrbench.reports.comparison import Row

# Stand for the page's rule and muted text, and are replaced by them inside the page.
RULE, MUTED = "#d8dbe0", "#6a7079"


@dataclass
class Hits:
    """Where the data stand in a figure, and what the page says when they are pointed at."""

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


def look(row: Row) -> Style:
    """Return how a row is drawn: as its method, but dotted where it stands aside under another budget."""
    s = style(row.label, row.method)
    return s._replace(dash="dotted") if row.aside else s


_serial = itertools.count()


def restart() -> None:
    """Number the marks of a figure from 0 again."""
    global _serial
    _serial = itertools.count()


def gid(row: Row) -> str:
    """Return an id that tells the page whose mark this is."""
    return f"row-{row.index}-{next(_serial)}"


def plain_label(row: Row) -> str:
    """Return a row's label for a figure: matplotlib reads a dollar sign as mathematics, so it is escaped."""
    return row.label.replace("$", r"\$") + (" †" if row.aside else "")


def tell(interval: Interval, scale: float = 100, unit: str = " %", digits: int = 1) -> str:
    """Return a number with its interval and n in words, for a tooltip."""
    text = f"{interval.value * scale:.{digits}f}{unit}"
    if interval.low is not None and interval.high is not None:
        text += f" [{interval.low * scale:.{digits}f}, {interval.high * scale:.{digits}f}]"
    return f"{text}, n={interval.n:,}"


Point = tuple[float, Interval, str, Sequence[float]]
"""Where a point stands, its number, what is told of it, and its value in each seed."""


def _band(row: Row, point: Point) -> tuple[float, float]:
    _, interval, _, seeds = point
    if len(seeds) == 2:
        return min(seeds), max(seeds)
    return interval.low or 0.0, interval.high or 0.0


def band_words(row_seeds: Sequence[int]) -> str:
    """Say what the bands of a figure are, for rows with these numbers of seeds."""
    said = []
    if any(n > 2 for n in row_seeds):
        said.append("95 % t intervals over training seeds")
    if 2 in row_seeds:
        said.append("the range of the two training seeds, whose 95 % interval is told on pointing at it")
    if 1 in row_seeds:
        said.append("95 % intervals over test images")
    return "Bands: " + ", or ".join(said) + "."


def line(ax: Axes, hits: Hits, row: Row, points: Sequence[Point], scale: float = 100) -> None:
    """Draw one method's line with its band, and remember its points.

    Two seeds have an interval with one degree of freedom, which would hide every other line: their band is the range of
    the two, and the interval is told where the point is pointed at.
    """
    if not points:
        return
    s = look(row)
    x = [p[0] for p in points]
    y = [p[1].value * scale for p in points]
    # The reference lies under the others, so that nothing hides behind it.
    z = 2.0 if s.colour == INK else 3.0
    [drawn] = ax.plot(x, y, color=s.colour, linestyle=s.dash, marker=s.marker, gid=gid(row), zorder=z, clip_on=False)
    drawn.set_in_layout(False)  # only its markers reach over the edge
    known = [p for p in points if p[1].low is not None and p[1].high is not None]
    if len(known) == 1:  # a band over one point has no width
        ends = [end * scale for end in _band(row, known[0])]
        ax.plot([known[0][0]] * 2, ends, color=s.colour, linewidth=2.5, alpha=0.35, gid=gid(row), zorder=1.5)
    elif known:
        bands = [_band(row, p) for p in known]
        low, high = [b[0] * scale for b in bands], [b[1] * scale for b in bands]
        ax.fill_between(
            [p[0] for p in known], low, high, color=s.colour, alpha=0.14, linewidth=0, gid=gid(row), zorder=1.5
        )
    for px, interval, text, _ in points:
        hits.point(ax, px, interval.value * scale, text, row.index)


def beside(rows: Sequence[Row], row: Row, points: Sequence[Point]) -> list[Point]:
    """Return a row's points on a logarithmic axis with one place, apart from those of the others so that none hides."""
    away = 1.06 ** (rows.index(row) - (len(rows) - 1) / 2)
    return [(x * away, interval, text, seeds) for x, interval, text, seeds in points]


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
