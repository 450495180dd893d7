"""Accuracy clean and corrupted, by group of corruptions, with size and cost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from lcrbench.bench import stats
from lcrbench.bench.records.statistics import Statistic
from lcrbench.reports import mce
from lcrbench.reports.comparison import CLEAN, COMMON, COMMON_ERROR, GROUPS, Key, Row
from lcrbench.reports.context import Context
from lcrbench.reports.cost import cost, memory, operations, parameters, passes, training_cpu
from lcrbench.reports.significance import Outcomes
from lcrbench.reports.table import Cell, Column, Second, Table, TableRow, marked
from lcrbench.reports.words import listed, norm_text, radius_text
from lcrbench.reports.words.names import corruption_name
from lcrbench.reports.words.tables import (
    calibration_note,
    failures,
    foreign_notes,
    interval_words,
    pool_note,
    topology_note,
    tuning_notes,
    unit_note,
)

SECTION, ORDER = "results", 10

ECE = Key("calibration_error")
CALIBRATION = {
    ECE: Column("ECE", "%", "Calibration", False, scale=100),
    ECE._replace(statistic=Statistic.DEBIASED): Column("debiased", "%", "Calibration", False, scale=100),
    ECE._replace(statistic=Statistic.CALIBRATED): Column("if calibrated", "%", "Calibration", scale=100, paper=False),
    Key("brier_score"): Column("Brier", "", "Calibration", False, 3),
    Key("negative_log_likelihood"): Column("NLL", "nats", "Calibration", False, 3),
}
"""The columns of calibration; those of shares have the digits of percentages."""
COST = ("Drop", "Calibration", "Network", "Training")
"""The headings of the main table's second half."""


def table(context: Context) -> Table:
    """Return the paper's table: accuracy clean and corrupted by group, Lipschitz, size and cost.

    The drop's interval over images needs the outcomes, because clean and corrupted copies of an image go together. Kappa
    is that of the rows that the Lipschitz part shows, so that both parts tell the same search.
    """
    setting, outcomes = context.setting, context.outcomes
    searched = context.lipschitz.every if context.lipschitz else ()
    digits = setting.digits
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
        where = [norm_text(lipschitz.norm), radius_text(lipschitz.radius), info.unit]
        columns.append(Column(f"median, {bound}", ", ".join(word for word in where if word), "Kappa", None, 2))
    columns.append(Column("clean − mean", "points", "Drop", digits=digits, scale=100))
    calibration = {k: c for k, c in CALIBRATION.items() if any(r.estimate(k) for r in setting.rows)}
    columns += [replace(c, digits=digits) if c.scale == 100 else c for c in calibration.values()]
    trained = any(not row.foreign for row in setting.rows)
    columns += [
        Column("Parameters", "thousands", "Network", digits=1, scale=1e-3),
        Column("binary", "% of parameters", "Network", digits=1, scale=100, paper=False),
        Column("OPs", "millions", "Network", digits=2, scale=1e-6),
        Column("memory", "kB", "Network", digits=1, scale=1e-3, paper=False),
    ]
    budget = [
        Column("Images", "thousands", "Training", digits=1, scale=1e-3),
        Column("Passes", "thousands", "Training", digits=1, scale=1e-3),
        Column("CPU", "s", "Training", digits=0),
    ]
    columns += budget if trained else []

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
        cells += [calibration_cell(row, k) for k in calibration]
        cells += [
            cost(row, parameters),
            cost(row, lambda r: r.model.binary_weights / max(1, r.model.parameters) if r.model else None),
            cost(row, operations),
            cost(row, memory),
        ]
        spent = [cost(row, lambda r: r.ledger.images if r.ledger else None), cost(row, passes), cost(row, training_cpu)]
        cells += spent if trained else []
        rows.append(TableRow(row.label, tuple(cells), row in setting.pool, row.aside, failures(row), row=row))
    notes = [unit_note(setting)]
    if common:
        complete = "all fifteen" if len(common) == len(COMMON) else f"{len(common)} of the fifteen"
        notes.append(
            f"Corruption error: mean over severities {listed(setting.severities)} and over {complete} common "
            "corruptions "
            f"({', '.join(map(corruption_name, common))}); unnormalized."
            + (" Extras stand apart and enter no mean." if extras else "")
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
    notes += tuning_notes(setting) + foreign_notes(setting)
    costs = (
        "Drop: clean accuracy minus mean accuracy over the common corruptions. OPs: multiply-accumulates, binary ones "
        "counted as 1/64. Memory: one bit a binary weight, 32 bits any other "
        "number that inference needs. Passes: images through any network in training, forward and backward counted alike; "
        "the budget tells them apart. CPU: seconds of all threads in training, a teacher's included."
    )
    if calibration:
        costs += calibration_note(calibration)
    notes.append(costs)
    caption = f"{setting.title}: accuracy and mean corruption error, {interval_words(setting)}."
    return marked(
        Table(
            "main",
            caption,
            tuple(columns),
            tuple(rows),
            tuple(notes),
            title="",
            file="table",
            brackets=interval_words(setting),
            second=Second("Drop, calibration, size and cost", COST),
        )
    )


def calibration_cell(row: Row, key: Key) -> Cell:
    """Return a figure of calibration; of what perfect calibration would show, the means over seeds of value and range."""
    found = row.values.get(key, [])
    if key.statistic != Statistic.CALIBRATED or not found or any(m.low is None or m.high is None for m in found):
        return Cell.of(row.estimate(key))
    value, low, high = (float(np.mean([getattr(m, end) for m in found])) for end in ("value", "low", "high"))
    return Cell(value, low, high, found[0].n, found[0].interval)


def lipschitz_key(rows: Iterable[Row]) -> Key | None:
    """Return the Lipschitz cell that stands in the main table: the median kappa at the middle radius, l2 if it was run."""
    keys = list({k: None for row in rows for k in row.values if (k.metric, k.statistic) == ("lipschitz_kappa", "q50")})
    keys = [k for k in keys if k.norm == "l2"] or keys
    return sorted(keys, key=lambda k: k.radius or 0.0)[len(keys) // 2] if keys else None


def drop(row: Row, outcomes: Outcomes | None) -> Cell:
    """Return clean accuracy minus mean corrupted accuracy, with an interval over seeds, or over images if there is one."""
    if len(row.runs) == 1 and outcomes is not None:
        run_id = row.runs[0].run_id
        right, corrupted = outcomes.per_image(run_id, "clean"), outcomes.per_image(run_id, "common")
        if right is not None and corrupted is not None:
            return Cell.of(stats.mean(right - corrupted, "base images"))
    clean, error = row.per_seed(CLEAN), row.per_seed(COMMON_ERROR)
    if not clean or len(clean) != len(error):
        return Cell()
    return Cell.of(stats.mean([c - (1 - e) for c, e in zip(clean, error, strict=True)], "seeds"))
