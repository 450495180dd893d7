"""The regression gate: is a candidate's robustness no worse than a reference's, up to a margin?

One-sided non-inferiority over training seeds. With d = mean(candidate) - mean(reference), oriented by the metric's
direction so that positive is better, and Welch's one-sided 95 % bounds on it:

    lower bound > -margin: pass;    upper bound < -margin: regression;    otherwise: inconclusive, run more seeds.

Runs are compared only under equal budgets, data, evaluation, corruption source and schema. A reference is a file of each
seed's value, which `update` alone writes, with a reason; ten seeds or more, at least twice the candidate's.

Simulated with a spread of .35 points over seeds, a margin of 1 point, 10 reference and 5 candidate seeds: without a drop
99.8 % of runs pass, with a drop of 2 points 99.8 % fail (tests/reports/test_gate.py).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar
from xml.etree import ElementTree

import numpy as np
from pydantic import Field, ValidationError
from scipy import stats as distributions

from lcrbench.bench.records.budget import Frozen
from lcrbench.bench.records.record import Record
from lcrbench.bench.records.store import Store
from lcrbench.errors import UserError, unknown
from lcrbench.reports.comparison import CLEAN, COMMON_ERROR, Key, Row, read

F = TypeVar("F", bound=Frozen)
Outcome = Literal["pass", "regression", "not comparable", "inconclusive"]
EXIT_CODES: dict[Outcome, int] = {"pass": 0, "regression": 1, "not comparable": 2, "inconclusive": 3}

ALPHA = 0.05
MIN_SEEDS = 2
GOOD_REFERENCE = 10
DEFAULT_ENDPOINT = "corruption_accuracy"
REFERENCE_VERSION = 1


class MethodReference(Frozen):
    """What the reference holds of one method: its identity, and each seed's value of every endpoint."""

    identity: dict[str, Any]
    values: dict[str, dict[int, float]]
    better: dict[str, bool]
    units: dict[str, str] = Field(default={}, description="unit of each endpoint, or of a metric")
    runs: dict[int, str] = Field(default={}, description="run id of each seed")
    written: dict[int, str] = Field(default={}, description="when each seed's record was written")


class Update(Frozen):
    """One change of a reference: when its newest record was written, from which commit, and why."""

    reason: str
    commit: str | None
    created: str


class Reference(Frozen):
    """The file that a gate compares with."""

    version: int = REFERENCE_VERSION
    history: tuple[Update, ...]
    methods: dict[str, MethodReference]


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
    source: str | None = None,
) -> list[Verdict]:
    """Compare every method of the reference (or those named) with the candidate's runs.

    `margin` is in points where the endpoint is a fraction, else in its own unit. A candidate is stale, and not comparable,
    if its runs are the reference's own; with `source` (the hash of the source that numbers depend on, as records hold it)
    if it was made by other source; with `commit` if it was made from another commit or from a tree with changes.
    Raises `UserError` for an unknown method or endpoint, or a margin that is not positive.
    """
    if not margin > 0:
        raise UserError(f"the margin must be above 0 (got {margin:g})")
    for name in methods or ():
        if name not in against.methods:
            raise unknown("method in the reference", name, against.methods)
    records: dict[str, list[Record]] = {}
    for row in _rows(candidate):
        records.setdefault(row.label, []).extend((*row.runs, *row.failed))
    chosen = methods or list(against.methods)
    return [
        _check_one(name, records.get(name, []), against.methods[name], endpoint, margin, commit, source)
        for name in chosen
    ]


def _rows(store: Store) -> list[Row]:
    """Return the rows of a store; a run that cannot be read ends the check, because it might be the bad one."""
    compared = read(store)
    if compared.unreadable:
        raise UserError(compared.unreadable[0])
    return [row for setting in compared.settings for row in setting.rows]


def _check_one(
    name: str,
    records: list[Record],
    held: MethodReference,
    endpoint: str,
    margin: float,
    commit: str | None,
    source: str | None,
) -> Verdict:
    if endpoint not in held.values:
        raise unknown(f"endpoint in the reference of '{name}'", endpoint, held.values)
    fraction = _is_fraction(endpoint, held)
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
        differing = unequal(held.identity, identity(record))
        if differing:
            return refuse(f"run {record.run_id} differs from the reference in {', '.join(differing)}")
    stale = _stale(finished, held, commit, source)
    if stale:
        return refuse(f"the candidate is stale: {stale}")
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


def _stale(finished: list[Record], held: MethodReference, commit: str | None, source: str | None) -> str:
    for r in finished:
        if held.runs.get(r.spec.seed) == r.run_id and held.written.get(r.spec.seed) == r.provenance.created:
            return f"run {r.run_id} is the reference's own"
        if source is not None and r.provenance.source != source:
            return (
                f"run {r.run_id} was made by other source ({r.provenance.source[:12] or 'unknown'}, not {source[:12]})"
            )
        if commit is not None and r.provenance.commit != commit:
            return f"run {r.run_id} was made from commit {(r.provenance.commit or 'unknown')[:12]}, not {commit[:12]}"
        if commit is not None and r.provenance.dirty:
            return f"run {r.run_id} was made from a tree with uncommitted changes"
    return ""


