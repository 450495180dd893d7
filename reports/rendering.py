"""Pictures as files for a paper and as panels for the page.

A panel for the page is inline SVG whose ink, rules and text follow the page's theme, with invisible marks over the data
that tell their values when pointed at. Nothing here touches matplotlib's global state.
"""

from __future__ import annotations

import html
import io
import math
import re
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.path import Path as MplPath
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D

from lcrbench.reports.colours import INK, VARIABLES
from lcrbench.reports.comparison import Row
from lcrbench.reports.drawing import BANDS, MUTED, RULE, Band, Hits, Panel, Picture, look, plain_label, restart

FORMATS = ("png", "svg", "pdf")
FONT = 7.5
_SMALL, _LINE = 6.0, 9.6
"""Points of the caption in a file, and of a line of title or caption."""
_LETTERS = ("font.size", "axes.titlesize", "axes.labelsize", "xtick.labelsize", "ytick.labelsize", "legend.fontsize")
# Of the numbers inside a heat map, as a share of the font's size.
NUMBER_SIZE = 0.83

_STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": FONT,
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


@contextmanager
def _house_style() -> Iterator[None]:
    restart()  # so that the same figure gets the same ids, and the same bytes
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)  # type: ignore[arg-type]
        yield


@dataclass(frozen=True)
class Print:
    """How a file is printed: its width in inches (None: as its panels ask), the size of its letters in points (None: the
    house's 7.5), which band is drawn, and whether title and caption stand in it, so that it can stand alone.
    """

    width: float | None = None
    font: float | None = None
    band: Band = BANDS[0]
    alone: bool = True


def save(
    picture: Picture, folder: Path, formats: Sequence[str] = FORMATS, how: Print = Print(), name: str = ""
) -> list[str]:
    """Write a figure as files `name.png`, `.svg` and `.pdf`; returns the files' names. PNG is white, the rest clear."""
    factor = (how.font or FONT) / FONT
    scaled = {key: value * factor for key, value in _STYLE.items() if key in _LETTERS}
    with _house_style(), mpl.rc_context(scaled):  # type: ignore[arg-type]
        panels = picture.printed
        places = [i for i in range(len(panels) + len(picture.holes)) if i not in picture.holes]
        n = places[-1] + 1
        columns, panel_width = _columns(picture, n, how, factor)
        rows = math.ceil(n / columns)
        width = max(columns * panel_width, 3.3) if how.width is None else how.width
        title, caption = _texts(picture, how, width, factor)
        # As many to a line as the width has room for.
        handles = [_handle(r) for r in picture.legend]
        longest = max((len(str(h.get_label())) for h in handles), default=0)
        fits = max(1, min(len(handles), int(width / ((0.5 + 0.065 * longest) * factor))))
        legend = 0.1 + 0.17 * factor * math.ceil(len(handles) / fits) if handles else 0.0
        above, below = (_LINE * factor * _lines(text) / 72 + 0.04 * bool(text) for text in (title, caption))
        body = max(rows * picture.paper[1] * max(1.0, panel_width / picture.paper[0] * 0.8) + legend, 2.0)
        height = body + above + below
        figure = Figure(figsize=(width, height), dpi=200, layout="constrained")
        engine = figure.get_layout_engine()
        assert engine is not None
        engine.set(rect=(0, below / height, 1, body / height))  # type: ignore[call-arg]
        beside_holes = []
        for i, panel in zip(places, panels, strict=True):
            ax = figure.add_subplot(rows, columns, i + 1)
            hits = Hits(bands=(how.band,))
            panel.draw(ax, hits)
            _print_numbers(ax, hits)
            if picture.shared and i % columns:
                ax.tick_params(labelleft=False)
                ax.set_ylabel("")
                if i - 1 not in places:
                    beside_holes.append(ax)
            if picture.shared and i + columns in places:
                ax.tick_params(labelbottom=False)
                ax.set_xlabel("")
        if handles:
            shown = figure.legend(handles=handles, loc="lower center", ncols=fits)
            engine.set(rect=(0, (below + legend) / height, 1, (body - legend) / height))  # type: ignore[call-arg]
            shown.set_bbox_to_anchor((0.5, below / height), transform=figure.transFigure)
            shown.set_in_layout(False)
        _lay_out(figure)
        for ax in beside_holes:  # a hole has room for the labels, so that they move nothing
            ax.tick_params(labelleft=True)
        left = 0.05 / width
        if title:
            figure.text(left, 1 - 0.03 / height, title, va="top", fontsize=FONT * factor * 1.1)
        if caption:
            figure.text(left, 0.03 / height, caption, va="bottom", fontsize=_SMALL * factor, color=MUTED)
        names = []
        for kind in formats:
            written = f"{name or picture.name}.{kind}"
            _write(figure, kind, folder / written)
            names.append(written)
    return names


