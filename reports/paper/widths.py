"""How wide text is in points when LaTeX prints it in Computer Modern at 8 pt: what decides how a table is laid out.

The widths of the characters are those of cmr10 in units of its size; cmr8 is a sixteenth wider in units of its own, and
its bold a sixth wider than that. Letters with accents are as wide as an n, any other sign as an m: never too narrow.
"""

from __future__ import annotations

SIZE, WIDER, BOLD = 8.0, 1.0625, 1.17
_GROUPS = {
    0.2778: ".,:;'il!|",
    0.3056: "fj",
    0.3333: "- ",
    0.3611: "I",
    0.3889: "()ts[]{}",
    0.4444: "cez",
    0.5: "0123456789agoy/*`_^~",
    0.5278: "vxkq",
    0.5556: "bdhnpuS",
    0.6111: "Z",
    0.6528: "FL",
    0.6806: "EP",
    0.7222: "wCRTB",
    0.7639: "DNAHUVXY",
    0.7778: "KOQG&+±−=<>%",
}
_WIDTHS = {c: width for width, characters in _GROUPS.items() for c in characters} | {
    "r": 0.3917,
    "m": 0.8333,
    "J": 0.5139,
    "M": 0.9167,
    "W": 1.0278,
}


def width(text: str, *, bold: bool = False) -> float:
    """Return the points that a text takes, rather too many than too few.

    >>> 8 < width("12") < 9
    True
    """
    units = sum(_WIDTHS.get(c, 0.5556 if c.isalpha() and c.islower() else 0.9) for c in text)
    return SIZE * WIDER * units * (BOLD if bold else 1.0)