def _is_fraction(endpoint: str, held: MethodReference) -> bool:
    # References of earlier versions have the unit of the metric.
    unit = held.units.get(endpoint, held.units.get(endpoint.partition(":")[0], ""))
    return endpoint in (DEFAULT_ENDPOINT, "clean_accuracy") or unit == "fraction" or unit.startswith("fraction of")


def exit_code(verdicts: Sequence[Verdict]) -> int:
    """Return the exit code of a whole check: a regression anywhere, else what could not be compared, else the undecided."""
    codes = {v.exit_code for v in verdicts}
    return next((c for c in (1, 2, 3) if c in codes), 0 if verdicts else 2)


def identity(record: Record) -> dict[str, Any]:
    """Return everything that must be equal before two runs of a method may be compared, apart from the seed."""
    spec = record.spec.model_dump(mode="json")
    return {
        "schema": record.schema_version,
        "data": spec["data"],
        "backbone": spec["backbone"],
        "method": spec["method"],
        "budget": spec["budget"],
        "recipe": spec["recipe"],
        "evaluation": spec["evaluation"],
        "corruption source": record.provenance.model_dump(mode="json")["corruptions"],
    }


def unequal(held: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    """Name the fields in which two identities differ, the inner ones with their outer one before a point."""
    found = []
    for name in held:
        a, b = held[name], ours.get(name)
        if a == b:
            continue
        if isinstance(a, dict) and isinstance(b, dict):
            found += [
                f"{name}.{k} ({_short(a.get(k))} there, {_short(b.get(k))} here)"
                for k in sorted({*a, *b})
                if a.get(k) != b.get(k)
            ]
        else:
            found.append(f"{name} ({_short(a)} there, {_short(b)} here)")
    return found


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."


class Endpoint(NamedTuple):
    """One number of a record that a gate may compare; `better`: whether higher is."""

    value: float
    better: bool
    unit: str


def endpoints(record: Record) -> dict[str, Endpoint]:
    """Return what a record offers to compare, by name.

    `corruption_accuracy` (1 - mean corruption error over the common corruptions) and `clean_accuracy` come first; any other
    metric with a direction is named `metric[:corruption][:severity][:norm[-radius in 1/255 pixel units]][:statistic]`.
    """
    found: dict[str, Endpoint] = {}
    for m in record.measurements:
        key = Key.of(m)
        if key == COMMON_ERROR:
            found[DEFAULT_ENDPOINT] = Endpoint(1 - m.value, True, "fraction")
        elif key == CLEAN:
            found["clean_accuracy"] = Endpoint(m.value, True, "fraction")
    for m in record.measurements:
        info = record.metrics.get(m.metric)
        kind = info.kind(m.statistic) if info else None
        if kind is None or kind.higher_is_better is None or m.layer:
            continue
        ball = m.norm if m.radius is None else f"{m.norm}-{m.radius * 255:g}"
        parts = [m.metric, m.corruption, str(m.severity or ""), ball, "" if m.statistic == "mean" else m.statistic]
        name = ":".join(p for p in parts if p)
        found[name] = Endpoint(m.value, kind.higher_is_better, kind.unit)
    return found


def load(path: Path) -> Reference:
    """Read a reference; raises `UserError` that names the file if it is missing, damaged or of a newer version."""
    return load_as(path, Reference, REFERENCE_VERSION, "reference", "lcrbench reference update")


def load_as(path: Path, model: type[F], version: int, what: str, writer: str) -> F:
    """Read a versioned JSON file that the command `writer` wrote; raises `UserError` as `load` does."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data["version"] > version:
            raise UserError(f"{path} is of version {data['version']}, newer than {version}")
        return model.model_validate(data)
    except OSError as error:
        raise UserError(
            f"cannot read the reference {path} ({error.strerror}): name a file that `{writer}` wrote"
        ) from error
    except (ValidationError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} is not a {what} that lcrbench wrote ({type(error).__name__})") from error


def update(path: Path, store: Store, reason: str, *, methods: Sequence[str] | None = None) -> Reference:
    """Write a reference from a store's finished runs, keeping the history of reasons; the only writer there is.

    Methods that are not named keep what they had. Raises `UserError` without a reason, with an unknown method, or where runs
    of one method were made under different budgets, data or evaluations.
    """
    if not reason.strip():
        raise UserError("a new reference needs its reason: say what changed, and why that is right")
    kept: dict[str, MethodReference] = {}
    history: tuple[Update, ...] = ()
    if path.exists():
        old = load(path)
        kept, history = dict(old.methods), old.history
    by_label: dict[str, list[Record]] = {}
    for row in _rows(store):
        by_label.setdefault(row.label, []).extend(row.runs)
    for name in methods or ():
        if name not in by_label:
            raise unknown("method in this store", name, by_label)
    created, commits = "", set()
    for name in methods or sorted(by_label):
        records = by_label[name]
        if not records:
            continue
        first = identity(records[0])
        for record in records[1:]:
            differing = unequal(first, identity(record))
            if differing:
                raise UserError(
                    f"runs {records[0].run_id} and {record.run_id} of '{name}' differ in {', '.join(differing)}"
                )
        values: dict[str, dict[int, float]] = {}
        better: dict[str, bool] = {}
        units: dict[str, str] = {}
        for record in records:
            for name_of, e in endpoints(record).items():
                values.setdefault(name_of, {})[record.spec.seed] = e.value
                better[name_of], units[name_of] = e.better, e.unit
            created = max(created, record.provenance.created)
            commits.add(record.provenance.commit)
        kept[name] = MethodReference(
            identity=first,
            values=values,
            better=better,
            units=units,
            runs={r.spec.seed: r.run_id for r in records},
            written={r.spec.seed: r.provenance.created for r in records},
        )
    if not kept:
        raise UserError(f"there is no finished run in {store.root}")
    commit = commits.pop() if len(commits) == 1 else None
    new = Reference(history=(*history, Update(reason=reason.strip(), commit=commit, created=created)), methods=kept)
    save(path, new.model_dump_json(indent=1) + "\n")
    return new


def save(path: Path, content: str) -> None:
    """Write a file of the gate's whole or not at all; raises `UserError` where it cannot be written."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(content, encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error


def text(verdicts: Sequence[Verdict]) -> str:
    """Return the verdicts for a terminal, a line each."""
    lines = []
    for v in verdicts:
        numbers = ""
        if v.difference is not None and v.low is not None and v.high is not None:
            numbers = f"  {v.difference:+.2f} [{v.low:+.2f}, {v.high:+.2f}] {v.unit}"
            numbers += f", n={v.n_candidate} against {v.n_reference}"
        lines.append(f"{v.outcome.upper():14} {v.method}: {v.endpoint}{numbers}: {v.reason}")
        lines += [f"{'':15}{note}" for note in v.notes]
    return "\n".join(lines) + "\n"


def as_json(verdicts: Sequence[Verdict]) -> str:
    """Return the verdicts as JSON, with the exit code."""
    return json.dumps({"exit_code": exit_code(verdicts), "verdicts": [asdict(v) for v in verdicts]}, indent=1) + "\n"


def as_markdown(verdicts: Sequence[Verdict]) -> str:
    """Return the verdicts as a Markdown table, for a pull request."""
    from lcrbench.reports.writers import escape_markdown

    lines = [
        "| Method | Endpoint | Candidate | Reference | Difference, one-sided 95 % bounds | Verdict |",
        "|:--|:--|--:|--:|:--|:--|",
    ]
    for v in verdicts:
        numbers = ["–", "–", "–"]
        if v.difference is not None:
            numbers = [
                f"{v.candidate:.2f} (n={v.n_candidate})",
                f"{v.reference:.2f} (n={v.n_reference})",
                f"{v.difference:+.2f} [{v.low:+.2f}, {v.high:+.2f}] {v.unit}",
            ]
        said = escape_markdown("; ".join([v.reason, *v.notes]))
        cells = [escape_markdown(v.method), escape_markdown(v.endpoint), *numbers, f"**{v.outcome}**: {said}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def as_junit(verdicts: Sequence[Verdict]) -> str:
    """Return JUnit XML: a regression is a failure, what cannot be compared an error, the undecided skipped."""
    tags = {"regression": "failure", "not comparable": "error", "inconclusive": "skipped"}
    counts = {tag: sum(1 for v in verdicts if tags.get(v.outcome) == tag) for tag in ("failure", "error", "skipped")}
    suite = ElementTree.Element(
        "testsuite",
        name="lcrbench check",
        tests=str(len(verdicts)),
        failures=str(counts["failure"]),
        errors=str(counts["error"]),
        skipped=str(counts["skipped"]),
    )
    for v in verdicts:
        case = ElementTree.SubElement(suite, "testcase", classname=f"lcrbench.{v.endpoint}", name=_xml(v.method))
        if v.outcome in tags:
            ElementTree.SubElement(case, tags[v.outcome], message=_xml(v.reason)).text = _xml(text([v]))
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(suite, encoding="unicode") + "\n"


def _xml(value: str) -> str:
    """Return text without the control characters that XML cannot hold."""
    return "".join(c for c in value if c in "\n\t" or ord(c) >= 32)
