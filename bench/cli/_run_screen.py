"""One run on one screen: what it is, what came out, what it cost, and with what it was made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lcrbench.bench.records.budget import told
from lcrbench.bench.records.record import Record
from lcrbench.bench.records.statistics import Statistic
from lcrbench.reports.comparison import CLEAN, COMMON_ERROR, GROUPS, Key, Row, settings_of
from lcrbench.reports.cost import memory, operations, training_cpu
from lcrbench.reports.table import Cell, Column, bounds, number
from lcrbench.reports.words import class_text, listed, norm_text, plural, radius_text

PERCENT = Column("", digits=2, scale=100)


def screen(record: Record, folder: Path) -> str:
    """Return a run in at most two dozen lines; `folder` is that of its training or evaluation."""
    [setting] = settings_of([record])
    [row] = setting.rows
    width = 12
    lines = [f"{row.name}, seed {record.spec.seed}  ({record.spec.label}, run {record.run_id}, {record.status})"]
    for name, text in _facts(record, row):
        lines.append(f"  {name:{width}}  {text}")
    lines.append(f"  {'folder':{width}}  {folder}")
    return "\n".join([*lines, "  (all of it: --json; what was spent, and the hashes that prove it: --ledger)"])


def _facts(record: Record, row: Row) -> Iterator[tuple[str, str]]:
    spec = record.spec
    if record.failure:
        yield "failed", f"{record.failure.reason} at step {record.failure.step:,}: {record.failure.message}"
    yield "data", f"{spec.data.text}, {spec.data.size} px, {len(spec.data.classes)} classes"
    yield "backbone", spec.backbone
    if record.external is None:
        recipe, budget = record.trained.recipe, told(record.trained.budget)
        yield "budget", f"{budget}, batches of {recipe.batch}, {recipe.optimizer}, peak rate {recipe.lr:g}"
    shown = spec.evaluation
    yield "shown", f"{plural(len(shown.corruptions), 'corruption')} at severities {listed(shown.severities)}"
    for name, key in (("clean", CLEAN), ("mean error", COMMON_ERROR)):
        if text := _percent(row, key):
            yield name, text
    groups = [(g, row.estimate(Key("corruption_error", corruption=g))) for g in GROUPS]
    if told_groups := [f"{g} {number(i.value, PERCENT)} %" for g, i in groups if i]:
        yield "by group", ", ".join(told_groups)
    yield from _kappa(row)
    if row.bits:
        yield "W/A", row.bits + (", audited" if row.binary else "")
    if model := record.model:
        size = f"{model.parameters:,} parameters"
        ops, room = operations(record), memory(record)
        size += f", {ops * 1e-6:.2f} million OPs" if ops else ""
        yield "network", size + (f", {room * 1e-3:.1f} kB" if room else "")
    if ledger := record.ledger:
        cpu = training_cpu(record)
        seen = f"{ledger.images:,} images in {ledger.steps:,} steps, {class_text(ledger.budget_class)}"
        yield "trained", seen + (f", {cpu:,.0f} CPU s" if cpu is not None else "")
    made = record.provenance
    commit = (made.commit or "no commit")[:10] + (" with changes" if made.dirty else "")
    versions = [f"torch {made.versions['torch']}"] if "torch" in made.versions else []
    yield "made", ", ".join([f"lcrbench {made.lcrbench} ({commit})", made.device, *versions, made.created[:19]])


def _percent(row: Row, key: Key) -> str:
    estimate = row.estimate(key)
    if estimate is None:
        return ""
    cell = Cell.of(estimate)
    n = f", n = {cell.n:,} images" if cell.n else ""
    return f"{number(cell.value, PERCENT)} % {bounds(cell, PERCENT)}".rstrip() + n


def _kappa(row: Row) -> Iterator[tuple[str, str]]:
    keys = sorted(
        (k for k in row.values if (k.metric, k.statistic) == ("lipschitz_kappa", Statistic.Q50)),
        key=lambda k: (k.norm, k.radius or 0.0),
    )
    told_ = [
        f"{norm_text(k.norm)} {radius_text(k.radius)}: {i.value:.3g}"
        for k in keys[:4]
        if (i := row.estimate(k)) is not None
    ]
    if told_:
        yield "kappa", f"median, lower bound: {'; '.join(told_)}"
