"""Figures: drawn with matplotlib on an axes each, so that a file for a paper and a panel of the page share their code.

A panel for the page is inline SVG whose ink, rules and text follow the page's theme, with invisible marks over the data
that tell their values when pointed at. Nothing here touches matplotlib's global state.
"""

from __future__ import annotations

import html
import io
import itertools
import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.path import Path as MplPath
from matplotlib.textpath import TextPath
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from matplotlib.transforms import Affine2D

from lcrbench.bench.stats import Interval
from lcrbench.reports.colours import INK, VARIABLES, Style, style
from lcrbench.reports.comparison import Row

# Stand for the page's rule and muted text, and are replaced by them inside the page.
RULE, MUTED = "#d8dbe0", "#6a7079"
FORMATS = ("png", "svg", "pdf")
# Of the numbers inside a heat map, as a share of the font's size.
NUMBER_SIZE = 0.83

_STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 7.5,
    "axes.titlepad": 4,
    "axes.titlesize": 8,
    "axes.titleweight": "normal",  # a second weight in a PDF is a second font to embed
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
    "pdf.fonttype": 42,  # publishers refuse type 3
}


# On a screen a panel is larger and read from further away than on paper.
_SCREEN: dict[str, Any] = {
    "svg.fonttype": "none",
    "axes.titleweight": "bold",
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.labelsize": 9.5,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "lines.linewidth": 1.7,
    "lines.markersize": 4.2,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
}


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


_serial = itertools.count()


@contextmanager
def _house_style() -> Iterator[None]:
    global _serial
    _serial = itertools.count()  # so that the same figure gets the same ids, and the same bytes
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)  # type: ignore[arg-type]
        yield


def save(picture: Picture, folder: Path, formats: Sequence[str] = FORMATS) -> list[str]:
    """Write a figure as files `name.png`, `.svg` and `.pdf`; returns the files' names. PNG is white, the rest clear."""
    with _house_style():
        places = [i for i in range(len(picture.panels) + len(picture.holes)) if i not in picture.holes]
        n = places[-1] + 1
        columns = min(picture.columns, n)
        rows = math.ceil(n / columns)
        width, height = columns * picture.paper[0], rows * picture.paper[1] + (0.3 if picture.legend else 0)
        # One panel alone keeps a readable size.
        figure = Figure(figsize=(max(width, 3.3), max(height, 2.0)), dpi=200, layout="constrained")
        for i, panel in zip(places, picture.panels, strict=True):
            ax = figure.add_subplot(rows, columns, i + 1)
            hits = Hits()
            panel.draw(ax, hits)
            _print_numbers(ax, hits)
            if picture.shared and i % columns:
                ax.tick_params(labelleft=False)
                ax.set_ylabel("")
            if picture.shared and i + columns in places:
                ax.tick_params(labelbottom=False)
                ax.set_xlabel("")
        if picture.legend:
            handles = [_handle(r) for r in picture.legend]
            # As many to a line as the width has room for.
            fits = max(1, int(max(width, 3.3) / (0.5 + 0.065 * max(len(str(h.get_label())) for h in handles))))
            figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), fits))
        _lay_out(figure)
        names = []
        for kind in formats:
            name = f"{picture.name}.{kind}"
            _write(figure, kind, folder / name)
            names.append(name)
    return names


@cache
def _outline(text: str) -> MplPath:
    """Return the outline of a text of size 1, its middle at the origin."""
    outline = TextPath((0, 0), text, size=1, prop=FontProperties(family=_STYLE["font.family"]))
    box = outline.get_extents()
    middle = Affine2D().translate(-(box.x0 + box.x1) / 2, -(box.y0 + box.y1) / 2)
    return outline.transformed(middle)


def _print_numbers(ax: Axes, hits: Hits) -> None:
    """Draw a panel's numbers at once, as outlines."""
    if not hits.numbers:
        return
    points = NUMBER_SIZE * mpl.rcParams["font.size"]
    drawn = PathCollection(
        [_outline(text) for _, _, _, text, _, _ in hits.numbers],
        offsets=[(x, y) for _, x, y, _, _, _ in hits.numbers],
        offset_transform=ax.transData,
        facecolors=[colour for *_, colour, _ in hits.numbers],
        linewidths=0,
        zorder=3,
    )
    drawn.set_transform(Affine2D().scale(points / 72) + ax.figure.dpi_scale_trans)
    drawn.set_in_layout(False)
    ax.add_collection(drawn, autolim=False)


