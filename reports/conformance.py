"""Is a module a table, or a figure, that a report can show? One line a fault, none if it is.

Somebody's plug-in and our own entries are held to the same: `lcrbench.testing` calls these functions. They import no torch.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from lcrbench import registry
from lcrbench.errors import UserError
from lcrbench.reports import entries, writers
from lcrbench.reports.context import Context
from lcrbench.reports.entries import Entry, Kind
from lcrbench.reports.page.view import parts, view
from lcrbench.reports.paper import latex
from lcrbench.reports.sample import contexts
from lcrbench.testing import misspelt, own_names, raised

PUBLIC = {"table": ("SECTION", "ORDER", "FORMATS", "FOLDED"), "figure": ("SECTION", "ORDER", "NEEDS")}
"""The constants by which an entry of each kind tells where it stands."""


def check_table(module: ModuleType, name: str = "") -> list[str]:
    """Return what is wrong with a module as a table: parts that it lacks, what it raises, tables that cannot be written.

    `name` is what the report calls it, by default its file's name. It is made from a small comparison with Lipschitz
    figures, of one seed, of one method, and without a finished run.
    """
    return _check("table", module, name, _written)


def check_figure(module: ModuleType, name: str = "") -> list[str]:
    """Return what is wrong with a module as a figure: parts that it lacks, what it raises, pictures that cannot be drawn.

    It is made as `check_table` makes a table.
    """
    return _check("figure", module, name, _drawn)


def _check(kind: Kind, module: ModuleType, name: str, use: Callable[[Entry, Context], None]) -> list[str]:
    name = name or module.__name__.rpartition(".")[2]
    try:
        e = entries.entry(kind, name, module, own=False)
    except UserError as error:
        return [f"{name}: {error}"]
    found = [f"{name}: {problem}" for problem in misspelt(PUBLIC[kind], own_names(module), "no report")]
    if not (module.__doc__ or registry.docstring_in(getattr(module, "__file__", None) or "")).strip():
        found.append(f"{name}: it has no docstring, whose first line `lcrbench list` shows")
    for where, context in contexts():
        try:
            use(e, context)
        except UserError as error:
            found.append(f"{name}, {where}: {error}")
        except Exception as error:  # a plug-in may raise anything
            found.append(f"{name}, {where}: it raises {raised(error)[:200]}")
    return found


def _written(e: Entry, context: Context) -> None:
    """Make an entry's tables, twice, and write each in every format."""
    made = entries.tables_of(e, context)
    again = entries.tables_of(e, context)
    if made != again:
        raise UserError("it returns another table when it is called again with the same context")
    index = {row.label: row.index for row in context.setting.rows}
    for table in made:
        writers.markdown(table)
        latex(table)
        writers.frame(table)
        for _, shown in parts(table):
            view(shown, shown.name, index)


def _drawn(e: Entry, context: Context) -> None:
    """Draw an entry's picture for a file, and twice for the page."""
    from lcrbench.reports import rendering  # matplotlib takes a second to import

    picture = entries.picture_of(e, context)
    if picture is None:
        return
    first = rendering.inline(picture, "x")
    if first != rendering.inline(picture, "x"):
        raise UserError("it draws another picture when it is called again with the same context")
    with tempfile.TemporaryDirectory() as folder:
        rendering.save(picture, Path(folder), ("svg",))
        picture.data.to_csv(Path(folder) / "data.csv", index=False)
