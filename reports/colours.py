"""One colour and one dash a method, in every figure of every report, safe for colour-blind readers.

The palette is Okabe and Ito's (2008). Well-known methods are pinned; any other name gets its style from a stable hash of
the name, so that a method looks the same whoever it is compared with. Dash and marker differ too: colour is never the
only sign.
"""

from __future__ import annotations

import hashlib
from typing import Literal, NamedTuple

from lcrbench.bench.records.spec import MethodId

# Stands for "the ink of the page": black on paper, light in dark mode.
INK = "#1b1e23"

ORANGE, SKY, GREEN, BLUE, VERMILION, PURPLE, OLIVE = (
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
    "#A08A00",  # Okabe and Ito's yellow vanishes on white; this is its dark shade.
)
PALETTE = (ORANGE, SKY, GREEN, BLUE, VERMILION, PURPLE, OLIVE)
Dash = Literal["solid", "dashed", "dashdot", "dotted"]
# Their names in the page, where a dark theme lightens those that would sink into it.
VARIABLES = {colour: f"--c{i}" for i, colour in enumerate(PALETTE)} | {INK: "--ink"}
DASHES: tuple[Dash, ...] = ("solid", "dashed", "dashdot", "dotted")
MARKERS = ("o", "s", "D", "^", "v", "P", "X")


class Style(NamedTuple):
    """How a method is drawn."""

    colour: str
    dash: Dash
    marker: str


PINNED = {
    ("full_precision",): Style(INK, "dashed", "o"),
    ("bnn",): Style(ORANGE, "solid", "s"),
    ("irnet",): Style(BLUE, "solid", "D"),
    ("irnet", "lcr"): Style(VERMILION, "solid", "o"),
    ("xnor_net",): Style(OLIVE, "solid", "^"),
    ("dorefa",): Style(SKY, "solid", "v"),
    ("bireal",): Style(GREEN, "solid", "^"),
    ("rbnn",): Style(PURPLE, "solid", "s"),
    ("reactnet",): Style(GREEN, "dashed", "P"),
    ("recu",): Style(SKY, "dashed", "X"),
    ("recu", "lcr"): Style(VERMILION, "dashed", "X"),
    ("adabin",): Style(PURPLE, "dashed", "v"),
    ("bnn", "lcr"): Style(VERMILION, "dotted", "s"),
}
"""By the names of the method and of its regularizers."""


def style(label: str, method: MethodId | None = None) -> Style:
    """Return a method's style; one with options has its method's colour with another dash and marker.

    `method` is None of a network that no record describes, whose style its label gives.

    >>> pinned = style("irnet", MethodId(name="irnet"))
    >>> other = style("irnet:a=2", MethodId(name="irnet", options={"a": 2}))
    >>> pinned.colour == other.colour, pinned.dash == other.dash
    (True, False)
    """
    digest = hashlib.sha256(label.encode()).digest()
    pinned = PINNED.get((method.name, *method.regularizers)) if method else None
    if pinned is None or method is None:
        return Style(
            PALETTE[digest[0] % len(PALETTE)], DASHES[digest[1] % len(DASHES)], MARKERS[digest[2] % len(MARKERS)]
        )
    if not (method.options or any(method.regularizers.values())):
        return pinned
    others = [d for d in DASHES if d != pinned.dash]
    return Style(pinned.colour, others[digest[1] % len(others)], MARKERS[digest[2] % len(MARKERS)])
