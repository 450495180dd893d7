"""A heat map as SVG for the page, in which each corruption is a group that the page's filter takes out and closes up.

matplotlib draws the file for a paper; its SVG has no rows that could be moved.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import NamedTuple

LABELS, HEIGHT, TOP, FOOT = 122.0, 15.0, 20.0, 30.0
"""Room for the labels, of a row, above and below the rows, in pixels."""


class HeatCell(NamedTuple):
    """A cell: its colour and that of its text, what is printed, and what is told on pointing at it."""

    fill: str
    ink: str
    text: str
    told: str


class HeatRow(NamedTuple):
    """A row: its label, the group that a filter finds it by, and its cells; None where nothing was measured."""

    label: str
    group: str
    cells: Sequence[HeatCell | None]


def heat_svg(title: str, rows: Sequence[HeatRow], columns: Sequence[str], across: str, mark: int, width: float) -> str:
    """Return a heat map as an SVG element; `mark` is the index of the method's row, by which the page finds it."""
    wide = (width - LABELS - 4) / max(1, len(columns))
    high = TOP + HEIGHT * len(rows) + FOOT
    said = html.escape(title, quote=True)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="heat" viewBox="0 0 {width:g} {high:g}" role="img" '
        f'aria-label="{said}" data-top="{TOP:g}" data-step="{HEIGHT:g}" data-foot="{FOOT:g}">',
        f'<text x="{LABELS:g}" y="13" style="font: bold 10.5px var(--sans); fill: var(--ink)">{said}</text>',
    ]
    for i, row in enumerate(rows):
        parts.append(
            f'<g class="line" data-group="{row.group}" transform="translate(0 {TOP + HEIGHT * i:g})" '
            f'style="font: 8px var(--sans); text-anchor: middle">'
            f'<text x="{LABELS - 5:g}" y="10.8" style="font-size: 9px; fill: var(--muted); text-anchor: end">'
            f"{html.escape(row.label)}</text>"
        )
        for j, cell in enumerate(row.cells):
            if cell is None:
                continue
            x = LABELS + wide * j
            parts.append(
                f'<rect class="tell m m{mark}" x="{x:.1f}" width="{wide - 0.6:.1f}" height="{HEIGHT - 0.6:g}" '
                f'fill="{cell.fill}"><title>{html.escape(cell.told)}</title></rect>'
                f'<text x="{x + wide / 2:.1f}" y="10.8" fill="{cell.ink}">{cell.text}</text>'
            )
        parts.append("</g>")
    parts.append(f'<g class="foot" transform="translate(0 {TOP + HEIGHT * len(rows):g})">')
    style = "font: 9px var(--sans); fill: var(--muted); text-anchor: middle"
    parts += [
        f'<text x="{LABELS + wide * (j + 0.5):.1f}" y="11" style="{style}">{html.escape(name)}</text>'
        for j, name in enumerate(columns)
    ]
    parts.append(
        f'<text x="{LABELS + wide * len(columns) / 2:.1f}" y="24" style="{style}">{html.escape(across)}</text></g></svg>'
    )
    return "".join(parts)
