"""Which orders of two methods the search can tell."""

from __future__ import annotations

from lcrbench.reports.context import Context
from lcrbench.reports.lipschitz import Lipschitz
from lcrbench.reports.table import Cell, Column, Table, TableRow
from lcrbench.reports.tables.lipschitz import cell_of
from lcrbench.reports.words.lipschitz import (
    beside,
    blind_note,
    effort_note,
    figure_text,
    others,
    uncompared_text,
    why_text,
)

SECTION, ORDER = "lipschitz", 20
FORMATS, FOLDED = ("md", "csv"), True


def table(context: Context) -> Table | None:
    """Return for each pair of methods and figure which is better, or that the search cannot tell, and why."""
    found = context.lipschitz
    return pairs(found) if found and (found.verdicts or found.uncompared) else None


def pairs(found: Lipschitz) -> Table:
    """Return the table of what was found."""
    columns = (
        Column("difference of medians", digits=3),
        Column("p, Holm", digits=4, least=True),
        Column("verdict"),
    )
    rows = []
    for v in found.verdicts:
        scale = 255 if v.figure.distance else 1
        worse = v.second if v.better is v.first else v.first
        said = f"{v.better.name} is better than {worse.name}" if v.separated else f"not separated: {why_text(v)}"
        said += f" ({by})" if (by := beside(found, v)) else ""
        told = f"{figure_text(v.figure)}" + " (primary)" * (v.figure == found.primary)
        label, name = f"{v.first.label} − {v.second.label}: {told}", f"{v.first.name} − {v.second.name}: {told}"
        cells = (cell_of(v.gap, scale), Cell(v.p), Cell(text=said))
        rows.append(TableRow(label, cells, ranked=False, group="", name=name))
    for u in found.uncompared:
        cells = (Cell(), Cell(), Cell(text=uncompared_text(u)))
        told = f"{{}} − {{}}: all {len(u.figures)} figures"
        label, name = told.format(u.first.label, u.second.label), told.format(u.first.name, u.second.name)
        rows.append(TableRow(label, cells, ranked=False, group="", name=name))
    unit = "a paired bootstrap over images: they are about these trained networks"
    if any(len(s) > 1 for s in found.searches.values()):
        unit = (
            "over seeds and images where there are several seeds, Student's t over the seeds' medians with that over images "
            "added: they are about methods, and other images of the same kind. With one seed a method they are "
            f"{unit}"
        )
    notes = [
        f"Intervals, 95 %, are {unit}. Flip radii in 1/255 pixel units; an image without a found flip counts as "
        "the largest searched radius, so that their differences are cut off there.",
        effort_note(found),
    ]
    if found.primary and any(v.figure != found.primary for v in found.verdicts):
        notes.append(
            f"The primary figure is {figure_text(found.primary)}: Holm's correction runs over its pairs, and apart from it "
            "over the pairs and figures of all others together."
        )
    notes += [note for note in (blind_note(found), others(found)) if note]
    return Table("lipschitz_separation", "Which orders the search can tell", columns, tuple(rows), tuple(notes), "Pair")