def _columns(picture: Picture, n: int, how: Print, factor: float) -> tuple[int, float]:
    """Return how many panels stand side by side in a file, and how wide each is in inches."""
    asked = min(picture.columns, n)
    if how.width is None:
        return asked, picture.paper[0]
    # A grid with holes keeps its columns: below each panel stands what belongs to it.
    least = min(picture.paper[0], 1.6) * max(1.0, factor)
    fits = asked if picture.holes else max(1, min(asked, int(how.width / least)))
    return fits, how.width / fits


def _texts(picture: Picture, how: Print, width: float, factor: float) -> tuple[str, str]:
    """Return the title and the caption of a file, broken into lines; nothing where it does not stand alone."""
    if not how.alone:
        return "", ""
    title = f"{picture.title}: {picture.subject}" if picture.subject else picture.title

    def fill(text: str, points: float) -> str:
        # A letter of DejaVu Sans is about 0.56 of its size wide.
        return textwrap.fill(" ".join(text.split()), int(width * 72 / (0.56 * points * factor))).replace("$", r"\$")

    return fill(title, FONT * 1.1), fill(picture.said(how.band).replace("`", ""), _SMALL)


def _lines(text: str) -> int:
    return text.count("\n") + 1 if text else 0


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
        from matplotlib.backends.backend_pdf import FigureCanvasPdf  # reads fonts as it is imported; a page needs none

        FigureCanvasPdf(figure).print_pdf(target, metadata={"CreationDate": None})  # type: ignore[no-untyped-call]


def inline(picture: Picture, prefix: str) -> list[str]:
    """Return a figure's panels as SVG elements for the page; `prefix` keeps their ids apart from all others."""
    found = []
    with _house_style(), mpl.rc_context(_SCREEN):  # type: ignore[arg-type]
        for i, panel in enumerate(picture.panels):
            if panel.svg is not None:
                found.append(panel.svg(f"{prefix}-{i}"))
                continue
            figure = Figure(figsize=panel.size, dpi=72)
            hits = Hits(bands=BANDS)
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
    svg = re.sub(r'id="row-(\d+)-\d+(?:-([a-z ]+))?"', lambda m: f'class="m m{m[1]}{" " + m[2] if m[2] else ""}"', svg)
    svg = re.sub(r' id="([^"]+)"', rf' id="{prefix}-\1"', svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\g<1>{prefix}-", svg)
    for colour, variable in (VARIABLES | {RULE: "--rule", MUTED: "--muted"}).items():
        svg = svg.replace(colour.lower(), f"var({variable})")
    svg = re.sub(r"font: ([^;\"]*?)'DejaVu Sans'[^;\"]*", r"font: \1var(--sans)", svg)
    svg = re.sub(r"font-family: *'?DejaVu Sans'?[^;\"]*", "font-family: var(--sans)", svg)
    svg = re.sub(r"\n\s*", "\n", svg)
    svg = re.sub(r' (?:d|x|y|transform)="[^"]*"', lambda places: _rounded(places[0]), svg)
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


def _rounded(places: str) -> str:
    """Return the places in an attribute in tenths of a pixel, where matplotlib writes millionths.

    Of scales below 1 the digits are kept: a letter's outline is drawn a hundred times its size.
    """
    return re.sub(r"[1-9]\d*\.\d{2,}", lambda number: f"{float(number[0]):.1f}".removesuffix(".0"), _hundredths(places))


def _hundredths(places: str) -> str:
    return re.sub(r"\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), places)


def _handle(row: Row) -> Line2D:
    s = look(row)
    return Line2D([], [], color=s.colour, linestyle=s.dash, marker=s.marker, label=plain_label(row))
