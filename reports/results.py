"""The tables of a report: the main one, by corruption, the differences, and whatever else was measured."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence

from lcrbench.bench import stats
from lcrbench.bench.records.record import Record
from lcrbench.reports import mce, published
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
    flipped,
)
from lcrbench.reports.significance import Difference, Outcomes
from lcrbench.reports.tables import Cell, Column, Table, TableRow, marked, without
from lcrbench.reports.words import listed, norm_text, plain, radius_text


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
    i = stats.mean(found, "seeds")
    return Cell.of(i if i.low is None else i._replace(low=max(0.0, i.low)))  # nothing costs less than nothing


def passes(record: Record) -> float | None:
    """Return the images that went through any network in training, forward and backward passes counted alike."""
    ledger = record.ledger
    return None if ledger is None else sum(ledger.forward.values()) + sum(ledger.backward.values())


def training_cpu(record: Record) -> float | None:
    """Return the CPU seconds a run's training took, a teacher's included."""
    if record.ledger is None or not record.ledger.seconds:
        return None
    return sum(s.cpu for phase, s in record.ledger.seconds.items() if phase in ("training", "teacher"))


def lipschitz_key(rows: Iterable[Row]) -> Key | None:
    """Return the Lipschitz cell that stands in the main table: the median kappa at the middle radius, l2 if it was run."""
    keys = list({k: None for row in rows for k in row.values if (k.metric, k.statistic) == ("lipschitz_kappa", "q50")})
    keys = [k for k in keys if k.norm == "l2"] or keys
    return sorted(keys, key=lambda k: k.radius or 0.0)[len(keys) // 2] if keys else None


CALIBRATION = Key("calibration_error")
COST = ("Drop", "Calibration", "Network", "Training")
"""The headings of the main table's second half."""


