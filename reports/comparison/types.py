"""What a report compares: settings, each with the rows that may be compared there."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lcrbench.bench.records.measurement import MetricInfo
from lcrbench.bench.records.record import Record
from lcrbench.bench.records.spec import MethodId
from lcrbench.bench.stats import Interval
from lcrbench.reports.comparison.keys import CLEAN, COMMON, COMMON_ERROR, GROUPS, Key
from lcrbench.reports.comparison.row import Row
from lcrbench.reports.words.budget import between_notes

# More lines than this in one panel are a tangle, and more columns than that no table; the files hold all.
MOST, MOST_COLUMNS = 8, 16


class Replaced(NamedTuple):
    """A run that is left out because a later one stands for its seed."""

    label: str
    seed: int
    run_id: str
    later: str


@dataclass(frozen=True)
class Between:
    """What stands between the runs of a setting besides their methods; empty where they are alike.

    `versions` are the modules whose code differs, "lcrbench" alone where it is that of a whole version; `unscoped` runs are
    from before scopes, and `equal_bits` tells whether their versions give the present bits; `mixed` are the kinds of machine
    that differ, each with its values; `topologies` the networks' options as text.
    """

    replaced: tuple[Replaced, ...] = ()
    versions: tuple[str, ...] = ()
    unscoped: int = 0
    equal_bits: bool = True
    mixed: dict[str, tuple[str, ...]] = field(default_factory=dict)
    topologies: tuple[str, ...] = ()


@dataclass(frozen=True)
class Setting:
    """One data set, backbone and evaluation, with the rows that may be compared there."""

    index: int
    rows: tuple[Row, ...]
    reference: Row | None
    between: Between = field(default_factory=Between)
    distinct: str = ""
    """What tells the setting from others of this data set and backbone: "400 test images"."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Return what a reader must be told of the runs, in sentences."""
        return between_notes(self.between)

    @property
    def any(self) -> Record:
        """Return one record of the setting: what all of its runs share can be read there."""
        return (self.reference or self.rows[0]).any

    @property
    def any_or_none(self) -> Record | None:
        """Return `any`; None where no record describes a network."""
        row = self.reference or next(iter(self.rows), None)
        return row.any if row is not None and (row.runs or row.failed) else None

    @property
    def title(self) -> str:
        """Return the setting in a few words."""
        spec = self.any.spec
        kind = "networks from outside" if self.any.external else spec.backbone
        return ", ".join(part for part in (spec.data.name, kind, self.distinct) if part)

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

    @cached_property  # of hundreds of rows each asks whether it is among these
    def ranked(self) -> list[Row]:
        """Return the rows that may be compared: finished, and under the reference's budget."""
        return [r for r in self.rows if r.runs and not r.aside]

    @cached_property
    def pool(self) -> list[Row]:
        """Return the rows that marks rank: the binary networks where there are at least two, else all."""
        binary = [r for r in self.ranked if r.binary]
        return binary if len(binary) >= 2 else self.ranked

    @property
    def digits(self) -> int:
        """Return how many digits a percentage deserves: two from 10,000 test images on."""
        return 2 if self.any.spec.data.test >= 10_000 else 1

    @property
    def metrics(self) -> dict[str, MetricInfo]:
        """Return what the records say about every metric that was measured."""
        return {name: info for row in self.rows for run in row.runs for name, info in run.metrics.items()}

    def keys(self, metric: str) -> list[Key]:
        """Return all cells of a metric that any row has, sorted."""
        found = {k for row in self.rows for k in row.values if k.metric == metric}
        return sorted(found, key=lambda k: k.order)

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
    def label_of(self) -> dict[str, str]:
        """Return the label of each run's row, by the run's id."""
        rows = [row for s in self.settings for row in s.rows]
        return {run.run_id: row.label for row in rows for run in (*row.runs, *row.failed)}

    @property
    def methods(self) -> dict[str, MethodId | None]:
        """Return the methods by their labels, in the order of the tables."""
        return {row.label: row.method for s in self.settings for row in s.rows}

    @property
    def labels(self) -> list[str]:
        """Return the methods' labels, each once, in the order of the tables."""
        return list(self.methods)


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
