"""From a store to what a report compares: settings, the methods within each, and one number with its interval a cell.

A *setting* is what must be equal before two numbers may stand in one column: data, backbone and evaluation. Within it,
a *row* is a method under one budget with its training seeds. Rows under another budget than the reference's are shown
and never ranked or tested; runs that failed keep their place and say why.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lcrbench.bench import stats
from lcrbench.bench.records.budget import Budget, Recipe
from lcrbench.bench.records.record import Ledger, Measurement, MetricInfo, Record
from lcrbench.bench.records.store import Store
from lcrbench.bench.stats import Interval
from lcrbench.errors import UserError, unknown
from lcrbench.reports.words import plain, short_name

# Hendrycks & Dietterich (2019): fifteen common corruptions in four groups, and four extra ones kept apart.
GROUPS = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    "weather": ("snow", "frost", "fog", "brightness"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
    "extra": ("speckle_noise", "gaussian_blur", "spatter", "saturate"),
}
COMMON = tuple(name for group, names in GROUPS.items() if group != "extra" for name in names)
PLAIN = Ledger.model_fields["budget_class"].default
REFERENCE = "full_precision"
# More lines than this in one panel are a tangle, and more columns than that no table; the files hold all.
MOST, MOST_COLUMNS = 8, 16


class Key(NamedTuple):
    """What a measurement is of: all of its fields but the number."""

    metric: str
    statistic: str = "mean"
    corruption: str = ""
    severity: int = 0
    norm: str = ""
    radius: float | None = None
    layer: str = ""

    @classmethod
    def of(cls, m: Measurement) -> Key:
        """Return what a measurement is of."""
        return cls(m.metric, m.statistic, m.corruption, m.severity, m.norm, m.radius, m.layer)


OPEN = ("lipschitz_kappa", "lipschitz_flip_radius")
"""Metrics whose quantiles over images (q5, q50, q95) may be infinite, and are then not recorded."""

CLEAN = Key("accuracy")
COMMON_ERROR = Key("corruption_error", corruption="common")


@dataclass(frozen=True)
class Row:
    """A method under one budget: its finished runs by seed, its failed ones, and why it stands aside, if it does."""

    index: int
    label: str
    runs: tuple[Record, ...]
    failed: tuple[Record, ...] = ()
    aside: str = ""
    values: dict[Key, list[Measurement]] = field(default_factory=dict)
    _estimates: dict[Key, Interval | None] = field(default_factory=dict, compare=False, repr=False)

    @property
    def any(self) -> Record:
        """Return one record of the row: what all of its runs share can be read there."""
        return (*self.runs, *self.failed)[0]

    @property
    def seeds(self) -> list[int]:
        """Return the seeds of the finished runs."""
        return [r.spec.seed for r in self.runs]

    @property
    def bits(self) -> str:
        """Return weight and activation bits of the method's layers, "W/A", as audited; "" if no record describes a network.

        Bits are a claim that the audit of every run must have proved: without one they are "not audited", and where one
        found faults "audit failed".
        """
        models = [r.model for r in self.runs if r.model]
        if not models:
            return ""
        if not any(m.binary_weights for m in models):
            return "32/32"
        if not all(m.audit for m in models):
            return "not audited"
        if not all(m.audit and m.audit.passed for m in models):
            return "audit failed"
        return ", ".join(sorted({f"{m.weight_bits}/{m.activation_bits}" for m in models}))

    @property
    def binary(self) -> bool:
        """Tell whether the deployed network has weights of one bit, as its audit proved."""
        return self.bits.startswith("1/")

    def per_seed(self, key: Key) -> list[float]:
        """Return the values of one cell, one a finished run that measured it, in the order of the seeds."""
        return [m.value for m in self.values.get(key, ())]

    def measured(self, key: Key) -> int:
        """Return how many networks an open quantile was sought in: records leave it out where it is infinite; else 0."""
        if key.metric not in OPEN or not key.statistic.startswith("q"):
            return 0
        # What every search of the same ball, or of the norm for a flip radius, records of a network.
        searched = [
            len(found)
            for k, found in self.values.items()
            if (k.metric, k.statistic, k.norm) == ("lipschitz_kappa", "flipped", key.norm)
            and key.radius in (None, k.radius)
        ]
        return max(searched, default=0)

    def estimate(self, key: Key) -> Interval | None:
        """Return the cell's number: with several seeds the mean over seeds, else the run's own interval over images.

        Where an open quantile is infinite in some seeds: their median, without an interval; None if that is infinite.
        """
        if key not in self._estimates:  # a table and several figures ask for the same cells
            self._estimates[key] = self._estimate(key)
        return self._estimates[key]

    def _estimate(self, key: Key) -> Interval | None:
        found = self.values.get(key)
        if not found:
            return None
        if censored := max(0, self.measured(key) - len(found)):
            # A mean over the seeds that have the quantile would leave out the very seeds where it is largest.
            middle = float(np.median([m.value for m in found] + [math.inf] * censored))
            n = len(found) + censored
            how = f"median over seeds, {censored} of them beyond every finite value"
            return Interval(middle, None, None, n, how) if math.isfinite(middle) else None
        if len(found) > 1:
            return within(stats.mean([m.value for m in found], "seeds"), key)
        m = found[0]
        return Interval(m.value, m.low, m.high, m.n, m.interval)


@dataclass(frozen=True)
class Setting:
    """One data set, backbone and evaluation, with the rows that may be compared there."""

    index: int
    rows: tuple[Row, ...]
    reference: Row | None
    notes: tuple[str, ...] = ()

    @property
    def any(self) -> Record:
        """Return one record of the setting: what all of its runs share can be read there."""
        return (self.reference or self.rows[0]).any

    @property
    def title(self) -> str:
        """Return the setting in a few words."""
        spec = self.any.spec
        return f"{short_name(spec.data.name)}, {spec.backbone}"

    @property
    def corruptions(self) -> list[str]:
        """Return the corruptions that were run, in the published order, unknown ones last."""
        names = self.any.spec.evaluation.corruptions
        order = [*COMMON, *GROUPS["extra"]]
        return sorted(names, key=lambda c: (order.index(c) if c in order else len(order), c))

    @property
    def severities(self) -> tuple[int, ...]:
        """Return the severities that were run."""
        return self.any.spec.evaluation.severities

    @property
    def ranked(self) -> list[Row]:
        """Return the rows that may be compared: finished, and under the reference's budget."""
        return [r for r in self.rows if r.runs and not r.aside]

    @property
    def metrics(self) -> dict[str, MetricInfo]:
        """Return what the records say about every metric that was measured."""
        return {name: info for row in self.rows for run in row.runs for name, info in run.metrics.items()}

    def keys(self, metric: str) -> list[Key]:
        """Return all cells of a metric that any row has, sorted."""
        found = {k for row in self.rows for k in row.values if k.metric == metric}
        return sorted(found, key=lambda k: (k.corruption, k.severity, k.norm, k.radius or 0.0, k.layer, k.statistic))

    @property
    def unit(self) -> str:
        """Return the unit that the intervals rest on: "seeds" if any ranked row has several, else "images"."""
        return "seeds" if any(len(r.runs) > 1 for r in self.ranked) else "images"