def _fit(figure: Figure) -> tuple[float, float, float, float]:
    """Return where the one axes of a panel stands so that its labels just fit.

    Constrained layout measures everything four times.
    """
    [ax] = figure.axes
    ax.set_position((0.15, 0.17, 0.8, 0.73))
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    inner, outer = ax.bbox.frozen(), ax.get_tightbbox(renderer, for_layout_only=True)
    assert outer is not None
    width, height = figure.bbox.size
    pad = 3.0
    left, bottom = inner.x0 - outer.x0 + pad, inner.y0 - outer.y0 + pad
    right, top = outer.x1 - inner.x1 + pad, outer.y1 - inner.y1 + pad
    return left / width, bottom / height, 1 - (left + right) / width, 1 - (bottom + top) / height


def _lay_out(figure: Figure) -> None:
    """Place a figure's parts once and for all: every format then looks the same, and none draws it twice to find out."""
    engine = figure.get_layout_engine()
    assert engine is not None
    engine.execute(figure)
    figure.set_layout_engine("none")


def _write(figure: Figure, kind: str, target: Path | io.BytesIO | io.StringIO) -> None:
    """Write a figure that is laid out, without dates. `Figure.savefig` would draw it twice, once only to lay it out."""
    if kind == "png":
        figure.set_facecolor("white")
        FigureCanvasAgg(figure).print_png(target, metadata={"Software": None})  # type: ignore[no-untyped-call]
        figure.set_facecolor("none")
    elif kind == "svg":
        # Creator, format and type stay out of the page's panels with the whole metadata element.
        FigureCanvasSVG(figure).print_svg(target, metadata={"Date": None})  # type: ignore[no-untyped-call]
    else:
        FigureCanvasPdf(figure).print_pdf(target, metadata={"CreationDate": None})  # type: ignore[no-untyped-call]


def inline(picture: Picture, prefix: str) -> list[str]:
    """Return a figure's panels as SVG elements for the page; `prefix` keeps their ids apart from all others."""
    found = []
    with _house_style(), mpl.rc_context(_SCREEN):  # type: ignore[arg-type]
        for i, panel in enumerate(picture.panels):
            figure = Figure(figsize=panel.size, dpi=72)
            hits = Hits()
            ax = figure.add_subplot()
            panel.draw(ax, hits)
            if i == 0 or not picture.shared or panel.size != picture.panels[0].size:
                place = _fit(figure)
            ax.set_position(place)
            buffer = io.StringIO()
            _write(figure, "svg", buffer)
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
    for colour, variable in (VARIABLES | {RULE: "--rule", MUTED: "--muted"}).items():
        svg = svg.replace(colour.lower(), f"var({variable})")
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
    size, numbers = NUMBER_SIZE * _SCREEN["font.size"], []
    for ax, x, y, text, colour, row in hits.numbers:
        px, py = ax.transData.transform((x, y))
        place = f'x="{px:.1f}" y="{height - py + 0.36 * size:.1f}" fill="{colour}"'
        numbers.append(f'<text class="m m{row}" {place}>{html.escape(text)}</text>')
    if numbers:
        style_ = f"font: {size:g}px var(--sans); text-anchor: middle; pointer-events: none"
        numbers = [f'<g style="{style_}">', *numbers, "</g>"]
    marks = []
    for ax, x, y, text, row in hits.points:
        px, py = ax.transData.transform((x, y))
        if math.isfinite(px) and math.isfinite(py):
            marks.append(
                f'<circle class="hit m m{row}" cx="{px:.1f}" cy="{height - py:.1f}" r="6">'
                f"<title>{html.escape(text)}</title></circle>"
            )
    for ax, x, y, text, row in hits.boxes:
        (ax0, ay0), (ax1, ay1) = ax.transData.transform([(x - 0.5, y - 0.5), (x + 0.5, y + 0.5)])
        left, top, wide, high = min(ax0, ax1), height - max(ay0, ay1), abs(ax1 - ax0), abs(ay1 - ay0)
        marks.append(
            f'<rect class="hit m m{row}" x="{left:.1f}" y="{top:.1f}" width="{wide:.1f}" height="{high:.1f}">'
            f"<title>{html.escape(text)}</title></rect>"
        )
    return svg.replace("</svg>", "".join(numbers + marks) + "</svg>").strip()


def look(row: Row) -> Style:
    """Return how a row is drawn: as its method, but dotted where it stands aside under another budget."""
    s = style(row.label)
    return s._replace(dash="dotted") if row.aside else s


def gid(row: Row) -> str:
    """Return an id that tells the page whose mark this is."""
    return f"row-{row.index}-{next(_serial)}"


def _handle(row: Row) -> Line2D:
    s = look(row)
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
