"""Reads a store into settings and rows. This module and `Outcomes` are all of a report that reads runs from a store."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lcrbench.bench.records import source
from lcrbench.bench.records.ids import content_id
from lcrbench.bench.records.measurement import Measurement, MetricInfo, Scale
from lcrbench.bench.records.record import BudgetClass, Provenance, Record
from lcrbench.bench.records.store import Store
from lcrbench.errors import UserError, unknown
from lcrbench.reports import colours, identity
from lcrbench.reports.comparison.keys import COMMON, COMMON_ERROR, GROUPS, Key
from lcrbench.reports.comparison.row import Apart, Row
from lcrbench.reports.comparison.types import Between, Comparison, Replaced, Setting, chosen
from lcrbench.reports.stamp import ids as ids_of
from lcrbench.reports.stamp import unfinished
from lcrbench.reports.words import listed, plural
from lcrbench.reports.words.names import corruption_name

PLAIN = BudgetClass()
ERROR = MetricInfo.about("Mean error.", "fraction", bound="exact", higher_is_better=False, scale=Scale.SHARE)
"""What an error is that was worked out from accuracies here."""
REFERENCE = "full_precision"
FOREIGN = Apart((), foreign=True)


def read(store: Store, *, compare: Sequence[str] | None = None, runs: Sequence[str] | None = None) -> Comparison:
    """Read a store into settings and rows; a damaged record is named in the result rather than ending the report.

    `compare` restricts to methods by label, in that order, the first being the reference; without it the reference is
    `full_precision` where it was run. `runs` restricts to run ids or unique prefixes of them.
    """
    return read_runs(store, ids_of(store, runs), compare)


def read_runs(store: Store, ids: Sequence[str], compare: Sequence[str] | None = None) -> Comparison:
    """Read the runs of these ids, as `read` does, which looks for them."""
    records, unreadable = [], []
    for run_id in ids:
        try:
            records.append(store.record(run_id))
        except UserError as error:
            unreadable.append(str(error).replace(str(store.root) + "/", ""))
    if compare:
        labels = list(dict.fromkeys(r.spec.label for r in records))
        for name in compare:
            if name not in labels:
                raise unknown("method in this store", name, labels)
        records = [r for r in records if r.spec.label in compare]
    if not records:
        problem = f": {unreadable[0]}" if unreadable else ""
        raise UserError(f"there is no run to report on in {store.root}{problem}")
    return Comparison(settings_of(records, compare), tuple(unreadable), unfinished(store))


def settings_of(records: Sequence[Record], compare: Sequence[str] | None = None) -> tuple[Setting, ...]:
    """Return the settings of these runs, the one with most runs first.

    A network from outside stands in each setting of what it was shown; those that none has are settings of their own.
    """
    grouped: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record.external is None:
            grouped[identity.setting(record)].append(record)
    homes: dict[str, list[list[Record]]] = defaultdict(list)
    for group in grouped.values():
        homes[identity.shown(group[0])].append(group)
    foreign: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record.external is not None:
            for group in homes.get(identity.shown(record)) or [foreign[identity.shown(record)]]:
                group.append(record)
    ordered = sorted(grouped.values(), key=lambda g: (-len(g), identity.setting(g[0])))
    ordered += sorted(foreign.values(), key=lambda g: (-len(g), identity.shown(g[0])))
    found = [_setting(i, group, compare) for i, group in enumerate(ordered)]
    said = distinct([setting.any for setting in found])
    settings = tuple(replace(setting, distinct=text) for setting, text in zip(found, said, strict=True))
    _dress(settings)
    return settings


def _dress(settings: Sequence[Setting]) -> None:
    """Give every row the styles of the report, in which those that figures draw choose first."""
    rows = [row for setting in settings for row in setting.rows]
    drawn = [row.label for setting in settings for row in chosen(setting)]
    made = colours.styles({row.label: row.method for row in rows}, drawn)
    for row in rows:
        row.styles.update(made)


def distinct(records: Sequence[Record]) -> list[str]:
    """Return for a record of each setting what tells it from the others of the same data set and backbone, in words."""
    alike: dict[tuple[str, str], list[int]] = defaultdict(list)
    for i, record in enumerate(records):
        alike[record.spec.data.name, record.spec.backbone].append(i)
    said = [""] * len(records)
    for places in alike.values():
        facts = [facts_of(records[i]) for i in places]
        names = [name for name in facts[0] if len({f[name] for f in facts}) > 1]
        # A hash says little to a reader: it stands where nothing else tells all of them apart.
        for used in ([n for n in names if n != "data"], names):
            texts = [", ".join(f[name] for name in used) for f in facts]
            if len(set(texts)) == len(texts):
                break
        for k, (i, text) in enumerate(zip(places, texts, strict=True), 1):
            said[i] = text if texts.count(text) == 1 else f"{text} ({k})".strip()
    return said


def facts_of(record: Record) -> dict[str, str]:
    """Return what may differ between settings of one name, each as a few words."""
    data, shown = record.spec.data, record.spec.evaluation
    return {
        "size": f"{data.size} px",
        "train": f"{data.train:,} training images",
        "test": f"{data.test:,} test images",
        "classes": f"{len(data.classes)} classes",
        "corruptions": _told_corruptions(shown.corruptions),
        "severities": f"severities {listed(shown.severities)}",
        "seed": f"corruption seed {shown.seed}",
        "block": f"blocks of {shown.block:,}",
        "data": f"data {data.sha256[:8]}",
    }


def _told_corruptions(names: Sequence[str]) -> str:
    return corruption_name(names[0]) if len(names) == 1 else plural(len(names), "corruption")


def _setting(index: int, records: list[Record], compare: Sequence[str] | None) -> Setting:
    labels = {r.spec.label for r in records}
    if compare:
        first = next(c for c in compare if c in labels)
    else:
        first = REFERENCE if REFERENCE in labels else ""
    trained = [r for r in records if r.external is None]
    standard, kind = _standard(trained, first) if trained else (None, PLAIN)
    rows_of = [identity.row(r) for r in records]
    names = _names(records, rows_of)

    grouped: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for r, which in zip(records, rows_of, strict=True):
        grouped[names[which, r.spec.label], which].append(r)

    def apart(group: list[Record]) -> Apart | None:
        return FOREIGN if standard is None or group[0].external is not None else _difference(standard, kind, group)

    def rank(key: tuple[str, str]) -> tuple[bool, bool, int, bool, bool, str, str]:
        group = grouped[key]
        place = list(compare).index(group[0].spec.label) if compare else 0
        regularized = bool(group[0].spec.method.regularizers)
        foreign = group[0].external is not None
        return (foreign, bool(apart(group)), place, key[0] != REFERENCE, regularized, *key)

    rows, replaced = [], []
    for i, key in enumerate(sorted(grouped, key=rank)):
        row, gone = _row(i, key[0], grouped[key], apart(grouped[key]))
        rows.append(row)
        replaced += gone
    ranked = [r for r in rows if r.runs and not r.apart]
    reference = next(iter([r for r in ranked if r.label == first] or ranked), None)
    return Setting(index, tuple(rows), reference, _between(replaced, [run for r in ranked for run in r.runs]))


def _names(records: Sequence[Record], rows_of: Sequence[str]) -> dict[tuple[str, str], str]:
    """Return the label of each row by its identity: networks from outside of one name are told apart by theirs."""
    rows = {(which, r.spec.label): r for r, which in zip(records, rows_of, strict=True)}
    times = Counter(label for (_, label), r in rows.items() if r.external is not None)
    return {
        key: f"{key[1]}@{content_id('network', r.external.facts)[:8]}"
        if r.external is not None and times[key[1]] > 1
        else key[1]
        for key, r in rows.items()
    }


def _standard(records: list[Record], first: str) -> tuple[Record, BudgetClass]:
    """Return a run with the comparison's budget, and its class: what most runs had; a tie goes to the reference's."""
    terms = {r.run_id: identity.terms(r) for r in records}
    counts, examples = Counter(terms.values()), {terms[r.run_id]: r for r in records}
    preferred = {terms[r.run_id] for r in records if r.spec.label == first}
    most = max(counts, key=lambda t: (counts[t], t in preferred, examples[t].trained.budget.images or 0))
    standard = examples[most]
    # Likewise the class: a teacher's training or a second stage beside equal images is another budget.
    classes = Counter(r.ledger.budget_class for r in records if r.ledger and terms[r.run_id] == most)
    return standard, max(classes, key=lambda c: (classes[c], c == PLAIN), default=PLAIN)


def _between(replaced: Sequence[Replaced], runs: Sequence[Record]) -> Between:
    """Return what stands between the ranked runs of a setting besides their methods."""
    before = {text for run in runs for text in run.unscoped}
    topologies = {t for run in runs if (t := identity.topology(run)) is not None}
    return Between(
        replaced=tuple(replaced),
        versions=versions(runs),
        unscoped=sum(bool(run.unscoped) for run in runs),
        equal_bits=before <= source.equal_bits(),
        mixed=mixture([run.provenance for run in runs]),
        topologies=tuple(sorted(topologies)) if len(topologies) > 1 else (),
    )


def versions(runs: Sequence[Record]) -> tuple[str, ...]:
    """Return the modules that numbers depend on and that differ between runs; "lcrbench" alone for a whole version.

    Two runs differ in a module that both depend on, by its hash; runs from before scopes in the whole of the code, unless
    it is one of the versions that are known to give the present bits.
    """
    hashes: dict[str, set[str]] = defaultdict(set)
    whole: set[str] = set()
    for run in runs:
        whole |= {text for text in run.unscoped if text not in source.equal_bits()}
        for scope in run.sources:
            for module, code in scope.modules.items():
                hashes[module].add(code)
    if len(whole) > 1 or (whole and hashes):
        return ("lcrbench",)
    return tuple(module for module, codes in sorted(hashes.items()) if len(codes) > 1)


def mixture(made: Sequence[Provenance]) -> dict[str, tuple[str, ...]]:
    """Return in which devices, versions of torch or kinds of processor these runs differ, each with its values."""
    found: dict[str, set[str]] = defaultdict(set)
    for provenance in made:
        for name, value in identity.machine(provenance).items():
            found[name].add(value)
    return {name: tuple(sorted(values)) for name, values in found.items() if len(values) > 1}


def _row(index: int, label: str, records: list[Record], apart: Apart | None) -> tuple[Row, list[Replaced]]:
    replaced = []
    finished: dict[int, Record] = {}
    for r in sorted(records, key=lambda r: (r.spec.seed, r.provenance.created, r.run_id)):
        if r.status != "finished":
            continue
        if r.spec.seed in finished:
            replaced.append(Replaced(label, r.spec.seed, finished[r.spec.seed].run_id, r.run_id))
        finished[r.spec.seed] = r
    runs = tuple(finished[s] for s in sorted(finished))
    failed = tuple(sorted((r for r in records if r.status == "failed"), key=lambda r: r.spec.seed))
    values: dict[Key, list[Measurement]] = defaultdict(list)
    for r in runs:
        for m in r.measurements:
            values[Key.of(m)].append(m)
        for key, m in _derived(r):
            values[key].append(m)
    infos = {key.metric: ERROR for key in values if key.metric == COMMON_ERROR.metric}
    infos |= {name: info for r in runs for name, info in r.metrics.items()}
    return Row(index, label, runs, failed, apart, dict(values), infos), replaced


def _derived(record: Record) -> list[tuple[Key, Measurement]]:
    """Return the mean errors that the record does not hold itself, from its accuracies, without an interval."""
    have = {m.corruption for m in record.measurements if m.metric == "corruption_error"}
    cells: dict[str, list[Measurement]] = defaultdict(list)
    for m in record.measurements:
        if m.metric == "accuracy" and m.corruption and m.severity and m.statistic == "mean":
            cells[m.corruption].append(m)
    if not cells:
        return []
    wanted = {name: (name,) for name in cells} | GROUPS | {"common": COMMON}
    found = []
    for name, members in wanted.items():
        present = [c for c in members if c in cells]
        if name in have or not present:
            continue
        value = float(np.mean([1 - np.mean([m.value for m in cells[c]]) for c in present]))
        key = Key("corruption_error", corruption=name)
        n = cells[present[0]][0].n
        found.append((key, Measurement(metric=key.metric, value=value, n=n, corruption=name, radius=None)))
    return found


def _difference(standard: Record, kind: BudgetClass, records: list[Record]) -> Apart | None:
    """Return the fields in which the budget of a row differs from that of `standard`; None if in none.

    Under equal images a budget of another class than `kind` is another budget; under equal compute and equal seconds all
    that a class adds is charged.
    """
    ours, theirs = identity.budget(standard), identity.budget(records[0])
    names = identity.compared(standard, records[0])
    fields = tuple((name, theirs[name], ours[name]) for name in names if ours[name] != theirs[name])
    other = next((r.ledger.budget_class for r in records if r.ledger), kind)
    counts = standard.trained.budget.unit in ("images", "epochs") and other != kind
    return Apart(fields, (other, kind) if counts else None) if fields or counts else None
