"""Differences between methods: against the same method without its regularizer, and against the reference."""

from __future__ import annotations

from collections.abc import Sequence

from lcrbench.reports.context import Context, Family
from lcrbench.reports.significance import Difference, Endpoint
from lcrbench.reports.table import Cell, Column, Table, TableRow, without

SECTION, ORDER = "differences", 10
CAPTIONS: dict[Endpoint, str] = {
    "common": "Mean accuracy over the common corruptions (the primary endpoint)",
    "clean": "Clean accuracy",
}
FAMILIES: dict[Family, str] = {
    "base": "with the regularizer against without",
    "reference": "against the reference",
}


def table(context: Context) -> list[Table]:
    """Return a table of differences an endpoint, the primary one first, as far as there are two methods to compare."""
    made = []
    for endpoint, caption in CAPTIONS.items():
        families = []
        told: set[tuple[int, int]] = set()
        for family, name in FAMILIES.items():
            # Where the reference is a method's base, the pair is of both families, and stands in the first.
            usable = [
                d
                for d in context.differences[family, endpoint]
                if d.interval is not None and (d.row.index, d.reference.index) not in told
            ]
            told |= {(d.row.index, d.reference.index) for d in usable}
            if usable:
                families.append((name, usable))
        if families:
            made.append(of_families(families, f"differences-{endpoint}", caption))
    return made


def of_families(families: Sequence[tuple[str, Sequence[Difference]]], name: str, caption: str) -> Table:
    """Return differences in accuracy points, family by family: intervals, p-values, and what could have been seen."""
    columns = (
        Column("over seeds", "points", "Difference", digits=2, scale=100),
        Column("over images", "points", "Difference", digits=2, scale=100),
        Column("p", digits=4, least=True),
        Column("p, Holm", digits=4, least=True),
        Column("smallest detectable", "points", "", digits=2, scale=100),
    )
    rows, units, tests = [], set(), []
    for family, found in families:
        count = sum(1 for d in found if d.holm is not None)
        tests.append(f"{count} {family}")
        for d in found:
            units.add(d.unit)
            cells = (
                Cell.of(d.seeds),
                Cell.of(d.images),
                Cell(d.p, how=f"over {d.unit}"),
                Cell(d.holm, how=f"Holm over {count} tests"),
                Cell(d.detectable, how=f"power .8 at alpha .05, over {d.unit}"),
            )
            note = "" if family == families[0][0] and len(families) == 1 else family
            label, said = f"{d.row.label} − {d.reference.label}", f"{d.row.name} − {d.reference.name}"
            rows.append(TableRow(label, cells, note=note, row=d.row, name=said))
    notes = ["Positive: the first is more accurate."]
    question = (
        "Over images (paired, an image's corrupted copies averaged first): are these trained networks different on "
        "these "
        "images?"
    )
    if "seeds" in units:
        notes.append(
            f"Over seeds (Welch): is the method better? {question} The p-values are those over seeds; a pair without two "
            "seeds a side has none."
        )
    else:
        notes.append(f"{question} With one seed a method nothing can be said about the methods themselves.")
    notes.append(f"Holm's correction runs within each family of tests: {'; '.join(tests)}.")
    notes.append(
        "Smallest detectable: the difference that this comparison would have found with power .8 at alpha .05, given "
        "the "
        "spread seen."
    )
    made = Table(
        name,
        caption,
        columns,
        tuple(rows),
        tuple(notes),
        "Difference",
        title=caption,
        file="differences",
        apart="endpoint",
    )
    return made if "seeds" in units else without(made, "over seeds")
