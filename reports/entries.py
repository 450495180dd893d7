"""Finds the tables and figures of a report, and makes them: our own, those of installed packages, and those named.

One from outside that fails costs the report itself alone, with a line that names it. One of our own fails loudly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar

from lcrbench import registry
from lcrbench.errors import UserError, unknown
from lcrbench.reports.context import Context
from lcrbench.reports.table import NAME, Table, faults
from lcrbench.reports.words.names import DAGGER

if TYPE_CHECKING:  # matplotlib takes a second to import
    from lcrbench.reports.drawing import Picture

P = ParamSpec("P")
T = TypeVar("T")
Kind = Literal["table", "figure"]
SECTIONS = {
    "first": "First screen",
    "board": "All networks",
    "results": "Results by group",
    "corruptions": "By corruption",
    "lipschitz": "Lipschitz figures",
    "cost": "Size and cost",
    "differences": "Differences",
    "trust": "Spread, ranks and published numbers",
    "more": "Further tables",
    "measurements": "Every other measurement",
}
"""The parts of the page in which tables and figures stand, in their order, each with its heading."""
QUESTIONS = {
    "board": ("How do all networks compare?", ("board",)),
    "corruptions": ("Which corruptions hurt?", ("results", "corruptions")),
    "lipschitz": ("How far does it move?", ("lipschitz",)),
    "cost": ("What did it cost?", ("cost",)),
    "budget": ("Were the budgets equal?", ()),
    "trust": ("Can I trust this?", ("differences", "trust")),
    "more": ("What else was measured?", ("more", "measurements")),
}
"""The questions by which the page is folded up, each with its parts; what is "first" stands above them, open."""
FORMATS = ("md", "tex", "csv")
LAST = 1000
"""Order of an entry that names none: behind our own."""


@dataclass(frozen=True)
class Entry:
    """A table or a figure: the module that makes it, and where its result stands."""

    kind: Kind
    name: str
    make: Callable[[Context], Any]
    own: bool
    section: str = "more"
    order: int = LAST
    formats: tuple[str, ...] = FORMATS
    folded: bool = False
    needs: str = ""
    """What it is not made without, for people."""

    @property
    def title(self) -> str:
        """Return what the report calls the entry where it speaks about it."""
        return f"{self.kind} '{self.name}'"


def found(kind: Kind, also: Sequence[str] = ()) -> tuple[list[Entry], list[str]]:
    """Return all entries of a kind in the order of the page, and a line about each one that cannot be loaded.

    `also` names import paths whose modules define a `table` or a `figure`. Raises `UserError` if there is no such module,
    or if it defines neither.
    """
    own = registry.files(kind)
    entries, problems = [], []
    for name in registry.names(kind):
        if name in own:
            entries.append(entry(kind, name, registry.load(kind, name), own=True))
            continue
        try:
            entries.append(entry(kind, name, registry.load(kind, name), own=False))
        except UserError as error:
            problems.append(_said(f"{kind} '{name}'", error.__cause__ or error))
    for path in also:
        try:
            module = registry.load(kind, path)
        except UserError as error:
            registry.file(kind, path)  # raises where there is no such module
            problems.append(_said(f"{kind} '{path}'", error.__cause__ or error))
            continue
        if not any(hasattr(module, other) for other in ("table", "figure")):
            raise UserError(f"'{path}' defines neither a function `table` nor `figure`")
        if hasattr(module, kind):
            entries.append(entry(kind, path.rpartition(".")[2], module, own=False))
    named: dict[str, Entry] = {}
    for e in entries:
        if e.name in named:
            problems.append(f"The {e.title} from outside is left out: there is one of that name already.")
        named.setdefault(e.name, e)
    parts = list(SECTIONS)

    def place(e: Entry) -> tuple[int, int, str]:
        return parts.index(e.section), e.order, e.name

    return sorted(named.values(), key=place), problems


def entry(kind: Kind, name: str, module: ModuleType, *, own: bool) -> Entry:
    """Return a module's entry; raises `UserError` that names what it lacks, or has of another kind than it must."""
    make = getattr(module, kind, None)
    if not callable(make):
        raise UserError(f"it has no function `{kind}(context)`")
    section = getattr(module, "SECTION", "more")
    order, folded = getattr(module, "ORDER", LAST), getattr(module, "FOLDED", False)
    formats, needs = getattr(module, "FORMATS", FORMATS), getattr(module, "NEEDS", "")
    if not NAME.fullmatch(name):
        raise UserError(f"its name '{name}' is not of the letters a-z0-9_-")
    if kind == "table" and section not in SECTIONS:
        raise unknown("SECTION", str(section), SECTIONS)
    if not isinstance(order, int):
        raise UserError(f"ORDER must be a whole number, not {order!r}")
    if not isinstance(needs, str):
        raise UserError(f"NEEDS must be a text, not {needs!r}")
    if not set(formats) <= set(FORMATS):
        raise UserError(f"FORMATS must be some of {', '.join(FORMATS)}, not {formats!r}")
    section = section if section in SECTIONS else "more"
    return Entry(kind, name, make, own, section, order, tuple(formats), bool(folded), needs)


def tables_of(e: Entry, context: Context) -> list[Table]:
    """Return what an entry makes of a setting: no, one or several tables. Raises `UserError` for what is no table."""
    made = e.make(context)
    made = [] if made is None else list(made) if isinstance(made, (list, tuple)) else [made]
    for table in made:
        if not isinstance(table, Table):
            raise UserError(f"it returns {type(table).__name__}, not a Table, a list of them or None")
        wrong = faults(table)
        if not table.name.startswith(e.name):
            wrong.append(f"its table is called '{table.name}', which does not begin with '{e.name}'")
        if wrong:
            raise UserError("; ".join(wrong))
    return made


def picture_of(e: Entry, context: Context) -> Picture | None:
    """Return what an entry draws of a setting, or None. Raises `UserError` for what is no picture."""
    from lcrbench.reports.drawing import Picture

    made = e.make(context)
    if made is None:
        return None
    if not isinstance(made, Picture):
        raise UserError(f"it returns {type(made).__name__}, not a Picture or None")
    if made.name != e.name:
        raise UserError(f"its picture is called '{made.name}', not '{e.name}'")
    if not made.panels:
        raise UserError("its picture has no panel")
    if not made.subject and context.setting.any_or_none is not None:
        made.subject = context.setting.title
    if any(row.aside for row in (*made.legend, *(p.row for p in made.panels if p.row))):
        made.caption = f"{made.caption.rstrip()} {DAGGER}"
    return made


def guarded(e: Entry, problems: list[str], work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
    """Return what the work on an entry returns; where one from outside raises, None, and a line for the report's notes."""
    if e.own:
        return work(*args, **kwargs)
    try:
        return work(*args, **kwargs)
    except Exception as error:  # somebody else's code may raise anything, and must not cost the report
        said = _said(e.title, error)
        if said not in problems:
            problems.append(said)
        return None


def _said(what: str, error: BaseException) -> str:
    about = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    return f"The {what} is left out: {' '.join(about.split())[:300]}."
