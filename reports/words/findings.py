"""What a report says in sentences: its title and summary, its findings, and what a reader must be warned of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lcrbench.bench.records.budget import told
from lcrbench.reports.comparison import CLEAN, COMMON, COMMON_ERROR, Comparison, Key, Row, Setting
from lcrbench.reports.context import Context, Family
from lcrbench.reports.significance import Difference
from lcrbench.reports.table import Cell, Column, bounds, number
from lcrbench.reports.words import listed, plural

FAMILIES: tuple[Family, ...] = ("base", "reference")
# Of more settings than this the headlines are those of the first.
MOST_SETTINGS = 3


@dataclass(frozen=True)
class Finding:
    """One headline: a figure, its interval and a sentence."""

    figure: str
    interval: str
    text: str


def title(compared: Comparison) -> str:
    """Return the report's title."""
    names = list(dict.fromkeys(s.any.spec.data.name for s in compared.settings))
    methods = len(compared.labels)
    kind = "networks" if any(r.foreign for s in compared.settings for r in s.rows) else "methods"
    what = f"{methods} {kind}" if methods > 1 else compared.settings[0].rows[0].name
    return f"Robustness of {what} on {', '.join(names[:3])}" + (" and more" if len(names) > 3 else "")


def summary(compared: Comparison) -> str:
    """Return in a few sentences what was compared."""
    if len(compared.settings) == 1:
        return setting_summary(compared.settings[0])
    parts = [
        plural(len(compared.labels), "method"),
        plural(len(compared.runs), "run"),
        plural(len(compared.settings), "setting"),
    ]
    return (
        f"{parts[0]} in {parts[1]} and {parts[2]}. Numbers are compared only within a setting: the same data, the same "
        "backbone and the same evaluation."
    )


def setting_summary(setting: Setting) -> str:
    """Return in a few sentences what was trained and tested in a setting."""
    spec = setting.any.spec
    if setting.any.external is not None:
        return foreign_summary(setting)
    name = setting.any.trained.training.data.name
    rows = [r for r in setting.rows if r.runs and not r.foreign]
    seeds = sorted({len(r.runs) for r in rows})
    n_seeds = (
        plural(seeds[0], "training seed")
        if len(seeds) == 1
        else f"{seeds[0]} to {seeds[-1]} training seeds"
        if seeds
        else ""
    )
    budgets = sorted({told(r.any.trained.budget) for r in setting.ranked})
    budget = ", ".join(budgets) or told(setting.any.trained.budget)
    owners = {r.any.trained.training.recipe_of for r in setting.ranked}
    own = "" if owners <= {"comparison"} else "each by its own recipe, "
    labels = [r.name for r in setting.ranked] or [r.name for r in setting.rows if not r.foreign]
    foreign = [r.name for r in setting.rows if r.foreign]
    beside = f" Beside them stand networks that were trained elsewhere: {_named(foreign)}." if foreign else ""
    return (
        f"{_named(labels)}, trained on {name} ({spec.data.train:,} training images at {spec.data.size} px) with the "
        f"backbone {spec.backbone} on a budget of {budget} each, {own}{n_seeds or 'no finished run'} a method. "
        f"{_tested(setting)}{beside}"
    )


def foreign_summary(setting: Setting) -> str:
    """Return in a few sentences what networks from outside were shown."""
    one = len(setting.rows) == 1
    budgets = "a budget that is not known, so it is not" if one else "budgets that are not known, so none is"
    return (
        f"{_named([r.name for r in setting.rows])}: trained elsewhere, on {budgets} ranked. "
        f"Shown images of {setting.any.spec.data.name} at {setting.any.spec.data.size} px. {_tested(setting)}"
    )


def _named(labels: Sequence[str]) -> str:
    shown = labels if len(labels) <= 6 else [*labels[:5], f"{len(labels) - 5} more"]
    return shown[0] if len(shown) == 1 else ", ".join(shown[:-1]) + " and " + shown[-1]


def _tested(setting: Setting) -> str:
    spec = setting.any.spec
    clean = spec.protocol.test.clean
    images = f"Tested on {spec.data.test:,} images" + (", clean" if clean else "")
    common = [c for c in setting.corruptions if c in COMMON]
    extra = len(setting.corruptions) - len(common)
    corruptions = plural(len(common), "common corruption") + (f" and {plural(extra, 'extra one')}" if extra else "")
    apart, levels = "", "severity" if len(setting.severities) == 1 else "severities"
    if not clean and setting.any.external is None:
        trained_on = setting.any.trained.training.data.name
        apart = f" Their clean images are not the test images of {trained_on}, and were not shown."
    return (
        f"{images}{' and' if clean else ''} under {corruptions} at {levels} {listed(setting.severities)}.{apart}"
        if setting.corruptions
        else f"{images}."
    )


