"""A figure's file put together from the panels of the page, where drawing it once more would take too long.

What `rendering.save` draws anew for paper takes seconds a figure, and a report over very many runs has dozens.
"""

from __future__ import annotations

import html
import re
import textwrap
from collections.abc import Sequence

import numpy as np

from lcrbench.reports.colours import INK, VARIABLES
from lcrbench.reports.comparison import Row
from lcrbench.reports.drawing import BANDS, MUTED, RULE, Band, Picture, look

WIDTH, LEAST, GAP, LINE = 1000.0, 520.0, 12.0, 16.0
"""The most and the least that a file is wide, between panels, and of a line of text, in pixels."""
# A letter of DejaVu Sans is about 0.58 of its size wide.
_LETTER = 0.58
_COLOURS = {name: colour for colour, name in VARIABLES.items()} | {"--rule": RULE, "--muted": MUTED, "--ink": INK}
_COLOURS |= {"--sans": "DejaVu Sans, sans-serif", "--paper": "#ffffff"}
_HIT = re.compile(r'<(circle|rect) class="hit[^>]*>.*?</\1>', re.DOTALL)
_DASHES = {"dashed": "5 2.5", "dashdot": "6 2 1.5 2", "dotted": "1.5 2"}


def compose(picture: Picture, panels: Sequence[str], band: Band = BANDS[0]) -> str:
    """Return a figure as one SVG that stands alone: title, legend, panels side by side, and what stands under it.

    `panels` are those of `picture.panels` as the page has them; of several axes the first is taken, of several bands `band`.
    """
    title = f"{picture.title}: {picture.subject}" if picture.subject else picture.title
    parts = [_text(4, 18, 15, title)]
    widest = max(LEAST, 4 + 15 * _LETTER * len(title))
    x, y = 4.0, 40.0
    for row in picture.legend:
        wide = 30 + 12 * _LETTER * len(row.name) + 18
        if x > 4 and x + wide > WIDTH:
            x, y = 4.0, y + 18
        parts += [_key(row, x, y), _text(x + 29, y, 12, row.name + (" †" if row.aside else ""))]
        x += wide
        widest = max(widest, x)
    printed = {id(p) for p in picture.printed}
    x, y, lowest = 0.0, y + 10, 0.0
    for panel, svg in zip(picture.panels, panels, strict=True):
        if id(panel) not in printed:
            continue
        wide, high = _size(svg)
        if x > 0 and x + wide > WIDTH:
            x, y, lowest = 0.0, y + lowest + GAP, 0.0
        parts.append(svg.replace("<svg ", f'<svg x="{x:g}" y="{y:g}" width="{wide:g}" height="{high:g}" ', 1))
        x, lowest = x + wide + GAP, max(lowest, high)
        widest = max(widest, x)
    y += lowest + GAP
    said = " ".join(picture.said(band).replace("`", "").split())
    for line in textwrap.wrap(said, int(widest / (11 * _LETTER))):
        y += LINE
        parts.append(_text(4, y, 11, line, "--muted"))
    hidden = ", ".join(f".band.{other}" for other in BANDS if other != band)
    whole = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{widest:g}" height="{y + LINE:g}" viewBox="0 0 {widest:g} '
        f'{y + LINE:g}">\n<style>{hidden} {{ display: none }}</style>\n' + "\n".join(parts) + "\n</svg>\n"
    )
    return re.sub(r"var\((--[\w-]+)\)", lambda name: _COLOURS[name[1]], _HIT.sub("", whole))


def _size(svg: str) -> tuple[float, float]:
    found = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    assert found is not None
    return float(found[1]), float(found[2])


def _text(x: float, y: float, size: int, words: str, ink: str = "--ink") -> str:
    return f'<text x="{x:g}" y="{y:g}" style="font: {size}px var(--sans); fill: var({ink})">{html.escape(words)}</text>'


def _key(row: Row, x: float, y: float) -> str:
    """Return a legend's stroke with its marker."""
    s = look(row)
    dash = f' stroke-dasharray="{_DASHES[s.dash]}"' if s.dash in _DASHES else ""
    middle = f'x1="{x:g}" x2="{x + 24:g}" y1="{y - 4:g}" y2="{y - 4:g}"'
    return f'<line {middle} stroke="{s.colour}" stroke-width="2"{dash}/>{_marker(s.marker, s.colour, x + 12, y - 4)}'


def _marker(marker: str, colour: str, x: float, y: float) -> str:
    """Return a marker as matplotlib draws it, 7 px wide."""
    from matplotlib.markers import MarkerStyle

    style = MarkerStyle(marker)
    polygons = style.get_path().transformed(style.get_transform()).to_polygons(closed_only=False)
    corners = [np.asarray(polygon, dtype=np.float64).tolist() for polygon in polygons]
    path = "".join("M" + "L".join(f"{x + 7 * px:.1f} {y - 7 * py:.1f}" for px, py in one) for one in corners)
    return f'<path d="{path}Z" fill="{colour}" stroke="{colour}"/>'
