"""Tables: built once from a setting, then written as Markdown, LaTeX (booktabs), CSV or HTML.

A cell holds numbers, not strings: value, interval, n and how the interval was found. Marks (best, second) are decided on
the printed value, so that what looks equal is marked equal, and only among rows that may be compared.
"""

from __future__ import annotations

import hashlib
import math
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import pandas as pd

from lcrbench.bench import stats
from lcrbench.bench.schema import Record
from lcrbench.bench.stats import Interval
from lcrbench.reports import mce
from lcrbench.reports.comparison import (
    CLEAN,
    COMMON,
    COMMON_ERROR,
    GROUPS,
    MOST_COLUMNS,
    Key,
    Row,
    Setting,
    chosen,
    plain,
)
from lcrbench.reports.significance import Difference, Outcomes


@dataclass(frozen=True)
class Column:
    """One column: a title under a heading, the unit, which way is better (None: no ranking), and how to print it."""

    title: str
    unit: str = ""
    head: str = ""
    better: bool | None = None
    digits: int = 1
    scale: float = 1.0
    group: str = ""
    note: str = ""
    least: bool = False
    """What would be printed as 0, a p-value, is said to be less than the last digit."""


@dataclass(frozen=True)
class Cell:
    """One number with its interval, or a text."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    how: str = ""
    text: str = ""
    mark: str = ""
    """"best" or "second" among the ranked."""

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


@dataclass(frozen=True)
class Table:
    """A table, with what is said above and below it."""

    name: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[TableRow, ...]
    notes: tuple[str, ...] = ()
    first: str = "Method"
    along: str = "column"
    """Marks rank the cells of one "column" or of one "row"."""
    labels: tuple[str, ...] = field(default=())


def number(value: float | None, column: Column) -> str:
    """Return a value as it is printed in a column; an en dash where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    text = f"{value * column.scale:,.{column.digits}f}"
    if column.least and 0 <= value * column.scale < 10**-column.digits:
        return f"<{10**-column.digits:.{column.digits}f}"
    # A rounded minus nothing is nothing.
    return text.removeprefix("-") if float(text.replace(",", "")) == 0 else text.replace("-", "−")


def bounds(cell: Cell, column: Column) -> str:
    """Return a cell's interval as it is printed, "[low, high]"; empty if it has none, open ends as infinity."""
    if cell.value is None or (cell.low is None and cell.high is None):
        return ""
    low = "−∞" if cell.low is None else number(cell.low, column)
    high = "∞" if cell.high is None else number(cell.high, column)
    return f"[{low}, {high}]"


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
    return round((value or 0.0) * column.scale, column.digits)


def percent_digits(setting: Setting) -> int:
    """Return how many digits a percentage deserves: two from 10,000 test images on."""
    return 2 if setting.any.spec.data.test >= 10_000 else 1


def unit_note(setting: Setting) -> str:
    """Say what the intervals of a table rest on."""
    n = setting.any.spec.data.test
    if setting.unit == "seeds":
        return (
            "Intervals are 95 % Student's t over training seeds (n = seeds): they speak about methods. A row with one "
            "seed "
            f"has an interval over its {n:,} test images instead, and says so."
        )
    return (
        f"One training seed a method, so the intervals are 95 % over the {n:,} test images (Wilson for a proportion, "
        "Student's t over base images for a mean over corruptions): they speak about these trained networks, not about "
        "what another seed would give."
    )


def ranking_pool(setting: Setting) -> list[Row]:
    """Return the rows that marks rank: the binary networks where there are at least two, else all."""
    binary = [r for r in setting.ranked if r.binary]
    return binary if len(binary) >= 2 else setting.ranked


def pool_note(setting: Setting) -> str:
    """Say what the marks mean and among which rows."""
    pool = ranking_pool(setting)
    who = "binary networks" if pool and all(r.binary for r in pool) and len(pool) < len(setting.ranked) else "methods"
    return (
        f"Bold: best printed value among the {who}, underlined: second; equal printed values are marked alike. A mark "
        "is "
        "not a claim of a difference: see the differences."
    )