def main_table(setting: Setting, outcomes: Outcomes | None = None, searched: Sequence[Row] = ()) -> Table:
    """Return the paper's table: accuracy clean and corrupted by group, Lipschitz, size and cost.

    The drop's interval over images needs the outcomes, because clean and corrupted copies of an image go together. Kappa
    is that of `searched`, the rows that the Lipschitz part shows, so that both parts tell the same search.
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
    kappas = {row.index: row for row in searched or setting.rows}
    lipschitz = lipschitz_key(kappas.values())
    if lipschitz:
        infos = {name: info for row in kappas.values() for run in row.runs for name, info in run.metrics.items()}
        info = infos[lipschitz.metric].kind(lipschitz.statistic)
        bound = {"lower": "lower bound", "upper": "upper bound"}.get(info.bound, info.bound)
        where = f"{norm_text(lipschitz.norm)}, {radius_text(lipschitz.radius)}".removesuffix(", ")
        columns.append(Column(f"median, {bound}", f"{where}, {info.unit}", "Kappa", None, 2))
    columns.append(Column("clean − mean", "points", "Drop", digits=digits, scale=100))
    calibration = [CALIBRATION] if any(r.estimate(CALIBRATION) for r in setting.rows) else []
    columns += [Column("ECE", "%", "Calibration", False, digits, 100) for _ in calibration]
    columns += [
        Column("Parameters", "thousands", "Network", digits=1, scale=1e-3),
        Column("binary", "% of parameters", "Network", digits=1, scale=100),
        Column("OPs", "millions", "Network", digits=2, scale=1e-6),
        Column("memory", "kB", "Network", digits=1, scale=1e-3),
        Column("Images", "thousands", "Training", digits=1, scale=1e-3),
        Column("Passes", "thousands", "Training", digits=1, scale=1e-3),
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
            cells.append(Cell.of(kappas[row.index].estimate(lipschitz) if row.index in kappas else None))
        cells.append(drop(row, outcomes))
        cells += [Cell.of(row.estimate(k)) for k in calibration]
        cells += [
            cost(row, lambda r: r.model.parameters if r.model else None),
            cost(row, lambda r: r.model.binary_weights / max(1, r.model.parameters) if r.model else None),
            cost(row, operations),
            cost(row, memory),
            cost(row, lambda r: r.ledger.images if r.ledger else None),
            cost(row, passes),
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
            "Kappa: the largest change of a margin that a search found within the radius, over the margin; 1 is a flip. A "
            "lower bound, ranked among the Lipschitz figures, where orders that the search cannot tell are marked."
        )
    notes.append(topology_note(setting))
    costs = (
        "Drop: clean accuracy minus mean accuracy over the common corruptions. OPs: multiply-accumulates, binary ones "
        "counted as 1/64. Memory: one bit a binary weight, 32 bits any other "
        "number that inference needs. Passes: images through any network in training, forward and backward counted alike; "
        "the budget tells them apart. CPU: seconds of all threads in training, a teacher's included."
    )
    if calibration:
        costs += " ECE: expected calibration error on clean images, in bins of equal width."
    notes.append(costs)
    caption = f"{setting.title}: accuracy and mean corruption error, {interval_words(setting)}."
    return marked(Table("main", caption, tuple(columns), tuple(rows), tuple(notes)))


def topology_note(setting: Setting) -> str:
    """Say which topology all networks of a setting have, or that they differ."""
    found = {json.dumps(r.model.topology, sort_keys=True) for row in setting.rows for r in row.runs if r.model}
    if len(found) > 1:
        return "The topology is not the same in all networks: see the warning above."
    options = ", ".join(f"{k} {plain(v)}" for k, v in (json.loads(found.pop()) if found else {}).items())
    return f"One topology for all: {setting.any.spec.backbone}" + (f" ({options})." if options else ".")


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
    if m is None:
        return None
    return m.macs - m.binary_macs + m.binary_macs / 64 if m.ops is None else m.ops


def memory(record: Record) -> float | None:
    """Return the bytes that inference needs: a bit a binary weight, four bytes any other number."""
    m = record.model
    if m is None:
        return None
    return (m.parameters - m.binary_weights) * 4 + m.binary_weights / 8 if m.memory_bits is None else m.memory_bits / 8


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
    rows = [TableRow("clean", tuple(Cell.of(c and flipped(c)) for c in clean))]
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
    table = Table(name, caption, columns, tuple(rows), tuple(notes), "Difference")
    return table if "seeds" in units else without(table, "over seeds")


def published_table(setting: Setting) -> Table | None:
    """Return our clean accuracy beside what the methods' authors published; None where no number is sourced.

    A number stands here only if method, data and topology are those of the run (see `published`).
    """
    rows = []
    for row in setting.rows:
        if not row.runs:
            continue
        ours, spec = row.estimate(CLEAN), row.any.spec
        for p in published.of(row.runs[0]):
            told = ", ".join(f"{name} {plain(value)}" for name, value in p.topology.items()) or "one form"
            untold = (
                [name for name in row.runs[0].model.topology if name not in p.topology] if row.runs[0].model else []
            )
            cells = (
                Cell.of(ours),
                Cell(p.top1 / 100, how="no interval is published"),
                Cell(row.runs[0].ledger.images / spec.data.train if row.runs[0].ledger else None),
                Cell(p.epochs) if p.epochs else Cell(text="not told"),
                Cell(text=told + (f"; not told: {', '.join(untold)}" if untold else "")),
                Cell(text=p.source),
            )
            rows.append(TableRow(row.label, cells, False, row.aside, row=row))
    if not rows:
        return None
    columns = (
        Column("ours", "%", "Clean accuracy", digits=percent_digits(setting), scale=100),
        Column("published", "%", "Clean accuracy", digits=2, scale=100),
        Column("ours", "epochs", "Budget", digits=1),
        Column("published", "epochs", "Budget", digits=0),
        Column("topology that the source tells", head="Published"),
        Column("source", head="Published"),
    )
    notes = (
        unit_note(setting),
        "Published numbers were read in the authors' own repositories. Their budgets and recipes are other than ours, so a "
        "difference is not one between implementations, and none is tested.",
        "Data are matched by name, classes, size and number of images; their pixels cannot be compared.",
    )
    return Table("published", f"{setting.title}: ours and published.", columns, tuple(rows), notes)


def generic_table(setting: Setting, most: int = MOST_COLUMNS) -> Table | None:
    """Return every metric that has no place of its own: one line a cell, one column a method; None if there is none."""
    special = ("accuracy", "corruption_error")
    shown = chosen(setting, most)
    rows = []
    for metric, info in sorted(setting.metrics.items()):
        if metric in special:
            continue
        for key in setting.keys(metric):
            kind = info.kind(key.statistic)
            parts = [
                "" if key.statistic == "mean" else key.statistic,
                key.layer and f"layer {key.layer}",
                f"{key.corruption} {key.severity or ''}".strip(),
                norm_text(key.norm),
                radius_text(key.radius),
                {"lower": "lower bound", "upper": "upper bound", "estimate": "estimate"}.get(kind.bound, ""),
            ]
            label = ", ".join([metric, *[p for p in parts if p]]) + f" ({kind.unit})"
            cells = tuple(Cell.of(r.estimate(key)) for r in shown)
            rows.append(TableRow(label, cells, kind.higher_is_better is not None, info.summary, group=key.corruption))
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
