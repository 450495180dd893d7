"""Finds what can be named on the command line: a file is a thing, and its name is its name.

Each kind (method, backbone, metric, ...) is a package of `lcrbench`; each module in it whose name does not start with an
underscore is one entry. Entries also come from outside, without a fork: through an entry point of the group
`lcrbench.<kind>`, or by naming an import path (`my_package.my_method`). Listing reads files but imports none of them, so
that it never loads torch.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from lcrbench.errors import UserError, unknown

PACKAGES = {
    "method": "lcrbench.models.methods",
    "regularizer": "lcrbench.models.regularizers",
    "backbone": "lcrbench.models.backbones",
    "metric": "lcrbench.bench.metrics",
    "table": "lcrbench.reports.tables",
    "figure": "lcrbench.reports.figures",
}


def files(kind: str) -> dict[str, Path]:
    """Return the file of each entry that lcrbench itself brings, by name in alphabetical order."""
    if kind not in PACKAGES:
        raise unknown("kind", kind, PACKAGES)
    package = importlib.util.find_spec(PACKAGES[kind])
    assert package is not None
    folders = [Path(p) for p in package.submodule_search_locations or ()]
    found = {f.stem: f for folder in folders for f in folder.glob("*.py") if not f.stem.startswith("_")}
    return dict(sorted(found.items()))


def names(kind: str) -> list[str]:
    """Return the names of all entries of a kind: our own first, then those of installed entry points."""
    own = list(files(kind))
    return own + sorted(e.name for e in entry_points(group=f"lcrbench.{kind}") if e.name not in own)


def docstring(kind: str, name: str) -> str:
    """Return an entry's module docstring without importing it (an outside entry is imported)."""
    own = files(kind)
    if name in own:
        return ast.get_docstring(ast.parse(own[name].read_text(encoding="utf-8"))) or ""
    return load(kind, name).__doc__ or ""


def summary(kind: str, name: str) -> str:
    """Return the first line of an entry's docstring; entries from outside are not imported for it."""
    if name not in files(kind):
        return "(from an installed package)"
    return docstring(kind, name).partition("\n")[0]


def load(kind: str, name: str) -> ModuleType:
    """Import an entry by its name, by an entry point's name, or by an import path.

    Raises `UserError` if there is none of that name, or if an import path cannot be imported. A file of our own that does
    not import fails loudly with its own exception.
    """
    if name in files(kind):
        return importlib.import_module(f"{PACKAGES[kind]}.{name}")
    for entry in entry_points(group=f"lcrbench.{kind}"):
        if entry.name == name:
            loaded = entry.load()
            if not isinstance(loaded, ModuleType):
                raise UserError(f"entry point '{name}' of group 'lcrbench.{kind}' must name a module, not {loaded!r}")
            return loaded
    if "." in name:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            raise UserError(f"no {kind} at the import path '{name}': {error}") from error
    raise unknown(kind, name, names(kind))
