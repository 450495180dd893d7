"""Differences between methods: two questions with two units, never one answered with the other.

*Is the method better?* Its unit is the training seed: Welch's interval over seeds, p-values with Holm's correction over
the methods of one family. A shared seed is not assumed to pair two methods.

*Are these trained networks different on these images?* Its unit is the base image, and the outcomes are paired: an
image's corrupted copies are averaged first, because they are not independent; then Student's t over images. With several
seeds, an image's difference is also averaged over the seeds that both methods have.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize
from scipy import stats as distributions

from lcrbench.bench import stats
from lcrbench.bench.records.store import Store
from lcrbench.bench.stats import Interval
from lcrbench.errors import UserError
from lcrbench.reports.comparison import CLEAN, COMMON, COMMON_ERROR, Key, Row, Setting

POWER = 0.8
ALPHA = 1 - stats.LEVEL
ROUNDING = 1e-12
"""Differences of shares of outcomes up to this are those of sums in another order."""
# Reading a run's bits takes several milliseconds, so of a very large store only as many are read; the seeds answer the
# question about methods there.
MAX_OUTCOME_RUNS = 300

Endpoint = Literal["common", "clean"]
"""What is tested: mean accuracy over the common corruptions, or clean accuracy."""


class Difference(NamedTuple):
    """Method minus reference in an accuracy (a fraction): over seeds, over images, or both where both exist."""

    row: Row
    reference: Row
    endpoint: Endpoint
    seeds: Interval | None
    images: Interval | None
    p: float | None
    """Of the question about methods if any pair of the family has seeds for it, else of that about these networks."""
    unit: str
    holm: float | None
    detectable: float | None

    @property
    def interval(self) -> Interval | None:
        """Return the interval that answers the question that `unit` names."""
        return self.seeds if self.unit == "seeds" else self.images


def welch(x: ArrayLike, y: ArrayLike) -> tuple[Interval, float] | None:
    """Return mean(x) - mean(y) with Welch's interval and its two-sided p; None with fewer than two values a side.

    >>> interval, p = welch([3.0, 5.0], [1.0, 2.0])
    >>> interval.value, interval.n
    (2.5, 4)
    """
    a, b = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if min(a.size, b.size) < 2:
        return None
    difference = float(a.mean() - b.mean())
    if np.ptp(a) == 0 == np.ptp(b):
        return Interval(difference, None, None, a.size + b.size, ""), float("nan")
    with warnings.catch_warnings():
        # Where one side's values are all alike its variance is 0, and that is right.
        warnings.filterwarnings("ignore", "Precision loss", RuntimeWarning)
        result = distributions.ttest_ind(a, b, equal_var=False)
    ci = result.confidence_interval(stats.LEVEL)
    how = f"Welch over seeds 95 %, {a.size} against {b.size}"
    return Interval(difference, float(ci.low), float(ci.high), a.size + b.size, how), float(result.pvalue)


def paired(x: ArrayLike, y: ArrayLike) -> tuple[Interval, float]:
    """Return the mean of the paired differences x - y, one an image, with Student's t interval and its two-sided p."""
    d = np.asarray(x, np.float64) - np.asarray(y, np.float64)
    d[np.abs(d) < ROUNDING] = 0  # an image that both get right equally often
    interval = stats.mean(d, "base images")
    if d.size < 2:
        return interval, float("nan")
    if np.ptp(d) == 0:
        return interval, 1.0 if d.mean() == 0 else 0.0
    return interval, float(distributions.ttest_1samp(d, 0.0).pvalue)


