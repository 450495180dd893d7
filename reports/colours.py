"""One colour and one marker a method, in every figure of a report, safe for colour-blind readers.

The palette begins with Okabe and Ito's (2008); each further colour is the one furthest from those before it in OKLab, as
seen with and without deuteranopia. Well-known methods are pinned; another one gets what the hash of its label points to
among Okabe and Ito's, or the next that is free in its report: no two methods of a report share a colour while there are
colours, and none share colour and marker both.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
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
MAROON, INDIGO, LILAC, CRIMSON, PINE = "#861309", "#50038F", "#8E71F5", "#B22578", "#075449"
DARK = {
    ORANGE: "#F0B429",
    SKY: "#7CC7F2",
    GREEN: "#2FC39A",
    BLUE: "#4C9FE0",
    VERMILION: "#F27D33",
    PURPLE: "#DD93BB",
    OLIVE: "#C9B23C",
    MAROON: "#CD6556",
    INDIGO: "#9769DC",
    LILAC: "#BCB2FE",
    CRIMSON: "#EF70B2",
    PINE: "#5C968A",
    "#875F3E": "#C19A7B",
    "#2E40B9": "#6988F9",
    "#6D3C78": "#AD7DB7",
    "#7F79A8": "#9C96C8",
    "#96AE7F": "#C2D9AD",
    "#363861": "#7E82AC",
    "#568502": "#8FBD5C",
    "#BD5ED2": "#EB99FE",
    "#4B66E2": "#8CA7FB",
    "#F28058": "#FDBFAA",
    "#5C2F1F": "#A87969",
}
"""Each colour of the palette, and what stands for it on a dark page, where some would sink into the ground."""
PALETTE = tuple(DARK)
FIRST = 7
"""Colours, Okabe and Ito's, that are given before the darker and paler ones."""
Dash = Literal["solid", "dashed", "dashdot", "dotted"]
# Their names in the page.
VARIABLES = {colour: f"--c{i}" for i, colour in enumerate(PALETTE)} | {INK: "--ink"}
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "<", ">", "p", "h", "*", "d", "8", "H")


class Style(NamedTuple):
    """How a method is drawn."""

    colour: str
    dash: Dash
    marker: str


PINNED = {
    ("full_precision",): Style(INK, "dashed", "o"),
    ("bnn",): Style(ORANGE, "solid", "s"),
    ("irnet",): Style(BLUE, "solid", "D"),
    ("irnet", "lcr"): Style(VERMILION, "solid", "P"),
    ("xnor_net",): Style(OLIVE, "solid", "^"),
    ("dorefa",): Style(SKY, "solid", "v"),
    ("bi_real",): Style(GREEN, "solid", "<"),
    ("rbnn",): Style(PURPLE, "solid", "h"),
    ("reactnet",): Style(LILAC, "solid", "p"),
    ("recu",): Style(INDIGO, "solid", "X"),
    ("recu", "lcr"): Style(MAROON, "solid", "*"),
    ("adabin",): Style(PINE, "solid", ">"),
    ("bnn", "lcr"): Style(CRIMSON, "solid", "d"),
}
"""By the names of the method and of its regularizers."""


def styles(methods: Mapping[str, MethodId | None], first: Sequence[str] = ()) -> dict[str, Style]:
    """Return the style of each method of a report by its label; None of a network that no record describes.

    Those of `first`, which figures draw, choose before the others. A method with options has its method's colour where
    that one is not in the report itself.

    >>> made = styles({"irnet": MethodId(name="irnet"), "irnet:a=2": MethodId(name="irnet", options={"a": 2})})
    >>> made["irnet"].colour == BLUE, made["irnet:a=2"].colour == BLUE, made["irnet:a=2"].marker == made["irnet"].marker
    (True, False, False)
    """
    order = list(dict.fromkeys([*(label for label in first if label in methods), *methods]))
    exact = [label for label in order if _pinned(methods[label]) and not _has_options(methods[label])]
    made: dict[str, Style] = {}
    # A label stands for one method, but two labels may share the pin where one is not written as the registry does.
    for label in [*exact, *(label for label in order if label not in exact)]:
        made[label] = _free(label, _pinned(methods[label]), made, first)
    return {label: made[label] for label in methods}


def style(label: str, method: MethodId | None = None) -> Style:
    """Return the style of a method that stands alone."""
    return styles({label: method})[label]


def css(*, dark: bool) -> str:
    """Return the palette as custom properties of the page."""
    return " ".join(f"{VARIABLES[c]}: {(d if dark else c).lower()};" for c, d in DARK.items())


def _pinned(method: MethodId | None) -> Style | None:
    return PINNED.get((method.name, *method.regularizers)) if method else None


def _has_options(method: MethodId | None) -> bool:
    return method is not None and bool(method.options or any(method.regularizers.values()))


def _free(label: str, pinned: Style | None, made: Mapping[str, Style], drawn: Collection[str]) -> Style:
    """Return the pinned style, or the first of it and of the palette that no method has yet."""
    digest = hashlib.sha256(label.encode()).digest()
    colours = [*([pinned.colour] if pinned else []), *_from(PALETTE[:FIRST], digest[0]), *PALETTE[FIRST:]]
    markers = [*([pinned.marker] if pinned else []), *_from(MARKERS, digest[2])]
    taken = {s.colour for s in made.values()}
    colour = next((c for c in colours if c not in taken), colours[0])
    # Of those that figures draw no two share a marker; of the others there are more than markers.
    worn = {s.marker for other, s in made.items() if label not in drawn or other in drawn}
    pairs = {(s.colour, s.marker) for s in made.values()}
    marker = next((m for m in markers if m not in worn and (colour, m) not in pairs), None)
    marker = marker or next((m for m in markers if (colour, m) not in pairs), None)
    if marker is None:  # all pairs of this colour are taken
        colour, marker = next(
            ((c, m) for c in colours for m in markers if (c, m) not in pairs), (colours[0], markers[0])
        )
    return Style(colour, pinned.dash if pinned else "solid", marker)


def _from(values: Sequence[str], start: int) -> list[str]:
    """Return values in their order, beginning at a place."""
    k = start % len(values)
    return [*values[k:], *values[:k]]