@dataclass(frozen=True)
class Comparison:
    """Everything a report shows: its settings, and what could not be read."""

    settings: tuple[Setting, ...]
    unreadable: tuple[str, ...] = ()
    unfinished: int = 0

    @property
    def runs(self) -> list[Record]:
        """Return every run of the report, finished or failed."""
        return [r for s in self.settings for row in s.rows for r in (*row.runs, *row.failed)]

    @property
    def labels(self) -> list[str]:
        """Return the methods' labels, each once, in the order of the tables."""
        return list(dict.fromkeys(row.label for s in self.settings for row in s.rows))


def read(store: Store, *, compare: Sequence[str] | None = None, runs: Sequence[str] | None = None) -> Comparison:
    """Read a store into settings and rows; a damaged record is named in the result rather than ending the report.

    `compare` restricts to methods by label, in that order, the first being the reference; without it the reference is
    `full_precision` where it was run. `runs` restricts to run ids or unique prefixes of them.
    """
    ids = store.ids() if not runs else list(dict.fromkeys(store.find(r) for r in runs))
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
    grouped: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        grouped[_setting_key(record)].append(record)
    ordered = sorted(grouped.values(), key=lambda g: (-len(g), _setting_key(g[0])))
    settings = tuple(_setting(i, group, compare) for i, group in enumerate(ordered))
    return Comparison(settings, tuple(unreadable), _unfinished(store))