def cost(row: Row, of: Callable[[Record], float | None]) -> Cell:
    """Return the mean over a row's runs of something each record holds, with an interval over seeds if it varies."""
    found = [v for v in (of(r) for r in row.runs) if v is not None]
    if not found:
        return Cell()
    if len(set(found)) == 1:
        return Cell(found[0], how=f"the same in all {len(found)} runs" if len(found) > 1 else "one run")
    return Cell.of(stats.mean(found, "seeds"))


def training_cpu(record: Record) -> float | None:
    """Return the CPU seconds a run's training took, a teacher's included."""
    if record.ledger is None or not record.ledger.seconds:
        return None
    return sum(s.cpu for phase, s in record.ledger.seconds.items() if phase in ("training", "teacher"))


SECANT = "lipschitz_secant"


def lipschitz_key(setting: Setting) -> Key | None:
    """Return the Lipschitz cell that stands in the main table: the secant gain's 95th percentile at the middle radius."""
    keys = [k for k in setting.keys(SECANT) if k.statistic == "q95" and not k.layer]
    return sorted(keys, key=lambda k: k.radius or 0.0)[len(keys) // 2] if keys else None


COST = ("Drop", "Calibration", "Network", "Training")
"""The headings of the main table's second half."""


def main_table(setting: Setting, outcomes: Outcomes | None = None) -> Table:
    """Return the paper's table: accuracy clean and corrupted by group, Lipschitz, size and cost.

    The drop's interval over images needs the outcomes, because clean and corrupted copies of an image go together.
    """
    digits = percent_digits(setting)
    ran = set(setting.corruptions)
    common = [c for c in COMMON if c in ran]
    errors = [("common", "mean", len(common))] if common else []
    errors += [(g, g, len(ran & set(names))) for g, names in GROUPS.items() if g != "extra" and ran & set(names)]

    columns = [Column("W/A", "bits"), Column("Clean accuracy", "%", better=True, digits=digits, scale=100)]
    columns += [
        Column(title, "%", "Corruption error", False, digits, 100, group="" if name == "common" else name, note=f"{k}")
        for name, title, k in errors
    ]
    extras = bool(ran & set(GROUPS["extra"]))
    if extras:
        columns.append(Column("extra", "%", "Apart", False, digits, 100, group="extra"))
    normalized = mce.defined(setting)
    if normalized:
        columns += [Column(name, "%, AlexNet 100", "Normalized", False, 1) for name in ("mCE", "relative mCE")]
    lipschitz = lipschitz_key(setting)
    if lipschitz:
        info = setting.metrics[lipschitz.metric]
        bound = {"lower": "lower bound", "upper": "upper bound"}.get(info.bound, info.bound)
        where = f"{norm_text(lipschitz.norm)}, {radius_text(lipschitz.radius)}".removesuffix(", ")
        columns.append(Column(f"q95, {bound}", f"{where}, {info.unit}", "Secant gain", None, 2))
    columns.append(Column("clean − mean", "points", "Drop", digits=digits, scale=100))
    calibration = [k for m in setting.metrics if "calibration" in m or m == "ece" for k in setting.keys(m)]
    calibration = [k for k in calibration if not k.corruption and not k.layer and k.statistic == "mean"][:1]
    for k in calibration:
        info = setting.metrics[k.metric]
        columns.append(Column(k.metric, info.unit, "Calibration", info.higher_is_better, 3))
    columns += [
        Column("Parameters", "thousands", "Network", digits=1, scale=1e-3),
        Column("binary", "% of parameters", "Network", digits=1, scale=100),
        Column("OPs", "millions", "Network", digits=2, scale=1e-6),
        Column("memory", "kB", "Network", digits=1, scale=1e-3),
        Column("Images", "thousands", "Training", digits=1, scale=1e-3),
        Column("CPU", "s", "Training", digits=0),
    ]

    rows = []
    for row in setting.rows:
        if not row.runs:
            rows.append(TableRow(row.label, (), False, row.aside, failures(row), row=row))
            continue
        cells = [Cell(text=row.bits), Cell.of(row.estimate(CLEAN))]
        cells += [Cell.of(row.estimate(Key("corruption_error", corruption=name))) for name, _, _ in errors]
        if extras:
            cells.append(Cell.of(row.estimate(Key("corruption_error", corruption="extra"))))
        if normalized:
            cells += [Cell.of(i) for i in mce.of_row(row)]
        if lipschitz:
            cells.append(Cell.of(row.estimate(lipschitz)))
        cells.append(drop(row, outcomes))
        cells += [Cell.of(row.estimate(k)) for k in calibration]
        cells += [
            cost(row, lambda r: r.model.parameters if r.model else None),
            cost(row, lambda r: r.model.binary_weights / max(1, r.model.parameters) if r.model else None),
            cost(row, operations),
            cost(row, memory),
            cost(row, lambda r: r.ledger.images if r.ledger else None),
            cost(row, training_cpu),
        ]
        rows.append(TableRow(row.label, tuple(cells), row in ranking_pool(setting), row.aside, failures(row), row=row))
    notes = [unit_note(setting)]
    if common:
        complete = "all fifteen" if len(common) == len(COMMON) else f"{len(common)} of the fifteen"
        notes.append(
            f"Corruption error: mean over severities {listed(setting.severities)} and over {complete} common "
            "corruptions "
            f"({', '.join(common)}); unnormalized." + (" Extras stand apart and enter no mean." if extras else "")
        )
    if normalized:
        notes.append(
            "mCE: each corruption's error over AlexNet's published one on ImageNet-C, mean of the ratios over the 15."
        )
    notes.append(pool_note(setting))
    if lipschitz:
        notes.append(
            "The secant gain is not ranked: the scale of raw logits is arbitrary, and the figure is only a "
            f"{'lower bound' if setting.metrics[lipschitz.metric].bound == 'lower' else 'figure'}. See the methods "
            "notes."
        )
    costs = (
        "Drop: clean accuracy minus mean accuracy over the common corruptions. OPs: multiply-accumulates, binary ones "
        "counted as 1/64. Memory: one bit a binary weight, 32 bits any other "
        "parameter. CPU: seconds of all threads in training, a teacher's included."
    )
    notes.append(costs)
    caption = f"{setting.title}: accuracy and mean corruption error, {interval_words(setting)}."
    return marked(Table("main", caption, tuple(columns), tuple(rows), tuple(notes)))


def drop(row: Row, outcomes: Outcomes | None) -> Cell:
    """Return clean accuracy minus mean corrupted accuracy, with an interval over seeds, or over images if there is one."""
    if len(row.runs) == 1 and outcomes is not None:
        arrays = [outcomes.per_image(row.runs[0].run_id, cells) for cells in ("clean", "common")]
        if arrays[0] is not None and arrays[1] is not None:
            return Cell.of(stats.mean(arrays[0] - arrays[1], "base images"))
    clean, error = row.per_seed(CLEAN), row.per_seed(COMMON_ERROR)
    if not clean or len(clean) != len(error):
        return Cell()
    return Cell.of(stats.mean([c - (1 - e) for c, e in zip(clean, error, strict=True)], "seeds"))


def operations(record: Record) -> float | None:
    """Return the operations of one image, a binary multiply-accumulate counted as 1/64 as the field's papers do."""
    m = record.model
    return None if m is None else m.macs - m.binary_macs + m.binary_macs / 64


def memory(record: Record) -> float | None:
    """Return the bytes of the deployed parameters: a bit a binary weight, four bytes any other."""
    m = record.model
    return None if m is None else (m.parameters - m.binary_weights) * 4 + m.binary_weights / 8


def interval_words(setting: Setting) -> str:
    """Return in a few words what the brackets hold."""
    return "95 % intervals over training seeds" if setting.unit == "seeds" else "95 % intervals over test images"


def failures(row: Row) -> str:
    """Say which of a row's runs failed, and why; empty if none."""
    if not row.failed:
        return ""
    parts = []
    for r in row.failed:
        f = r.failure
        why = f"{f.reason} at step {f.step:,}: {f.message}" if f else "no reason recorded"
        parts.append(f"seed {r.spec.seed} {why}")
    total = len(row.runs) + len(row.failed)
    count = "the run failed" if total == 1 else f"{len(row.failed)} of {total} runs failed"
    shown = "; ".join(parts[:5]) + (f"; and {len(parts) - 5} more" if len(parts) > 5 else "")
    return f"{count} ({shown})"


def corruption_table(setting: Setting, most: int = MOST_COLUMNS) -> Table:
    """Return the error of each corruption, mean over severities, one line a corruption and one column a method.

    Of more than `most` methods the reference and the most accurate are shown.
    """
    digits = percent_digits(setting)
    shown = chosen(setting, most)
    pool = ranking_pool(setting)
    columns = tuple(
        Column(
            r.label + " †" * bool(r.aside),
            "%",
            better=False if r in pool else None,
            digits=digits,
            scale=100,
            note=r.aside,
        )
        for r in shown
    )
    clean = [r.estimate(CLEAN) for r in shown]
    flipped = [
        c
        and Interval(
            1 - c.value, None if c.high is None else 1 - c.high, None if c.low is None else 1 - c.low, c.n, c.how
        )
        for c in clean
    ]
    rows = [TableRow("clean", tuple(Cell.of(c) for c in flipped))]
    groups = {name: g for g, names in GROUPS.items() for name in names}
    for name in setting.corruptions:
        cells = [Cell.of(r.estimate(Key("corruption_error", corruption=name))) for r in shown]
        rows.append(TableRow(name, tuple(cells), group=groups.get(name, "other")))
    if any(r.estimate(COMMON_ERROR) for r in shown):
        rows.append(TableRow("mean of the common", tuple(Cell.of(r.estimate(COMMON_ERROR)) for r in shown)))
    caption = f"{setting.title}: error by corruption, mean over severities {listed(setting.severities)}."
    notes = (
        unit_note(setting),
        pool_note(setting),
        "Single corruptions are descriptive: the one endpoint that is tested is the mean.",
    )
    labels = tuple(r.label for r in shown)
    notes_ = (*notes, *_left_out(setting, len(shown)))
    return marked(Table("corruptions", caption, columns, tuple(rows), notes_, "Corruption", "row", labels))


def _left_out(setting: Setting, shown: int) -> tuple[str, ...]:
    total = sum(1 for r in setting.rows if r.runs)
    if shown == total:
        return ()
    return (
        f"Shown are the reference and the {shown - 1} most accurate of {total} methods; measurements.csv holds all.",
    )


def difference_table(families: Sequence[tuple[str, Sequence[Difference]]], name: str, caption: str) -> Table:
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
            rows.append(TableRow(f"{d.row.label} − {d.reference.label}", cells, note=note, row=d.row))
    notes = ["Positive: the first is more accurate."]
    question = (
        "Over images (paired, an image's corrupted copies averaged first): are these trained networks different on "
        "these "
        "images?"
    )
    if "seeds" in units:
        notes.append(f"Over seeds (Welch): is the method better? {question} The p-values are those over seeds.")
    else:
        notes.append(f"{question} With one seed a method nothing can be said about the methods themselves.")
    notes.append(f"Holm's correction runs within each family of tests: {'; '.join(tests)}.")
    notes.append(
        "Smallest detectable: the difference that this comparison would have found with power .8 at alpha .05, given "
        "the "
        "spread seen."
    )
    table = Table(name, caption, columns, tuple(rows), tuple(notes), "Difference")
    return table if "seeds" in units else _without(table, "over seeds")


def _without(table: Table, title: str) -> Table:
    keep = [j for j, c in enumerate(table.columns) if c.title != title]
    rows = tuple(replace(r, cells=tuple(r.cells[j] for j in keep)) for r in table.rows)
    return replace(table, columns=tuple(table.columns[j] for j in keep), rows=rows)


def part(table: Table, heads: Sequence[str]) -> Table:
    """Return the table with only the columns under these headings."""
    keep = [j for j, c in enumerate(table.columns) if c.head in heads]
    rows = tuple(replace(r, cells=tuple(r.cells[j] for j in keep) if r.cells else ()) for r in table.rows)
    labels = tuple(table.labels[j] for j in keep) if table.labels else ()
    return replace(table, columns=tuple(table.columns[j] for j in keep), rows=rows, labels=labels)


@dataclass(frozen=True)
class Proof:
    """Whether rows were given the same budget: every field of the ledger and the budget, and which of them differ."""

    identical: bool
    sentence: str
    fields: tuple[tuple[str, tuple[str, ...], bool], ...]
    labels: tuple[str, ...]
    seconds: tuple[tuple[str, tuple[str, ...]], ...] = ()
    HASHED: ClassVar = ("data order", "augmentation drawn", "initial weights")


def budget_proof(setting: Setting) -> Proof:
    """Compare the ledgers of a setting's finished rows field by field, and each hash seed by seed.

    "Identical" needs every field equal; a missing ledger, or no seed in common, is not equality.
    """
    shown = [r for r in setting.rows if r.runs]
    labels = tuple(r.label for r in shown)
    per_row = [_spent(r) for r in shown]
    names = list(dict.fromkeys(name for spent in per_row for name in spent))
    fields, differing = [], []
    for name in names:
        values = tuple(_show(spent.get(name)) for spent in per_row)
        equal = _equal([spent.get(name) for spent in per_row])
        fields.append((name, values, equal))
        if not equal:
            differing.append(name)
    fields.insert(
        0,
        (
            "seeds (not part of the budget)",
            tuple(listed(r.seeds) for r in shown),
            len({tuple(r.seeds) for r in shown}) == 1,
        ),
    )
    identical = not differing and len(shown) > 1
    if len(shown) < 2:
        sentence = "Only one finished method: there is no budget to compare."
    elif identical:
        sentence = f"Identical budgets: {len(names)} fields of ledger and budget are equal in all {len(shown)} methods."
    else:
        sentence = f"The budgets are not identical; these fields differ: {', '.join(differing)}."
        unit = shown[0].any.spec.budget.unit
        if unit != "images" and all(r.any.spec.budget.unit == unit for r in shown):
            sentence += f" The budget is one of equal {unit}, under which a costlier method sees fewer images."
        inside = [spent for spent, row in zip(per_row, shown, strict=True) if not row.aside]
        if 1 < len(inside) < len(shown):
            rest = [n for n in names if not _equal([spent.get(n) for spent in inside])]
            sentence += (
                f" Among the {len(inside)} methods that are ranked, these differ: {', '.join(rest)}."
                if rest
                else f" Among the {len(inside)} methods that are ranked, every field is equal."
            )
    phases = sorted({p for r in shown for run in r.runs if run.ledger for p in run.ledger.seconds})
    seconds = tuple((p, tuple(_seconds(r, p) for r in shown)) for p in phases)
    return Proof(identical, sentence, tuple(fields), labels, seconds)


Spent = dict[int, object]


def _spent(row: Row) -> dict[str, Spent]:
    """Return for every budget field what each seed's run had."""
    spent: dict[str, Spent] = {}
    networks = sorted({n for r in row.runs if r.ledger for n in (*r.ledger.forward, *r.ledger.backward)} | {"student"})
    for run in row.runs:
        seed, ledger = run.spec.seed, run.ledger
        values: dict[str, object] = {}
        if ledger:
            values["steps"] = ledger.steps
            values["images"] = ledger.images
            values["forward passes"] = {n: ledger.forward.get(n, 0) for n in networks if ledger.forward.get(n)}
            values["backward passes"] = {n: ledger.backward.get(n, 0) for n in networks if ledger.backward.get(n)}
            values["data order"] = _Hash(ledger.data_order_sha256)
            values["augmentation drawn"] = _Hash(ledger.augmentation_sha256)
            values["initial weights"] = _Hash(ledger.initial_weights_sha256)
            values["selection rule"] = ledger.selection
        else:
            values = dict.fromkeys(("steps", "images", "forward passes", "backward passes"))
            values |= dict.fromkeys(("data order", "augmentation drawn", "initial weights", "selection rule"))
        budget = run.spec.budget.model_dump()
        values |= {
            name.replace("_", " "): v
            for name, v in budget.items()
            if name not in ("images", "selection") and v is not None
        }
        for name, value in values.items():
            spent.setdefault(name, {})[seed] = value
    return spent


class _Hash(str):
    """A hash: printed short."""


def _equal(values: Sequence[Spent | None]) -> bool:
    """Tell whether all rows have equal values for every seed that they share, sharing at least one."""
    if any(not v for v in values):
        return False
    known = [v for v in values if v]
    shared = set.intersection(*(set(v) for v in known))
    if not shared or any(x is None for v in known for x in v.values()):
        return False
    if not any(isinstance(x, _Hash) for v in known for x in v.values()):
        # Anything but a hash must not depend on the seed at all.
        return len({repr(x) for v in known for x in v.values()}) == 1
    return all(len({repr(v[s]) for v in known}) == 1 for s in shared)


def _show(values: Spent | None) -> str:
    if not values or any(v is None for v in values.values()):
        return "not recorded"
    distinct = list(dict.fromkeys(_text(v) for v in values.values()))
    if not any(isinstance(v, _Hash) for v in values.values()):
        return " / ".join(distinct[:4])
    if len(values) <= 3:
        return " ".join(str(v)[:8] for v in values.values())
    together = hashlib.sha256("".join(str(values[s]) for s in sorted(values)).encode()).hexdigest()
    return f"{together[:8]} over {len(values)} seeds"


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {plain(v)}" for k, v in value.items()) or "none"
    return plain(value)


def _seconds(row: Row, phase: str) -> str:
    found = [s for run in row.runs if run.ledger for p, s in run.ledger.seconds.items() if p == phase]
    if not found:
        return "–"
    cpu, wall = (sum(getattr(s, kind) for s in found) / len(found) for kind in ("cpu", "wall"))
    return f"{cpu:,.1f} CPU, {wall:,.1f} wall"


def listed(values: Sequence[int]) -> str:
    """Return whole numbers as people write them: 1–5, or 0, 2, 7."""
    if len(values) > 2 and list(values) == list(range(values[0], values[-1] + 1)):
        return f"{values[0]}–{values[-1]}"
    return ", ".join(str(v) for v in values)


def norm_text(norm: str) -> str:
    """Return a norm as it is printed."""
    return {"l2": "ℓ2", "linf": "ℓ∞", "l1": "ℓ1"}.get(norm, norm)


def radius_text(radius: float | None) -> str:
    """Return a radius in pixel units as it is printed, in steps of an 8-bit pixel where it is a whole number of them.

    >>> radius_text(8 / 255), radius_text(0.25), radius_text(None)
    ('radius 8/255', 'radius 0.25', '')
    """
    if radius is None:
        return ""
    steps = radius * 255
    whole = abs(steps - round(steps)) < 1e-6 and round(steps) and round(steps) % 255
    return f"radius {round(steps)}/255" if whole else f"radius {radius:g}"


def generic_table(setting: Setting, most: int = MOST_COLUMNS) -> Table | None:
    """Return every metric that has no place of its own: one line a cell, one column a method; None if there is none."""
    special = ("accuracy", "corruption_error")
    shown = chosen(setting, most)
    rows = []
    for metric, info in sorted(setting.metrics.items()):
        if metric in special:
            continue
        for key in setting.keys(metric):
            kind = {"lower": "lower bound", "upper": "upper bound", "estimate": "estimate"}.get(info.bound, "")
            parts = [
                "" if key.statistic == "mean" else key.statistic,
                key.layer and f"layer {key.layer}",
                f"{key.corruption} {key.severity or ''}".strip(),
                norm_text(key.norm),
                radius_text(key.radius),
                kind,
            ]
            label = ", ".join([metric, *[p for p in parts if p]]) + f" ({info.unit})"
            cells = tuple(Cell.of(r.estimate(key)) for r in shown)
            rows.append(TableRow(label, cells, info.higher_is_better is not None, info.summary, group=key.corruption))
    if not rows:
        return None
    columns = tuple(Column(r.label, digits=3, note=r.aside) for r in shown)
    caption = f"{setting.title}: every other measurement, as the records hold it."
    return Table(
        "measurements",
        caption,
        columns,
        tuple(rows[:400]),
        (unit_note(setting), *_left_out(setting, len(shown))),
        "Measurement",
        "row",
    )


# Writers.

_MARKDOWN = str.maketrans({c: "\\" + c for c in "\\`*_{}[]<>#+|~$!"})
_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "−": r"$-$",
    "–": "--",
    "∞": r"$\infty$",
    "ℓ": r"$\ell$",
    "×": r"$\times$",
    "†": r"$\dagger$",
    "σ": r"$\sigma$",
    "‖": r"$\|$",
    "’": "'",
    "…": "...",
    '"': r"\textquotedbl{}",
    "\n": " ",
}


