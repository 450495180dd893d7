"""The decision: is a candidate no worse than the reference, method by method?

Where every seed's weights and value are the reference's to the bit, the answer needs no statistics. Otherwise the seeds'
values are compared: pair by pair if the reference declares that, else by Welch's bounds (`bounds`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from lcrbench.bench.records.measurement import Scale
from lcrbench.bench.records.record import Record
from lcrbench.bench.records.store import Store
from lcrbench.errors import UserError, unknown
from lcrbench.reports import identity
from lcrbench.reports.gate import by_image, margins
from lcrbench.reports.gate.bounds import Outcome, non_inferiority, seeds_to_decide
from lcrbench.reports.gate.by_image import NetworkReference
from lcrbench.reports.gate.endpoints import DEFAULT_ENDPOINT, endpoints, metric_of, unequal
from lcrbench.reports.gate.reference import Gate, MethodReference, Reference, by_name, rows

EXIT_CODES: dict[Outcome, int] = {"pass": 0, "regression": 1, "not comparable": 2, "inconclusive": 3, "not gated": 0}

DECIDED = frozenset(EXIT_CODES) - {"not gated"}

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


def check(
    candidate: Store,
    against: Reference,
    *,
    methods: Sequence[str] | None = None,
    endpoint: str | None = None,
    margin: float | None = None,
    commit: str | None = None,
    stale: Callable[[Record], str] | None = None,
) -> list[Verdict]:
    """Compare every method of the reference (or those named) with the candidate's runs.

    `endpoint` and `margin` are the reference's own unless given; a margin is in points where the endpoint is a share, else
    in its own unit. A method that only the candidate has is named, with the outcome "not gated". A candidate is stale, and
    not comparable, if its runs are the reference's own; if `stale` gives a reason why a run is not what the present code
    would make (`records.source.stale`); with `commit` if it was made from another commit or from a tree with changes.
    Raises `UserError` for an unknown method or endpoint, and for a margin that is missing or not allowed (`margins`).
    """
    for name in methods or ():
        if name not in against.methods and name not in against.networks:
            raise unknown("method in the reference", name, {**against.methods, **against.networks})
    records, foreign = by_name(rows(candidate))
    verdicts = []
    for name in methods or [*against.methods, *against.networks]:
        if name in against.networks:
            verdicts.append(_by_image(name, candidate, foreign.get(name, []), against.networks[name], endpoint, margin))
            continue
        held = against.methods[name]
        gate, notes = _gate(name, held, endpoint, margin)
        verdicts.append(_check_one(name, records.get(name, []), held, gate, notes, commit, stale))
    if not methods:
        verdicts += [
            Verdict(name, "", "not gated", "the reference has no such method", 0.0, "", n_candidate=len(found))
            for name, found in {**records, **foreign}.items()
            if name not in against.methods and name not in against.networks
        ]
    return verdicts


def _by_image(
    name: str, store: Store, records: list[Record], held: NetworkReference, endpoint: str | None, margin: float | None
) -> Verdict:
    asked, chosen = endpoint or held.endpoint, held.margin if margin is None else margin
    found = by_image.compare(store, records, held, asked, chosen)
    notes = [] if chosen == held.margin else [f"the margin is not the reference's, which is {held.margin:g}"]
    if found.improved:
        notes.append("better than the reference by more than the margin: write a new reference, with its reason")
    numbers = (found.candidate, found.reference, found.difference, found.low, found.high, found.images)
    return Verdict(
        name,
        asked,
        found.outcome,
        found.reason,
        chosen,
        "points",
        *numbers,
        n_reference=len(held.images[asked].right),
        improved=found.improved,
        notes=(*notes, "compared image by image: about these two networks, not about trainings"),
    )


def _gate(name: str, held: MethodReference, endpoint: str | None, margin: float | None) -> tuple[Gate, list[str]]:
    """Return what a method is held to, with what is to be said of a margin that is not the reference's."""
    own = held.gate
    asked = endpoint or (own.endpoint if own else DEFAULT_ENDPOINT)
    if asked not in held.values:
        raise unknown(f"endpoint in the reference of '{name}'", asked, held.values)
    stated = own.margin if own and own.endpoint == asked else None
    if margin is None and stated is None:
        raise UserError(f"the reference states no margin for {asked} of '{name}': give --margin")
    chosen = stated if margin is None else margin
    values, scale = list(held.values[asked].values()), held.scales[asked]
    assert chosen is not None
    margins.checked(chosen, values, scale)
    seeds, paired = (own.seeds, own.paired) if own else ((), False)
    notes = []
    if own is None:
        notes.append("the reference is of version 1 and names no seeds that a candidate must have: write it anew")
    if stated is not None and chosen != stated:
        notes.append(f"the margin is not the reference's, which is {stated:g}")
    if chosen != stated:
        power = margins.of(values, scale, chosen, len(seeds) or len(values), paired=paired)
        if power is not None and not power.enough:
            notes.append(power.text(chosen))
    return Gate(endpoint=asked, margin=chosen, seeds=seeds, paired=paired), notes


