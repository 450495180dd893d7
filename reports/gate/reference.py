"""The file that a gate compares with: each seed's value of every endpoint, which `update` alone writes, with a reason."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field, ValidationError

from lcrbench import untrusted
from lcrbench.bench.records.budget import Frozen
from lcrbench.bench.records.files import replace_file
from lcrbench.bench.records.measurement import Scale
from lcrbench.bench.records.record import Record
from lcrbench.bench.records.store import Store
from lcrbench.errors import UserError, unknown
from lcrbench.reports import identity
from lcrbench.reports.comparison import Row, read
from lcrbench.reports.gate.endpoints import FRACTIONS, endpoints, unequal
from lcrbench.untrusted import json_of, small_file

F = TypeVar("F", bound=Frozen)
REFERENCE_VERSION = 1


class MethodReference(Frozen):
    """What the reference holds of one method: its identity, and each seed's value of every endpoint."""

    identity: dict[str, Any]
    values: dict[str, dict[int, float]]
    better: dict[str, bool]
    units: dict[str, str] = Field(default={}, description="unit of each endpoint, or of a metric")
    scales: dict[str, Scale] = Field(
        default={}, description="scale of each endpoint; empty in references of before schema 5"
    )
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


def load(path: Path) -> Reference:
    """Read a reference; raises `UserError` that names the file if it is missing, damaged or of a newer version."""
    found = load_as(path, Reference, REFERENCE_VERSION, "reference", "lcrbench reference update")
    try:
        methods = {
            name: held.model_copy(update={"identity": identity.gated_before(name, held.identity)})
            for name, held in found.methods.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise UserError(
            f"{path} is not a reference that lcrbench wrote ({type(error).__name__} in an identity)"
        ) from error
    scaled = {
        n: held if held.scales else held.model_copy(update={"scales": _scales(held)}) for n, held in methods.items()
    }
    return found.model_copy(update={"methods": scaled})


def _scales(held: MethodReference) -> dict[str, Scale]:
    """Return which endpoints are shares in a reference that has units alone, or only those of metrics."""

    def share(endpoint: str) -> bool:
        unit = held.units.get(endpoint, held.units.get(endpoint.partition(":")[0], ""))
        return endpoint in FRACTIONS or unit == "fraction" or unit.startswith("fraction of")

    return {endpoint: Scale.SHARE if share(endpoint) else Scale.REAL for endpoint in held.values}


def load_as(path: Path, model: type[F], version: int, what: str, writer: str) -> F:
    """Read a versioned JSON file that the command `writer` wrote; raises `UserError` as `load` does."""
    try:
        data = json_of(small_file(path, "reference"), str(path))
    except UserError as error:
        raise UserError(f"{error}: name a file that `{writer}` wrote") from error
    try:
        if untrusted.whole(data["version"], f"the version in {path}") > version:
            raise UserError(f"{path} is of version {data['version']}, newer than {version}")
        return model.model_validate(data)
    except (ValidationError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} is not a {what} that lcrbench wrote ({type(error).__name__})") from error


def rows(store: Store) -> list[Row]:
    """Return the rows of a store; a run that cannot be read ends the check, because it might be the bad one."""
    compared = read(store)
    if compared.unreadable:
        raise UserError(compared.unreadable[0])
    return [row for setting in compared.settings for row in setting.rows]


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
    for row in rows(store):
        by_label.setdefault(row.label, []).extend(row.runs)
    for name in methods or ():
        if name not in by_label:
            raise unknown("method in this store", name, by_label)
    created, commits = "", set()
    for name in methods or sorted(by_label):
        records = by_label[name]
        if not records:
            continue
        first = identity.gated(records[0])
        for record in records[1:]:
            differing = unequal(first, identity.gated(record))
            if differing:
                raise UserError(
                    f"runs {records[0].run_id} and {record.run_id} of '{name}' differ in {', '.join(differing)}"
                )
        values: dict[str, dict[int, float]] = {}
        better: dict[str, bool] = {}
        units: dict[str, str] = {}
        scales: dict[str, Scale] = {}
        for record in records:
            for name_of, e in endpoints(record).items():
                values.setdefault(name_of, {})[record.spec.seed] = e.value
                better[name_of], units[name_of], scales[name_of] = e.better, e.unit, e.scale
            created = max(created, record.provenance.created)
            commits.add(record.provenance.commit)
        kept[name] = MethodReference(
            identity=first,
            values=values,
            better=better,
            units=units,
            scales=scales,
            runs={r.spec.seed: r.run_id for r in records},
            written={r.spec.seed: r.provenance.created for r in records},
        )
    if not kept:
        raise UserError(f"there is no finished run in {store.root}")
    commit = commits.pop() if len(commits) == 1 else None
    new = Reference(history=(*history, Update(reason=reason.strip(), commit=commit, created=created)), methods=kept)
    replace_file(path, (new.model_dump_json(indent=1) + "\n").encode())
    return new