def findings(contexts: Sequence[Context]) -> list[Finding]:
    """Return the headlines of the first settings: who is most robust, what a regularizer changes, what could be seen."""
    said: list[Finding] = []
    for context in contexts[:MOST_SETTINGS]:
        setting, found = context.setting, context.differences
        where = f"{setting.title}: " if len(contexts) > 1 else ""
        pool = setting.pool
        key = COMMON_ERROR if any(r.estimate(COMMON_ERROR) for r in pool) else CLEAN
        best = best_of(pool, key)
        digits = setting.digits
        column = Column("", digits=digits, scale=100)
        if best is not None and len(pool) > 1:
            cell = Cell.of(best.estimate(key))
            what = "the lowest mean corruption error" if key is COMMON_ERROR else "the highest clean accuracy"
            who = "binary networks" if all(r.binary for r in pool) else "methods"
            clean = Cell.of(best.estimate(CLEAN))
            also = (
                f"; its clean accuracy is {number(clean.value, column)} % {bounds(clean, column)}"
                if key is COMMON_ERROR
                else ""
            )
            said.append(
                Finding(
                    f"{number(cell.value, column)} %",
                    f"{bounds(cell, column)} n = {cell.n:,}",
                    f"{where}{best.name} has {what} of the {len(pool)} {who}{also}.",
                )
            )
        told: set[tuple[int, int]] = set()
        for family in FAMILIES:
            wanted = [
                d
                for d in found[family, "common"]
                if d.interval and d.holm is not None and (family == "base" or d.row is best)
            ]
            wanted = [d for d in wanted[:3] if (d.row.index, d.reference.index) not in told]
            told |= {(d.row.index, d.reference.index) for d in wanted}
            said += [_difference_finding(d, where) for d in wanted]
        detectable = [
            d.detectable for d in found["base", "common"] or found["reference", "common"] if d.detectable is not None
        ]
        if detectable:
            unit = "training seeds" if setting.unit == "seeds" else "images"
            said.append(
                Finding(
                    f"{max(detectable) * 100:.1f} points",
                    "power .8, alpha .05",
                    f"{where}The smallest difference in mean corruption accuracy that these comparisons, over {unit}, "
                    "would have "
                    "found; a smaller one may exist and not be seen.",
                )
            )
    return said


def _difference_finding(d: Difference, where: str) -> Finding:
    column = Column("", digits=2, scale=100)
    interval = d.interval
    assert interval is not None
    cell = Cell.of(interval)
    significant = d.holm is not None and d.holm < 0.05
    direction = "more" if interval.value > 0 else "less"
    seeds = f"Welch over seeds, {len(d.row.runs)} against {len(d.reference.runs)}"
    over = seeds if d.unit == "seeds" else "t over base images"
    p = "" if d.holm is None else f", p = {d.holm:.2g} after Holm"
    verdict = (
        f"{d.row.name} is {direction} accurate under the common corruptions than {d.reference.name}"
        if significant
        else f"No difference shown between {d.row.name} and {d.reference.name} under the common corruptions"
    )
    about = (
        ""
        if d.unit == "seeds"
        else ". It holds for these trained networks: with one seed nothing is said about the methods"
    )
    sign = "+" if interval.value > 0 else ""
    return Finding(
        f"{sign}{number(cell.value, column)} points",
        f"{bounds(cell, column)} n = {interval.n:,}",
        f"{where}{verdict} ({over}{p}){about}.",
    )


def best_of(rows: list[Row], key: Key) -> Row | None:
    """Return the row with the lowest error or the highest accuracy; None where none has a number."""
    known = [(i.value, r) for r in rows if (i := r.estimate(key))]
    if not known:
        return None
    return (min if key is COMMON_ERROR else max)(known, key=lambda k: k[0])[1]


def warnings(compared: Comparison) -> list[str]:
    """Return the warnings above all numbers: runs that failed, are missing or are not comparable."""
    said = []
    failed = [r for r in compared.runs if r.failure and r.failure.reason != "stopped"]
    if failed:
        said.append(
            f"{plural(len(failed), 'run')} of {len(compared.runs):,} failed; the tables say which and why, in place."
        )
    if compared.unreadable:
        shown = "; ".join(compared.unreadable[:5])
        more = f"; and {len(compared.unreadable) - 5} more" if len(compared.unreadable) > 5 else ""
        said.append(f"{plural(len(compared.unreadable), 'record')} could not be read and is left out: {shown}{more}.")
    if any(r.aside for s in compared.settings for r in s.rows):
        said.append("Methods of another or an unknown budget (†) are shown, and neither ranked nor tested.")
    if any(r.provenance.dirty for r in compared.runs):
        said.append("Some runs were made from a working tree with uncommitted changes.")
    return said


def remarks(compared: Comparison) -> list[str]:
    """Return the remarks that are no warnings: runs that were stopped on request, and unfinished ones."""
    said = []
    stopped = sum(1 for r in compared.runs if r.failure and r.failure.reason == "stopped")
    if stopped:
        said.append(f"{plural(stopped, 'run')} stopped on request, saved: the same command goes on.")
    if compared.unfinished:
        said.append(f"{plural(compared.unfinished, 'unfinished run')} in the store, not counted anywhere.")
    return said