def escape_markdown(text: str) -> str:
    """Return untrusted text as plain Markdown: nothing in it is markup or HTML, and it stays on one line.

    >>> escape_markdown("a|b <i>")
    'a\\\\|b &lt;i&gt;'
    """
    line = " ".join(text.split()).replace("&", "&amp;")
    return line.translate(_MARKDOWN).replace("\\<", "&lt;").replace("\\>", "&gt;")


def escape_latex(text: str) -> str:
    r"""Return untrusted text as plain LaTeX text.

    >>> escape_latex("50 % of a_b")
    '50 \\% of a\\_b'
    """
    return "".join(_LATEX.get(c) or _plain_latex(c) for c in " ".join(text.split()))


def _plain_latex(character: str) -> str:
    """Return a character that utf8 and T1 read, or what is left of it without its accents, or a question mark."""
    if character.isascii():
        return character if character.isprintable() else "?"
    if character <= "\u017e" and character.isalpha():
        return character
    reduced = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return "".join(_LATEX.get(c, c) for c in reduced) or "?"


def markdown(table: Table) -> str:
    """Return the table in GitHub's Markdown, n and interval in each cell."""
    head = [table.first, *[_title(c, escape_markdown) for c in table.columns]]
    lines = ["| " + " | ".join(head) + " |", "|" + "|".join([":--", *["--:"] * len(table.columns)]) + "|"]
    for row in table.rows:
        label = escape_markdown(row.label)
        if row.note and row.row:
            label += f" ({escape_markdown(row.note)})"
        if not row.cells:
            cells = [f"*{escape_markdown(row.failed)}*", *[""] * (len(table.columns) - 1)]
        else:
            cells = [_markdown_cell(cell, column) for cell, column in zip(row.cells, table.columns, strict=True)]
            if row.failed:
                label += f" — *{escape_markdown(row.failed)}*"
        lines.append("| " + " | ".join([label, *cells]) + " |")
    notes = "".join(f"\n{escape_markdown(n)}\n" for n in table.notes)
    return f"**{escape_markdown(table.caption)}**\n\n" + "\n".join(lines) + "\n" + notes