def holm(p: Sequence[float]) -> list[float]:
    """Return Holm's step-down adjusted p-values, in the order given.

    >>> [round(x, 3) for x in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    adjusted, worst = [0.0] * len(p), 0.0
    for rank, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        worst = max(worst, min(1.0, (len(p) - rank) * p[i]))
        adjusted[i] = worst
    return adjusted


def detectable_between(x: ArrayLike, y: ArrayLike) -> float | None:
    """Return the difference of means that a two-sample t test at alpha .05 finds with power .8, given the spread seen.

    With equal n and spread sigma it is 3.1 sigma for 3 seeds a side, 2.0 for 5 and 1.3 for 10.
    """
    a, b = np.asarray(x, np.float64), np.asarray(y, np.float64)
    df = a.size + b.size - 2
    if min(a.size, b.size) < 2:
        return None
    pooled = float(np.sqrt(((a.size - 1) * a.var(ddof=1) + (b.size - 1) * b.var(ddof=1)) / df))
    return pooled * float(np.sqrt(1 / a.size + 1 / b.size)) * noncentrality(df)


def detectable_paired(d: ArrayLike) -> float | None:
    """Return the mean difference that a paired t test at alpha .05 finds with power .8, given the spread seen."""
    x = np.asarray(d, np.float64)
    if x.size < 2:
        return None
    return float(x.std(ddof=1)) / float(np.sqrt(x.size)) * noncentrality(x.size - 1)


@cache
def noncentrality(df: int) -> float:
    """Return the noncentrality at which a two-sided t test with `df` degrees of freedom has power .8 at alpha .05."""
    # The square of a noncentral t is a noncentral F, whose one tail is both tails of t; scipy's nct loses the far one.
    critical = distributions.f.ppf(1 - ALPHA, 1, df)

    def lack(nc: float) -> float:
        return float(distributions.ncf.sf(critical, 1, df, nc**2)) - POWER

    return float(optimize.brentq(lack, 0.1, 60.0, xtol=1e-6))


class Outcomes:
    """Reads outcomes, each run once, and gives per base image the share of cells that a network got right."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.problems: list[str] = []
        self._seen: dict[tuple[str, Endpoint, int], NDArray[np.float64] | None] = {}

    def per_image(self, run_id: str, endpoint: Endpoint, severity: int = 0) -> NDArray[np.float64] | None:
        """Return an array (N,) in [0, 1]: the outcome on clean images, or the mean over the common corruptions of the run.

        `severity` restricts "common" to one of them; 0 stands for all. None where the run has no outcomes.
        """
        if (run_id, "clean", 0) not in self._seen:
            try:
                bits = self.store.outcomes(run_id)
            except UserError as error:
                self.problems.append(str(error).replace(str(self.store.root) + "/", ""))
                bits = {}
            self._seen[run_id, "clean", 0] = None
            members: dict[int, list[NDArray[np.bool_]]] = {}
            for cell, right in bits.items():
                if not cell.corruption:
                    self._seen[run_id, "clean", 0] = right.astype(np.float64)
                elif cell.corruption in COMMON:
                    members.setdefault(0, []).append(right)
                    members.setdefault(cell.severity, []).append(right)
            for at, arrays in members.items():
                self._seen[run_id, "common", at] = np.mean(arrays, axis=0)
        return self._seen.get((run_id, endpoint, severity))

    def over_seeds(self, rows: Iterable[Row], endpoint: Endpoint) -> list[NDArray[np.float64]] | None:
        """Return one array (N,) a row, averaged over the seeds that all rows have; None if that is not possible."""
        rows = list(rows)
        shared = set.intersection(*(set(r.seeds) for r in rows))
        result = []
        for row in rows:
            found = [self.per_image(r.run_id, endpoint) for r in row.runs if r.spec.seed in shared]
            arrays = [a for a in found if a is not None]
            if not arrays or len(arrays) != len(found):
                return None
            result.append(np.mean(arrays, axis=0))
        return result if len({r.shape for r in result}) == 1 else None


ENDPOINTS: dict[Endpoint, Key] = {"common": COMMON_ERROR, "clean": CLEAN}


def differences(
    setting: Setting, outcomes: Outcomes | None, pairs: Sequence[tuple[Row, Row]], endpoint: Endpoint
) -> list[Difference]:
    """Return (method - reference) in an accuracy for every pair, Holm's correction running over the pairs tested.

    `endpoint` is "common" (mean accuracy over the common corruptions, the primary one) or "clean".
    """
    key = ENDPOINTS[endpoint]
    sign = -1.0 if key.metric == "corruption_error" else 1.0
    found: list[Difference] = []
    p: float | None
    for row, reference in pairs:
        x, y = (sign * np.array(r.per_seed(key)) for r in (row, reference))
        seeds = welch(x, y)
        images, p_images, detectable = None, None, None
        arrays = outcomes.over_seeds((row, reference), endpoint) if outcomes else None
        if arrays is not None:
            images, p_images = paired(*arrays)
            detectable = detectable_paired(arrays[0] - arrays[1])
        if seeds is not None:
            unit, p, detectable = "seeds", seeds[1], detectable_between(x, y)
        else:
            unit, p = "images", p_images
        found.append(Difference(row, reference, endpoint, seeds and seeds[0], images, p, unit, None, detectable))
    if any(d.unit == "seeds" for d in found):
        # One family asks one question: what only one trained network a side can answer has no p-value beside the others.
        found = [d if d.unit == "seeds" else d._replace(p=None) for d in found]
    tested = [i for i, d in enumerate(found) if d.p is not None and not np.isnan(d.p)]
    for i, adjusted in zip(tested, holm([found[i].p or 0.0 for i in tested]), strict=True):
        found[i] = found[i]._replace(holm=adjusted)
    return found


def against_reference(setting: Setting) -> list[tuple[Row, Row]]:
    """Return every ranked row paired with the setting's reference."""
    if setting.reference is None or setting.reference.aside:
        return []
    return [(r, setting.reference) for r in setting.ranked if r is not setting.reference]


def against_base(setting: Setting) -> list[tuple[Row, Row]]:
    """Return every ranked row with a regularizer, paired with the row of the same method without any."""
    pairs = []
    for row in setting.ranked:
        if row.regularizers:
            pairs += [(row, b) for b in setting.ranked if not b.regularizers and b.base == row.base]
    return pairs
