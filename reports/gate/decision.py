"""The decision: non-inferiority of a candidate to a reference over training seeds, method by method."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from scipy import stats as distributions

from lcrbench.bench.records.measurement import Scale
from lcrbench.bench.records.record import Record
from lcrbench.bench.records.store import Store
from lcrbench.errors import UserError, unknown
from lcrbench.reports import identity
from lcrbench.reports.gate.endpoints import DEFAULT_ENDPOINT, endpoints, unequal
from lcrbench.reports.gate.reference import MethodReference, Reference, rows

Outcome = Literal["pass", "regression", "not comparable", "inconclusive"]
EXIT_CODES: dict[Outcome, int] = {"pass": 0, "regression": 1, "not comparable": 2, "inconclusive": 3}

ALPHA = 0.05
MIN_SEEDS = 2
GOOD_REFERENCE = 10


@dataclass(frozen=True)
class Verdict:
    """What the gate says about one method: values and bounds are in points where the endpoint is a fraction."""

    method: str
    endpoint: str
    outcome: Outcome
    reason: str
    margin: float
    unit: str = "points"
    candidate: float | None = None
    reference: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    n_candidate: int = 0
    n_reference: int = 0
    improved: bool = False
    more_seeds: int | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def exit_code(self) -> int:
        """Return the exit code of this verdict alone."""
        return EXIT_CODES[self.outcome]


def non_inferiority(
    candidate: Sequence[float], reference: Sequence[float], margin: float, *, alpha: float = ALPHA
) -> tuple[Outcome, float, float, float]:
    """Return the outcome with the difference and its one-sided 1 - alpha bounds, higher values being better.

    >>> non_inferiority([70.1, 70.3, 69.9], [70.0, 70.2, 70.1, 69.8], margin=1.0)[0]
    'pass'
    """
    x, y = np.asarray(candidate, np.float64), np.asarray(reference, np.float64)
    difference = float(x.mean() - y.mean())
    half = _half(x, y, alpha)
    low, high = difference - half, difference + half
    outcome: Outcome = "pass" if low > -margin else "regression" if high < -margin else "inconclusive"
    return outcome, difference, low, high


def _half(x: Any, y: Any, alpha: float, extra: int = 0) -> float:
    """Return the half width of Welch's interval, were there `extra` more candidate seeds of the same spread."""
    n, m = x.size + extra, y.size
    vx, vy = x.var(ddof=1) / n, y.var(ddof=1) / m
    if vx + vy == 0:
        return 0.0
    df = (vx + vy) ** 2 / (vx**2 / (n - 1) + vy**2 / (m - 1))
    return float(distributions.t.ppf(1 - alpha, df) * np.sqrt(vx + vy))


def seeds_to_decide(candidate: Sequence[float], reference: Sequence[float], margin: float) -> int | None:
    """Return how many more candidate seeds would decide, were difference and spread to stay; None if a hundred would not."""
    x, y = np.asarray(candidate, np.float64), np.asarray(reference, np.float64)
    distance = abs(float(x.mean() - y.mean()) + margin)
    return next((k for k in range(1, 101) if _half(x, y, ALPHA, k) < distance), None)


def check(
    candidate: Store,
    against: Reference,
    *,
    methods: Sequence[str] | None = None,
    endpoint: str = DEFAULT_ENDPOINT,
    margin: float = 1.0,
    commit: str | None = None,
    stale: Callable[[Record], str] | None = None,
) -> list[Verdict]:
    """Compare every method of the reference (or those named) with the candidate's runs.

    `margin` is in points where the endpoint is a fraction, else in its own unit. A candidate is stale, and not comparable,
    if its runs are the reference's own; if `stale` gives a reason why a run is not what the present code would make
    (`records.source.stale`); with `commit` if it was made from another commit or from a tree with changes. Raises
    `UserError` for an unknown method or endpoint, or a margin that is not positive.
    """
    if not margin > 0:
        raise UserError(f"the margin must be above 0 (got {margin:g})")
    for name in methods or ():
        if name not in against.methods:
            raise unknown("method in the reference", name, against.methods)
    records: dict[str, list[Record]] = {}
    for row in rows(candidate):
        records.setdefault(row.label, []).extend((*row.runs, *row.failed))
    chosen = methods or list(against.methods)
    return [
        _check_one(name, records.get(name, []), against.methods[name], endpoint, margin, commit, stale)
        for name in chosen
    ]


