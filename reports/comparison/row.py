"""A method under one budget in a setting: its runs, and one number with its interval a cell."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from lcrbench.bench import stats
from lcrbench.bench.records.measurement import Measurement, MetricInfo, Scale
from lcrbench.bench.records.record import BudgetClass, Record
from lcrbench.bench.records.spec import MethodId
from lcrbench.bench.stats import Interval
from lcrbench.reports import colours, identity
from lcrbench.reports.colours import Style
from lcrbench.reports.comparison.keys import Key
from lcrbench.reports.words.budget import apart_text
from lcrbench.reports.words.names import method_name


class Apart(NamedTuple):
    """In what a row's budget differs from that of the comparison.

    `fields` are a field's name, the row's value and the comparison's; `classes` those of the row and of the comparison where
    they differ and nothing charges what a class adds. Of a network from outside (`foreign`) no budget is known.
    """

    fields: tuple[tuple[str, object, object], ...]
    classes: tuple[BudgetClass, BudgetClass] | None = None
    foreign: bool = False


@dataclass(frozen=True)
class Row:
    """A method under one budget: its finished runs by seed, its failed ones, and why it stands aside, if it does.

    `infos` says what each metric's numbers mean; `jumps` that a network without a record has signs.
    """

    index: int
    label: str
    runs: tuple[Record, ...]
    failed: tuple[Record, ...] = ()
    apart: Apart | None = None
    values: dict[Key, list[Measurement]] = field(default_factory=dict)
    infos: dict[str, MetricInfo] = field(default_factory=dict)
    jumps: bool = False
    styles: dict[str, Style] = field(default_factory=dict, compare=False, repr=False)
    """Of all methods of the report by their labels; a row of no report draws its own."""
    _estimates: dict[Key, Interval | None] = field(default_factory=dict, compare=False, repr=False)
    _per_seed: dict[Key, tuple[float, ...]] = field(default_factory=dict, compare=False, repr=False)
    _counts: dict[Key, list[tuple[int, int]]] = field(default_factory=dict, compare=False, repr=False)

    @property
    def aside(self) -> str:
        """Return why the row stands aside; empty if it does not."""
        return apart_text(self.apart) if self.apart else ""

    @property
    def any(self) -> Record:
        """Return one record of the row: what all of its runs share can be read there."""
        return (*self.runs, *self.failed)[0]

    @property
    def method(self) -> MethodId | None:
        """Return the method; None of a network that no record describes, or that was trained elsewhere."""
        return self.any.spec.method if (self.runs or self.failed) and self.any.external is None else None

    @property
    def foreign(self) -> bool:
        """Tell whether the network was trained elsewhere, under an unknown budget."""
        return self.apart is not None and self.apart.foreign

    @property
    def name(self) -> str:
        """Return what the field calls the method; `label` is how it is typed."""
        return method_name(self.method, self.label)

    @property
    def style(self) -> Style:
        """Return how the method is drawn in this report."""
        return self.styles.get(self.label) or colours.style(self.label, self.method)

    @property
    def regularizers(self) -> tuple[str, ...]:
        """Return the names of the method's regularizers."""
        return tuple(self.any.spec.method.regularizers)

    @property
    def base(self) -> tuple[str, Any]:
        """Return the method without its regularizers: its name and options."""
        return identity.base(self.any)

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
        models = [r.model for r in self.runs if r.model]
        proved = all(m.audit and m.audit.passed and m.weight_bits == 1 for m in models)
        return bool(models) and proved and any(m.binary_weights for m in models)

    @property
    def signs(self) -> bool:
        """Tell whether the networks have layers of signs, audited or not."""
        return self.jumps or any(r.model.binary_layers for r in self.runs if r.model)

    def lipschitz(self, metric: str) -> bool:
        """Tell whether a metric stands in the Lipschitz part of a report."""
        return metric in self.infos and self.infos[metric].lipschitz

    def per_seed(self, key: Key) -> list[float]:
        """Return the values of one cell, one a finished run that measured it, in the order of the seeds.

        Shares of equal counts are equal floats.
        """
        if key not in self._per_seed:  # a dozen tables and figures ask for the same cells, and a share takes long
            if self.scale(key) is Scale.SHARE and key in self.values:
                self._count()
            else:
                self._per_seed[key] = tuple(m.value for m in self.values.get(key, ()))
        return list(self._per_seed[key])

    def _count(self) -> None:
        """Work out the shares in all cells at once, which takes a fraction of the time."""
        keys = [k for k in self.values if self.scale(k) is Scale.SHARE]
        counts = iter(stats.counted([m.value for k in keys for m in self.values[k]]))
        for k in keys:
            self._counts[k] = list(itertools.islice(counts, len(self.values[k])))
            self._per_seed[k] = tuple(p / q for p, q in self._counts[k])

    def measured(self, key: Key) -> int:
        """Return how many networks an open quantile was sought in: records leave it out where it is infinite; else 0."""
        info = self.infos.get(key.metric)
        if info is None or key.statistic not in info.open:
            return 0

        def beside(k: Key) -> bool:
            """Tell whether the metric, or another one of the same search, records this of every network."""
            other = self.infos.get(k.metric)
            together = k.metric == key.metric or bool(other and other.searched and info.searched)
            return other is not None and together and k.statistic not in other.open

        # What is recorded in the same ball, or in any ball of the norm for a distance.
        where = (k for k in self.values if k.norm == key.norm and key.radius in (None, k.radius))
        return max((len(self.values[k]) for k in where if beside(k)), default=0)

    def scale(self, key: Key) -> Scale:
        """Return where a cell's number can lie."""
        info = self.infos.get(key.metric)
        return info.scale_of(key.statistic) if info else Scale.REAL

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
            i = within(stats.mean([m.value for m in found], "seeds"), self.scale(key))
            # Ranks and marks tie on equal counts: sums in another order differ in the last bit.
            if self.scale(key) is not Scale.SHARE:
                return i
            self.per_seed(key)
            return i._replace(value=stats.mean_share(self._counts[key]))
        m = found[0]
        return Interval(self.per_seed(key)[0], m.low, m.high, m.n, m.interval)


def within(interval: Interval, scale: Scale) -> Interval:
    """Return an interval over few seeds cut to where the quantity can lie: an accuracy between 0 and 1, a gain above 0."""
    if scale is Scale.REAL or interval.low is None or interval.high is None:
        return interval
    high = min(1.0, interval.high) if scale is Scale.SHARE else interval.high
    return interval._replace(low=max(0.0, interval.low), high=high)