def _check_one(
    name: str,
    records: list[Record],
    held: MethodReference,
    gate: Gate,
    notes: list[str],
    commit: str | None,
    stale: Callable[[Record], str] | None,
) -> Verdict:
    endpoint, margin = gate.endpoint, gate.margin
    fraction = held.scales[endpoint] is Scale.SHARE
    unit = "points" if fraction else ""
    finished = [r for r in records if r.status == "finished"]
    m = len(held.values[endpoint])

    def verdict(outcome: Outcome, reason: str, *more: object, **rest: object) -> Verdict:
        numbers = {"n_candidate": len(finished), "n_reference": m, "notes": tuple(notes), **rest}
        return Verdict(name, endpoint, outcome, reason, margin, unit, *more, **numbers)  # type: ignore[arg-type]

    if why := _incomparable(records, held, gate):
        return verdict("not comparable", why)
    if why := _stale(finished, held, commit, stale):
        return verdict("not comparable", f"the candidate is stale: {why}")
    values = {r.spec.seed: endpoints(r)[endpoint].value for r in finished}
    theirs = held.values[endpoint]
    same = [r.spec.seed for r in finished if _same_weights(r, held)]
    equal = [seed for seed in same if values[seed] == theirs.get(seed)]
    scale = 100.0 if fraction else 1.0
    sign = 1.0 if held.better[endpoint] else -1.0
    means = float(np.mean(list(values.values()))) * scale, float(np.mean(list(theirs.values()))) * scale
    if len(equal) == len(values):
        return verdict("pass", "identical: the weights and values of every seed are the reference's", *means)
    if len(same) > len(equal):
        notes.append(f"{len(same) - len(equal)} of {len(values)} seeds have the reference's weights and other values")
    elif same:
        notes.append(f"{len(same)} of {len(values)} seeds are identical to the reference's")
    if min(len(values), m) < MIN_SEEDS:
        few = f"{len(values)} candidate and {m} reference seeds: at least {MIN_SEEDS} a side are needed"
        return verdict("not comparable", few)
    if gate.paired and (lacking := sorted(set(values) - set(theirs))):
        return verdict("not comparable", f"seed {lacking[0]} is not in the reference, which declares pairs of seeds")
    x = [sign * scale * v for v in values.values()]
    y = [sign * scale * v for v in ([theirs[seed] for seed in values] if gate.paired else theirs.values())]
    outcome, difference, low, high = non_inferiority(x, y, margin, paired=gate.paired)
    more = seeds_to_decide(x, y, margin, paired=gate.paired) if outcome == "inconclusive" else None
    if m < GOOD_REFERENCE:
        notes.append(f"the reference has {m} seeds: {GOOD_REFERENCE} or more are advised")
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
    return verdict(outcome, said, *means, difference=difference, low=low, high=high, improved=improved, more_seeds=more)


def _incomparable(records: list[Record], held: MethodReference, gate: Gate) -> str:
    """Return why the runs of a method cannot be compared with the reference; "" if they can."""
    if not records:
        return "the candidate has no run of this method"
    failed = [r for r in records if r.status == "failed"]
    if failed:
        why = failed[0].failure
        said = f" ({why.reason}: {why.message})" if why else ""
        return f"{len(failed)} of {len(records)} candidate runs failed{said}"
    seen: dict[int, str] = {}
    metric = metric_of(gate.endpoint)
    for record in records:
        if differing := unequal(held.identity, identity.gated(record)):
            return f"run {record.run_id} differs from the reference in {', '.join(differing)}"
        seed = record.spec.seed
        if seed in seen:
            return f"seed {seed} is there twice (runs {seen[seed]} and {record.run_id}): leave one in the store"
        seen[seed] = record.run_id
        if gate.endpoint not in endpoints(record):
            return f"seed {seed} did not measure {gate.endpoint}"
        ours = identity.searched(record, [metric])
        if metric in held.options and held.options[metric] != ours:
            return f"run {record.run_id} measured {metric} with {ours}, the reference with {held.options[metric]}"
    if set(gate.seeds) - set(seen):
        return f"expected seeds {seeds_text(gate.seeds)}, found {seeds_text(list(seen))}"
    return ""


def _same_weights(record: Record, held: MethodReference) -> bool:
    return bool(record.weights_sha256) and held.weights.get(record.spec.seed) == record.weights_sha256


def seeds_text(seeds: Sequence[int]) -> str:
    """Return seeds in order, runs of three or more as a range.

    >>> seeds_text([4, 0, 1, 2, 9])
    '0-2, 4, 9'
    """
    spans: list[list[int]] = []
    for seed in sorted(seeds):
        if spans and seed == spans[-1][-1] + 1:
            spans[-1].append(seed)
        else:
            spans.append([seed])
    return ", ".join(f"{s[0]}-{s[-1]}" if len(s) > 2 else ", ".join(map(str, s)) for s in spans)


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
    """Return the exit code of a whole check: a regression anywhere, else what could not be compared, else the undecided.

    A check that compared nothing is not comparable.
    """
    codes = {v.exit_code for v in verdicts if v.outcome in DECIDED}
    return next((c for c in (1, 2, 3) if c in codes), 0 if codes else 2)