def _markdown_cell(cell: Cell, column: Column) -> str:
    if cell.value is None:
        return escape_markdown(cell.text or "–")
    shown = number(cell.value, column)
    shown = {"best": f"**{shown}**", "second": f"<u>{shown}</u>"}.get(cell.mark, shown)
    interval = bounds(cell, column)
    n = f" (n={cell.n:,})" if cell.n and interval else ""
    return f"{shown} {interval}{n}".strip()


def _title(column: Column, escape: Callable[[str], str]) -> str:
    title = f"{column.head}: {column.title}" if column.head else column.title
    return escape(f"{title}, {column.unit}" if column.unit else title)


LATEX_PREAMBLE = r"""% Made by lcrbench from records. It compiles as it is:
%   \documentclass{article}
%   \usepackage[T1]{fontenc}
%   \usepackage[utf8]{inputenc}
%   \usepackage{booktabs,graphicx}
%   \begin{document} \input{table} \end{document}
"""


def latex(table: Table, *, keep: Callable[[Column], bool] = lambda c: True) -> str:
    """Return the table as a LaTeX float (booktabs): value above, interval below it in small type, n under the title.

    `keep` selects columns. The best is bold and the second underlined, ties alike.
    """
    chosen = [j for j, c in enumerate(table.columns) if keep(c)]
    columns = [table.columns[j] for j in chosen]
    heads = _latex_heads(columns)
    titles = " & ".join([escape_latex(table.first), *[escape_latex(c.title) for c in columns]]) + r" \\"
    units = " & ".join(["", *[rf"{{\scriptsize {escape_latex(c.unit)}}}" if c.unit else "" for c in columns]]) + r" \\"
    common_n = [_common_n([r.cells[j] for r in table.rows if r.cells]) for j in chosen]
    body = []
    for row in table.rows:
        label = escape_latex(row.label) + (r"$^{\dagger}$" if row.note and row.row else "")
        if not row.cells:
            body.append(rf"{label} & \multicolumn{{{len(columns)}}}{{l}}{{\emph{{{escape_latex(row.failed)}}}}} \\")
            continue
        values, intervals = [label], [""]
        for j, column, n in zip(chosen, columns, common_n, strict=True):
            cell = row.cells[j]
            shown = escape_latex(number(cell.value, column) if cell.value is not None else cell.text or "–")
            shown = {"best": rf"\textbf{{{shown}}}", "second": rf"\underline{{{shown}}}"}.get(cell.mark, shown)
            values.append(shown)
            small = escape_latex(bounds(cell, column))
            if small and n is None and cell.n:
                small += rf" $n{{=}}{cell.n}$"
            intervals.append(rf"{{\scriptsize {small}}}" if small else "")
        body.append(" & ".join(values) + r" \\")
        if any(intervals):
            body.append(" & ".join(intervals) + r" \\[2pt]")
    asides = [f"{r.label}: {r.note}" for r in table.rows if r.note and r.row]
    failed = [f"{r.label}: {r.failed}" for r in table.rows if r.failed and r.cells]
    notes = [*table.notes]
    notes += [f"Not ranked: {'; '.join(asides)}."] if asides else []
    notes += [f"Failed runs: {'; '.join(failed)}."] if failed else []
    counts = [rf"{{\scriptsize $n={n}$}}" if n else "" for n in common_n]
    lines = [
        r"\begin{table*}[t]",
        r"\centering",
        rf"\caption{{{escape_latex(table.caption)}}}",
        r"\setlength{\tabcolsep}{4pt}",
        r"\resizebox{\textwidth}{!}{%",
        rf"\begin{{tabular}}{{l{'r' * len(columns)}}}",
        r"\toprule",
        *([heads] if heads else []),
        titles,
        *([units] if any(c.unit for c in columns) else []),
        *([" & ".join(["", *counts]) + r" \\"] if any(counts) else []),
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}}",
        r"\par\medskip\begin{minipage}{\textwidth}\footnotesize",
        *[escape_latex(n) + (r"\\" if i < len(notes) - 1 else "") for i, n in enumerate(notes)],
        r"\end{minipage}",
        r"\end{table*}",
    ]
    return "\n".join(lines) + "\n"


