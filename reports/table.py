"""A table: built once from a setting, then written as Markdown, LaTeX, CSV or HTML.

A cell holds numbers, not strings: value, interval, n and how the interval was found. Marks (best, second) are decided on
the printed value, so that what looks equal is marked equal, and only among rows that may be compared.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from lcrbench.bench.stats import Interval
from lcrbench.reports.comparison import Row


@dataclass(frozen=True)
class Column:
    """One column: a title under a heading, the unit, which way is better (None: no ranking), and how to print it."""

    title: str
    unit: str = ""
    head: str = ""
    better: bool | None = None
    digits: int | None = 1
    """Decimal places; None: three significant digits, and at most three places."""
    scale: float = 1.0
    group: str = ""
    note: str = ""
    least: bool = False
    """What would be printed as 0, a p-value, is said to be less than the last digit."""
    paper: bool = True
    """Stands in the LaTeX of the table too."""
    name: str = ""
    """The title as people read it, where the title is a label for programs."""
    choose: Literal["", "one", "range"] = ""
    """By what the page lets a reader choose rows: "one" of the column's texts, or a "range" of its numbers."""
    turn: bool = False
    """Stands on its side in LaTeX, because its numbers are narrower than it is."""

    @property
    def shown(self) -> str:
        """Return the title as people read it."""
        return self.name or self.title


@dataclass(frozen=True)
class Cell:
    """One number with its interval, or a text."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    how: str = ""
    spread: float | None = None
    """Standard deviation over the seeds, of a sample."""
    text: str = ""
    mark: str = ""
    """"best" or "second" among the ranked."""
    href: str = ""
    """Address that a text leads to, in Markdown and on the page."""

    @classmethod
    def of(cls, interval: Interval | None) -> Cell:
        """Return the cell of an interval; an empty one for None."""
        return cls(*interval) if interval else cls()


@dataclass(frozen=True)
class TableRow:
    """One line: its label, its cells, whether it takes part in the ranking, and what is said in place."""

    label: str
    cells: tuple[Cell, ...]
    ranked: bool = True
    note: str = ""
    failed: str = ""
    group: str = ""
    row: Row | None = None
    href: str = ""
    """Address that the label leads to, in Markdown and on the page."""
    name: str = ""
    """The label as people read it, where the label is one for programs."""

    @property
    def shown(self) -> str:
        """Return the label as people read it: a method's name where it is a method's label."""
        if self.name or self.row is None or self.label != self.row.label:
            return self.name or self.label
        return self.row.name


@dataclass(frozen=True)
class Second:
    """Columns of a wide table that the page shows as a second one below it: its title, and their headings.

    The last note of the table goes with it.
    """

    title: str
    heads: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """A table, with what is said above and below it. Its name is an entry's name, or begins with it."""

    name: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[TableRow, ...]
    notes: tuple[str, ...] = ()
    first: str = "Method"
    along: str = "column"
    """Marks rank the cells of one "column" or of one "row"."""
    labels: tuple[str, ...] = ()
    """The methods that columns are about, one a column, so that the page's filter finds them."""
    title: str | None = None
    """Heading on the page; None: the caption stands there as a paragraph; "": neither."""
    file: str = ""
    """Name of its CSV file, without the ending; "": NAME_table. Tables of one name share a file."""
    apart: str = ""
    """Column of a shared file that tells its tables apart, by their captions."""
    brackets: str = ""
    """What the intervals are over, where the page shows no caption."""
    whole: Table | None = None
    """The same table with every method, for the file, where the page has room for some."""
    second: Second | None = None


def number(value: float | None, column: Column) -> str:
    """Return a value as it is printed in a column; an en dash where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    places = _places(value, column)
    text = f"{value * column.scale:,.{places}f}"
    if column.least and 0 <= value * column.scale < 10**-places:
        return f"<{10**-places:.{places}f}"
    # A rounded minus nothing is nothing.
    return text.removeprefix("-") if float(text.replace(",", "")) == 0 else text.replace("-", "−")


def _places(value: float, column: Column) -> int:
    if column.digits is not None:
        return column.digits
    size = abs(value * column.scale)
    return min(3, max(0, 2 - math.floor(math.log10(size)))) if size else 0


def bounds(cell: Cell, column: Column) -> str:
    """Return a cell's interval as it is printed, "[low, high]"; empty if it has none, open ends as infinity."""
    if cell.value is None or (cell.low is None and cell.high is None):
        return ""
    low = "−∞" if cell.low is None else number(cell.low, column)
    high = "∞" if cell.high is None else number(cell.high, column)
    return f"[{low}, {high}]"


