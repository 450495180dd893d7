"""Docstrings as they are written here, for Sphinx: an indented block is a formula or an example, and stays as it is."""

from __future__ import annotations

from sphinx.application import Sphinx


def literal(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Put `::` before each indented block that does not continue an item of a list."""
    found: list[str] = []
    inside = item = False
    for line in lines:
        indented, blank = line.startswith("    "), not line.strip()
        if not blank and not line.startswith(" "):
            item = line.startswith(("- ", "* "))
        if indented and not inside and not item:
            found += ["", "::", ""] if found else ["::", ""]
        inside = indented or (inside and blank)
        found.append(line)
    lines[:] = found


def named(app: Sphinx, context: object, lines: list[str]) -> None:
    """Leave out arguments that a command hides: click gives them no name."""
    parts = "\n".join(lines).split(".. option:: ")
    lines[:] = ".. option:: ".join(part for part in parts if part.split("\n", 1)[0] or part is parts[0]).splitlines()
    lines.append("")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("autodoc-process-docstring", literal)
    app.connect("sphinx-click-process-arguments", named)
    return {"parallel_read_safe": True}