def _latex_heads(columns: Sequence[Column]) -> str:
    """Return the line of headings that span columns, with their rules; empty if there is none."""
    if not any(c.head for c in columns):
        return ""
    cells, rules, i = [""], [], 0
    while i < len(columns):
        j = i
        while j < len(columns) and columns[j].head == columns[i].head:
            j += 1
        if columns[i].head:
            cells.append(rf"\multicolumn{{{j - i}}}{{c}}{{{escape_latex(columns[i].head)}}}")
            rules.append(rf"\cmidrule(lr){{{i + 2}-{j + 1}}}")
        else:
            cells += [""] * (j - i)
        i = j
    return " & ".join(cells) + r" \\ " + " ".join(rules)


def _common_n(cells: Sequence[Cell]) -> int | None:
    found = {c.n for c in cells if c.value is not None and bool(c.low is not None or c.high is not None)}
    return found.pop() if len(found) == 1 else None


def proof_markdown(proof: Proof) -> str:
    """Return the budget table in Markdown."""
    head = ["Budget", "equal", *[escape_markdown(label) for label in proof.labels]]
    lines = ["| " + " | ".join(head) + " |", "|" + "|".join([":--"] * len(head)) + "|"]
    for name, values, equal in proof.fields:
        cells = [name, "yes" if equal else "**differs**", *[escape_markdown(v) for v in values]]
        lines.append("| " + " | ".join(cells) + " |")
    for name, values in proof.seconds:
        lines.append("| " + " | ".join([f"seconds, {name}", "", *[escape_markdown(v) for v in values]]) + " |")
    return f"**{escape_markdown(proof.sentence)}**\n\n" + "\n".join(lines) + "\n"


def frame(table: Table) -> pd.DataFrame:
    """Return the table with numbers as numbers: for each column its value, low, high and n, in its own unit."""
    rows = []
    for row in table.rows:
        line: dict[str, object] = {table.first.lower(): row.label}
        for column, cell in zip(table.columns, row.cells, strict=False):
            name = f"{column.head} {column.title}".strip() + (f" ({column.unit})" if column.unit else "")
            if cell.value is None:
                line[name] = cell.text or None
                continue
            line[name] = cell.value * column.scale
            if cell.low is not None or cell.high is not None:
                line[f"{name} low"] = None if cell.low is None else cell.low * column.scale
                line[f"{name} high"] = None if cell.high is None else cell.high * column.scale
            line[f"{name} n"] = cell.n
        rows.append(line | {"note": "; ".join(t for t in (row.note, row.failed) if t)})
    return pd.DataFrame(rows)