def _check_one(
    name: str,
    records: list[Record],
    held: MethodReference,
    endpoint: str,
    margin: float,
    commit: str | None,
    stale: Callable[[Record], str] | None,
) -> Verdict:
    if endpoint not in held.values:
        raise unknown(f"endpoint in the reference of '{name}'", endpoint, held.values)
    fraction = held.scales[endpoint] is Scale.SHARE
    unit = "points" if fraction else ""
    finished = [r for r in records if r.status == "finished"]
    failed = [r for r in records if r.status == "failed"]

    def refuse(reason: str) -> Verdict:
        return Verdict(
            name,
            endpoint,
            "not comparable",
            reason,
            margin,
            unit,
            n_candidate=len(finished),
            n_reference=len(held.values[endpoint]),
        )

    if not records:
        return refuse("the candidate has no run of this method")
    if failed:
        why = failed[0].failure
        return refuse(
            f"{len(failed)} of {len(records)} candidate runs failed"
            + (f" ({why.reason}: {why.message})" if why else "")
        )
    for record in finished:
        differing = unequal(held.identity, identity.gated(record))
        if differing:
            return refuse(f"run {record.run_id} differs from the reference in {', '.join(differing)}")
    if why_stale := _stale(finished, held, commit, stale):
        return refuse(f"the candidate is stale: {why_stale}")
    values = {r.spec.seed: e.value for r in finished if (e := endpoints(r).get(endpoint)) is not None}
    missing = [r.spec.seed for r in finished if r.spec.seed not in values]
    if missing:
        return refuse(f"seed {missing[0]} did not measure {endpoint}")
    n, m = len(values), len(held.values[endpoint])
    if min(n, m) < MIN_SEEDS:
        return refuse(f"{n} candidate and {m} reference seeds: at least {MIN_SEEDS} a side are needed")
    scale = 100.0 if fraction else 1.0
    sign = 1.0 if held.better[endpoint] else -1.0
    x = [sign * scale * v for v in values.values()]
    y = [sign * scale * v for v in held.values[endpoint].values()]
    outcome, difference, low, high = non_inferiority(x, y, margin)
    more = seeds_to_decide(x, y, margin) if outcome == "inconclusive" else None
    notes = []
    if m < GOOD_REFERENCE or m < 2 * n:
        notes.append(f"the reference has {m} seeds: {max(GOOD_REFERENCE, 2 * n)} or more are advised")
    improved = low > margin
    if improved:
        notes.append("better than the reference by more than the margin: write a new reference, with its reason")
    said = {
        "pass": f"not worse by {margin:g} {unit} or more".replace("  ", " "),
        "regression": f"worse by more than {margin:g} {unit}".rstrip(),
        "inconclusive": f"run {more} more seeds"
        if more
        else "a hundred more seeds would not decide: the difference is at the margin",
    }[outcome]
    return Verdict(
        name,
        endpoint,
        outcome,
        said,
        margin,
        unit,
        float(np.mean(x)) * sign,
        float(np.mean(y)) * sign,
        difference,
        low,
        high,
        n,
        m,
        improved,
        more,
        tuple(notes),
    )


def _stale(
    finished: list[Record], held: MethodReference, commit: str | None, stale: Callable[[Record], str] | None
) -> str:
    for r in finished:
        if held.runs.get(r.spec.seed) == r.run_id and held.written.get(r.spec.seed) == r.provenance.created:
            return f"run {r.run_id} is the reference's own"
        if stale is not None and (why := stale(r)):
            return f"run {r.run_id} was made by a different version of the code: {why}"
        if commit is not None and r.provenance.commit != commit:
            return f"run {r.run_id} was made from commit {(r.provenance.commit or 'unknown')[:12]}, not {commit[:12]}"
        if commit is not None and r.provenance.dirty:
            return f"run {r.run_id} was made from a tree with uncommitted changes"
    return ""


def exit_code(verdicts: Sequence[Verdict]) -> int:
    """Return the exit code of a whole check: a regression anywhere, else what could not be compared, else the undecided."""
    codes = {v.exit_code for v in verdicts}
    return next((c for c in (1, 2, 3) if c in codes), 0 if verdicts else 2)