class Counts(NamedTuple):
    """How many values the numbers of a table rest on: nearly all of them, and columns that rest on another number."""

    common: int | None
    columns: dict[int, int]

    def of(self, j: int) -> int | None:
        """Return what is said of a whole column; a cell with another n says its own."""
        return self.columns.get(j, self.common)

    @property
    def text(self) -> str:
        """Return the number of nearly all, as it stands once a table; "" where no cell has one."""
        return f"n = {self.common:,}" if self.common else ""


def counts(table: Table) -> Counts:
    """Return the n that most cells with an interval have, and that of each column whose cells share another."""
    by_column: list[Counter[int]] = [Counter() for _ in table.columns]
    for row in table.rows:
        for found, c in zip(by_column, row.cells, strict=False):
            if c.n and c.value is not None and (c.low is not None or c.high is not None):
                found[c.n] += 1
    together = sum(by_column, Counter[int]())
    if not together:
        return Counts(None, {})
    common = together.most_common(1)[0][0]
    columns = {j: next(iter(found)) for j, found in enumerate(by_column) if len(found) == 1}
    return Counts(common, {j: n for j, n in columns.items() if n != common})


NAME = re.compile(r"[a-z][a-z0-9_-]*")
"""What a table or figure may be called: its name is part of files' names and of addresses in the page."""


def faults(table: Table) -> list[str]:
    """Return what is wrong with a table's shape, a line each: its name, rows of another length, labels of another number."""
    found = [] if NAME.fullmatch(table.name) else [f"its name '{table.name}' is not of the letters a-z0-9_-"]
    n = len(table.columns)
    for row in table.rows:
        if row.cells and len(row.cells) != n:
            found.append(f"row '{row.label}' has {len(row.cells)} cells and the table {n} columns")
        elif not row.cells and not row.failed:
            found.append(f"row '{row.label}' has neither cells nor a reason in `failed`")
    if table.labels and len(table.labels) != n:
        found.append(f"there are {len(table.labels)} labels and {n} columns")
    if table.along not in ("column", "row"):
        found.append(f'`along` is \'{table.along}\', not "column" or "row"')
    return found


def worded(table: Table, j: int) -> bool:
    """Tell whether a column holds sentences, which are read from the left, and not numbers or signs."""
    cells = [row.cells[j] for row in table.rows if row.cells]
    return all(c.value is None for c in cells) and any(" " in c.text and len(c.text) > 20 for c in cells)


def marked(table: Table) -> Table:
    """Return the table with its best and second cells marked, ties alike."""
    grid = [list(row.cells) for row in table.rows]

    def mark(places: list[tuple[int, int]]) -> None:
        usable = [(i, j) for i, j in places if grid[i][j].value is not None and table.columns[j].better is not None]
        if len(usable) < 2:
            return
        printed = {(i, j): _printed(grid[i][j].value, table.columns[j]) for i, j in usable}
        better = table.columns[usable[0][1]].better
        order = sorted(set(printed.values()), reverse=bool(better))
        if len(order) < 2:
            return  # all tie: a mark would say nothing
        for (i, j), shown in printed.items():
            if shown in order[:2]:
                grid[i][j] = replace(grid[i][j], mark="best" if shown == order[0] else "second")

    if table.along == "column":
        for j in range(len(table.columns)):
            mark([(i, j) for i, row in enumerate(table.rows) if row.ranked])
    else:
        for i, row in enumerate(table.rows):
            if row.ranked:
                mark([(i, j) for j in range(len(table.columns))])
    return replace(table, rows=tuple(replace(r, cells=tuple(cells)) for r, cells in zip(table.rows, grid, strict=True)))


def _printed(value: float | None, column: Column) -> float:
    return round((value or 0.0) * column.scale, _places(value or 0.0, column))


def part(table: Table, heads: Sequence[str]) -> Table:
    """Return the table with only the columns under these headings."""
    keep = [j for j, c in enumerate(table.columns) if c.head in heads]
    rows = tuple(replace(r, cells=tuple(r.cells[j] for j in keep) if r.cells else ()) for r in table.rows)
    labels = tuple(table.labels[j] for j in keep) if table.labels else ()
    return replace(table, columns=tuple(table.columns[j] for j in keep), rows=rows, labels=labels)


def without(table: Table, title: str) -> Table:
    """Return the table without a column."""
    keep = [j for j, c in enumerate(table.columns) if c.title != title]
    rows = tuple(replace(r, cells=tuple(r.cells[j] for j in keep)) for r in table.rows)
    return replace(table, columns=tuple(table.columns[j] for j in keep), rows=rows)
