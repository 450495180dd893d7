"""The kinds of things that `list` and `show` take."""

from __future__ import annotations

from lcrbench import registry
from lcrbench.errors import unknown

KINDS = (*registry.PACKAGES, "data", "published", "report", "run", "schema")
"""Those of the registry, data sets by their names, published numbers, what a store holds and the reports
on it, and the form of its records."""


def known(kind: str) -> str:
    """Return a kind by its name or by its plural: `list methods`. Raises `UserError` for another word."""
    for one in KINDS:
        if kind in (one, one + "s"):
            return one
    raise unknown("kind", kind, KINDS)