def _unfinished(store: Store) -> int:
    """Count the runs that were begun and are neither finished nor failed: drafts, and saves of an unfinished training."""
    hidden = [f for f in store.root.iterdir() if f.name.startswith(".") and f.is_dir()]
    drafts = {f.name.split(".")[1] for f in hidden if f.name.count(".") > 1}
    saved = {f.name.split(".")[0] for f in (store.root / ".unfinished").glob("[!.]*")}
    return len((drafts | saved) - set(store.ids()))


def within(interval: Interval, key: Key) -> Interval:
    """Return an interval over few seeds cut to where the quantity can lie: an accuracy between 0 and 1, a gain above 0."""
    if key.metric.startswith("lipschitz_") and key.metric != "lipschitz_slope" and interval.low is not None:
        return interval._replace(low=max(0.0, interval.low))
    fractions = (CLEAN.metric, COMMON_ERROR.metric, "calibration_error")
    if key.metric not in fractions or interval.low is None or interval.high is None:
        return interval
    return interval._replace(low=max(0.0, interval.low), high=min(1.0, interval.high))


def chosen(setting: Setting, most: int = MOST) -> list[Row]:
    """Return the rows that figures draw: all finished ones, or the reference and the most accurate if they are many."""
    rows = [r for r in setting.rows if r.runs]
    if len(rows) <= most:
        return rows

    def key(row: Row) -> tuple[bool, bool, float]:
        errors = row.per_seed(COMMON_ERROR) or [-a for a in row.per_seed(CLEAN)]
        return (row is not setting.reference, bool(row.aside), sum(errors) / len(errors) if errors else math.inf)

    best = {r.index for r in sorted(rows, key=key)[:most]}
    return [r for r in rows if r.index in best]


def _setting_key(record: Record) -> str:
    spec = record.spec
    return json.dumps([spec.data.model_dump(mode="json"), spec.backbone, spec.evaluation.model_dump(mode="json")])


def _setting(index: int, records: list[Record], compare: Sequence[str] | None) -> Setting:
    labels = {r.spec.label for r in records}
    if compare:
        first = next(c for c in compare if c in labels)
    else:
        first = REFERENCE if REFERENCE in labels else ""
    # The comparison's budget is the one most runs had; a tie goes to the reference's.
    counts = Counter((r.spec.budget, r.spec.recipe) for r in records)
    preferred = {(r.spec.budget, r.spec.recipe) for r in records if r.spec.label == first}
    terms = max(counts, key=lambda t: (counts[t], t in preferred, t[0].images or 0))
    # Likewise the class: a teacher's training or a second stage beside equal images is another budget.
    classes = Counter(r.ledger.budget_class for r in records if r.ledger and (r.spec.budget, r.spec.recipe) == terms)
    kind = max(classes, key=lambda c: (classes[c], c == PLAIN), default=PLAIN)

    grouped: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for r in records:
        told = (r.spec.method, r.spec.budget, r.spec.recipe)
        grouped[r.spec.label, "".join(t.model_dump_json() for t in told)].append(r)

    def rank(key: tuple[str, str]) -> tuple[bool, int, bool, bool, str, str]:
        group = grouped[key]
        place = list(compare).index(key[0]) if compare else 0
        regularized = bool(group[0].spec.method.regularizers)
        return (bool(_difference(terms, kind, group)), place, key[0] != REFERENCE, regularized, *key)

    rows, notes = [], []
    for i, key in enumerate(sorted(grouped, key=rank)):
        row, note = _row(i, key[0], grouped[key], _difference(terms, kind, grouped[key]))
        rows.append(row)
        notes += note
    ranked = [r for r in rows if r.runs and not r.aside]
    sources = {str(run.provenance.model_dump().get("source", "")) for r in ranked for run in r.runs}
    if len(sources) > 1:
        notes.append(
            f"The runs were made by {len(sources)} versions of the source that numbers depend on, so a difference between "
            "methods may be one between versions: see the environment, and run the older ones again."
        )
    topologies = {json.dumps(r.model.topology, sort_keys=True) for row in ranked for r in row.runs if r.model}
    if len(topologies) > 1:
        notes.append(
            "The networks differ in their topology, so a difference between methods may be one between topologies: "
            f"{'; '.join(sorted(topologies))}."
        )
    named = [r for r in ranked if r.label == first]
    reference = next(iter(named or ranked), None)
    return Setting(index, tuple(rows), reference, tuple(notes))


