"""The file that a gate compares with: each seed's value of every endpoint, and what a candidate must show.

`update` alone writes it, with a reason; a checksum over all that it states tells an edited or damaged file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field, ValidationError

from lcrbench import untrusted
from lcrbench.bench.records.budget import Frozen
from lcrbench.bench.records.files import replace_file
from lcrbench.bench.records.ids import canonical
from lcrbench.bench.records.measurement import Scale
from lcrbench.bench.records.record import Record
from lcrbench.bench.records.store import Store
from lcrbench.errors import UserError, unknown
from lcrbench.reports import identity
from lcrbench.reports.comparison import Row, read
from lcrbench.reports.gate import by_image, margins
from lcrbench.reports.gate.by_image import NetworkReference
from lcrbench.reports.gate.endpoints import DEFAULT_ENDPOINT, FRACTIONS, endpoints, unequal
from lcrbench.untrusted import json_of, small_file

F = TypeVar("F", bound=Frozen)
REFERENCE_VERSION = 2


class Gate(Frozen):
    """What a candidate is held to: how much worse an endpoint may be, by which seeds, and whether seeds pair."""

    endpoint: str
    margin: float = Field(description="in points where the endpoint is a share, else in its unit")
    seeds: tuple[int, ...] = Field(description="that a candidate must have")
    paired: bool = Field(False, description="whether candidate and reference are compared seed by seed")


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
    weights: dict[int, str] = Field(default={}, description="sha256 of each seed's trained weights")
    options: dict[str, str] = Field(default={}, description="options of each metric, as JSON")
    gate: Gate | None = Field(default=None, description="None in references of version 1")


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
    networks: dict[str, NetworkReference] = Field({}, description="from outside, compared by image")
    sha256: str = Field("", description="of all the rest; empty in references of version 1")

    @property
    def checksum(self) -> str:
        """Return the sha256 of everything that the reference states."""
        # A reference without networks from outside has the checksum that it had before there were any.
        left_out = {"sha256"} if self.networks else {"sha256", "networks"}
        return hashlib.sha256(canonical(self.model_dump(mode="json", exclude=left_out)).encode()).hexdigest()


def load(path: Path) -> Reference:
    """Read a reference; raises `UserError` that names the file if it is missing, damaged, edited or of a newer version."""
    found = load_as(path, Reference, REFERENCE_VERSION, "reference", "lcrbench reference update")
    if found.version >= 2 and found.sha256 != found.checksum:
        raise UserError(
            f"{path} is not as `lcrbench reference update` wrote it: its checksum does not match; "
            "restore the file, or write it anew with a reason"
        )
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


def by_name(found: Sequence[Row]) -> tuple[dict[str, list[Record]], dict[str, list[Record]]]:
    """Return the finished and failed runs of each method, and of each network from outside, by their names."""
    methods: dict[str, list[Record]] = {}
    foreign: dict[str, list[Record]] = {}
    for row in found:
        into, label = (foreign, row.any.spec.label) if row.any.external is not None else (methods, row.label)
        into.setdefault(label, []).extend((*row.runs, *row.failed))
    return methods, foreign


def update(
    path: Path,
    store: Store,
    reason: str,
    *,
    methods: Sequence[str] | None = None,
    endpoint: str = DEFAULT_ENDPOINT,
    margin: float | None = None,
    seeds: Sequence[int] | None = None,
    paired: bool = False,
    anyway: bool = False,
) -> Reference:
    """Write a reference from a store's finished runs, keeping the history of reasons; the only writer there is.

    A network from outside is held by its answers to each image (`by_image`).

    `margin` is how much worse the endpoint may be, in points where it is a share; without one it is the least that
    unchanged code passes 95 % of the time (`margins.least`). `seeds` are those that a candidate must have: the reference's
    own without it. `paired` declares that a candidate's seed is compared with the reference's same seed.

    Methods that are not named keep what they had. Raises `UserError` without a reason, with an unknown method or endpoint,
    where runs of one method were made under different budgets, data or evaluations or share a seed, and for a margin that
    unchanged code would not pass 95 % of the time, unless `anyway`.
    """
    if not reason.strip():
        raise UserError("a new reference needs its reason: say what changed, and why that is right")
    kept: dict[str, MethodReference] = {}
    history: tuple[Update, ...] = ()
    if path.exists():
        old = load(path)
        kept, history = dict(old.methods), old.history
    by_label, foreign = by_name(rows(store))
    by_label = {name: [r for r in found if r.status == "finished"] for name, found in by_label.items()}
    for name in methods or ():
        if name not in by_label and name not in foreign:
            raise unknown("method in this store", name, {**by_label, **foreign})
    networks = dict(old.networks) if path.exists() else {}
    for name in methods or sorted(foreign):
        if name in foreign:
            networks[name] = by_image.held(store, foreign.pop(name), endpoint, margin)
    methods = None if methods is None else [name for name in methods if name in by_label]
    named = [name for name in (sorted(by_label) if methods is None else methods) if by_label[name]]
    for name in named:
        held = _method(name, by_label[name])
        if endpoint not in held.values:
            raise unknown(f"endpoint of '{name}' in this store", endpoint, held.values)
        must = tuple(sorted(dict.fromkeys(seeds))) if seeds else tuple(sorted(held.runs))
        if paired and (missing := [s for s in must if s not in held.runs]):
            raise UserError(f"'{name}' has no run of seed {missing[0]} to pair with: train it, or leave --paired out")
        values = list(held.values[endpoint].values())
        chosen = margins.choose(name, values, held.scales[endpoint], margin, len(must), paired=paired, anyway=anyway)
        gate = Gate(endpoint=endpoint, margin=chosen, seeds=must, paired=paired)
        kept[name] = held.model_copy(update={"gate": gate})
    if not kept and not networks:
        raise UserError(f"there is no finished run in {store.root}")
    written = [r for name in named for r in by_label[name]]
    commits = {r.provenance.commit for r in written}
    created = [r.provenance.created for r in written] + [one.written for one in networks.values()]
    why = Update(
        reason=reason.strip(),
        commit=commits.pop() if len(commits) == 1 else None,
        created=max(created, default=""),
    )
    new = Reference(history=(*history, why), methods=kept, networks=networks)
    new = new.model_copy(update={"sha256": new.checksum})
    replace_file(path, (new.model_dump_json(indent=1) + "\n").encode())
    return new


def _method(name: str, records: Sequence[Record]) -> MethodReference:
    """Return what the reference holds of a method's finished runs."""
    first = identity.gated(records[0])
    runs: dict[int, str] = {}
    found: dict[str, dict[int, Any]] = {}
    for record in records:
        differing = unequal(first, identity.gated(record))
        if differing:
            raise UserError(
                f"runs {records[0].run_id} and {record.run_id} of '{name}' differ in {', '.join(differing)}"
            )
        if other := runs.get(record.spec.seed):
            raise UserError(f"runs {other} and {record.run_id} of '{name}' are of one seed, {record.spec.seed}")
        runs[record.spec.seed] = record.run_id
        for endpoint, e in endpoints(record).items():
            found.setdefault(endpoint, {})[record.spec.seed] = e
    measured = {name: None for record in records for name in record.spec.metrics}
    last = {endpoint: list(each.values())[-1] for endpoint, each in found.items()}
    return MethodReference(
        identity=first,
        values={endpoint: {seed: e.value for seed, e in each.items()} for endpoint, each in found.items()},
        better={endpoint: e.better for endpoint, e in last.items()},
        units={endpoint: e.unit for endpoint, e in last.items()},
        scales={endpoint: e.scale for endpoint, e in last.items()},
        runs=runs,
        written={r.spec.seed: r.provenance.created for r in records},
        weights={r.spec.seed: r.weights_sha256 for r in records if r.weights_sha256},
        options={metric: identity.searched(records[0], [metric]) for metric in measured},
    )