def _row(index: int, label: str, records: list[Record], aside: str) -> tuple[Row, list[str]]:
    notes = []
    finished: dict[int, Record] = {}
    for r in sorted(records, key=lambda r: (r.spec.seed, r.provenance.created, r.run_id)):
        if r.status != "finished":
            continue
        if r.spec.seed in finished:
            notes.append(
                f"{label}, seed {r.spec.seed}: run {finished[r.spec.seed].run_id} is left out, "
                f"the later run {r.run_id} stands for the seed"
            )
        finished[r.spec.seed] = r
    runs = tuple(finished[s] for s in sorted(finished))
    failed = tuple(sorted((r for r in records if r.status == "failed"), key=lambda r: r.spec.seed))
    values: dict[Key, list[Measurement]] = defaultdict(list)
    for r in runs:
        for m in r.measurements:
            values[Key.of(m)].append(m)
        for key, m in _derived(r):
            values[key].append(m)
    return Row(index, label, runs, failed, aside, dict(values)), notes


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


def _difference(terms: tuple[Budget, Recipe], kind: str, records: list[Record]) -> str:
    """Name the fields in which the budget of a row differs from the comparison's; empty if in none.

    Under equal images a budget of another class than `kind` is another budget; under equal compute and equal seconds all
    that a class adds is charged.
    """
    spec = records[0].spec
    ours, theirs = (b.model_dump() | r.model_dump() for b, r in (terms, (spec.budget, spec.recipe)))
    parts = [f"{f} {plain(theirs[f])} instead of {plain(ours[f])}" for f in ours if ours[f] != theirs[f]]
    other = next((r.ledger.budget_class for r in records if r.ledger), kind)
    if terms[0].unit in ("images", "epochs") and other != kind:
        parts.append(f"{other} instead of {kind}")
    return f"another budget: {', '.join(parts)}" if parts else ""


def group_of(corruption: str) -> str:
    """Return the group a corruption belongs to, "other" for one that no paper knows."""
    return next((g for g, names in GROUPS.items() if corruption in names), "other")


def flipped(i: Interval) -> Interval:
    """Return an accuracy's interval as that of the error, or back."""
    low = None if i.high is None else 1 - i.high
    return Interval(1 - i.value, low, None if i.low is None else 1 - i.low, i.n, i.how)


def errors_of(setting: Setting, rows: list[Row], cells: list[Key]) -> NDArray[np.float64] | None:
    """Return errors (cell, row) of the cells that all rows have; None if there are none."""
    lines = []
    for key in cells:
        found = [r.estimate(key) for r in rows]
        if all(found):
            lines.append([(1 - i.value) if key.metric == "accuracy" else i.value for i in found if i])
    return np.array(lines) if lines else None
