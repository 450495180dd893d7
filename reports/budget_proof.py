"""Whether the methods of a setting were given the same budget: the ledgers of their runs, compared field by field."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from lcrbench.bench.records.budget import Unit
from lcrbench.bench.records.record import BudgetClass, Ledger
from lcrbench.bench.records.spec import RecipeOf
from lcrbench.reports import identity
from lcrbench.reports.comparison import Row, Setting
from lcrbench.reports.words import class_text, listed, plain
from lcrbench.reports.words.budget import proof_text


class Field(NamedTuple):
    """A field of ledger or budget: what each row has, as it is printed, and whether all have the same."""

    name: str
    values: tuple[str, ...]
    equal: bool
    hashed: bool = False


@dataclass(frozen=True)
class Proof:
    """Whether rows were given the same budget: every field of the ledger and the budget, and which of them differ.

    `own_recipes` says whose recipes the rows have where each has its own; `unit` is that of the budget, None if the rows
    differ in it; `ranked` of the rows do not stand aside, and differ in `differing_ranked` alone.
    """

    labels: tuple[str, ...]
    seeds: Field
    fields: tuple[Field, ...]
    seconds: tuple[tuple[str, tuple[str, ...]], ...] = ()
    own_recipes: frozenset[RecipeOf] = frozenset()
    unit: Unit | None = None
    ranked: int = 0
    differing_ranked: tuple[str, ...] = ()

    @property
    def differing(self) -> list[str]:
        """Return the names of the fields that are not equal."""
        return [field.name for field in self.fields if not field.equal]

    @property
    def identical(self) -> bool:
        """Tell whether the budgets may be called identical: all fields are equal, and none has a recipe of its own."""
        return not self.differing and len(self.labels) > 1 and not self.own_recipes

    @property
    def shown(self) -> tuple[Field, ...]:
        """Return what tables show: the seeds, which are no part of the budget, and the fields."""
        return (self.seeds, *self.fields)

    @property
    def sentence(self) -> str:
        """Return all of it in a sentence or two."""
        return proof_text(self)


def budget_proof(setting: Setting) -> Proof:
    """Compare the ledgers of a setting's finished rows field by field, and each hash seed by seed.

    "Identical" needs every field equal; a missing ledger, or no seed in common, is not equality. Where a method has a
    recipe of its own the sentence says so, and the budgets are never called identical.
    """
    shown = [r for r in setting.rows if r.runs and not r.foreign]
    per_row = [_spent(r) for r in shown]
    names = list(dict.fromkeys(name for spent in per_row for name in spent))
    fields = []
    for name in names:
        each = [spent.get(name) for spent in per_row]
        fields.append(Field(name, tuple(map(_show, each)), _equal(each), any(map(_hashed, each))))
    seeds = tuple(listed(r.seeds) for r in shown)
    inside = [spent for spent, row in zip(per_row, shown, strict=True) if not row.aside]
    phases = sorted({p for r in shown for run in r.runs if run.ledger for p in run.ledger.seconds})
    units = {r.any.trained.budget.unit for r in shown}
    return Proof(
        labels=tuple(r.label for r in shown),
        seeds=Field("seeds (not part of the budget)", seeds, len({tuple(r.seeds) for r in shown}) == 1),
        fields=tuple(fields),
        seconds=tuple((p, tuple(_seconds(r, p) for r in shown)) for p in phases),
        own_recipes=frozenset(run.trained.training.recipe_of for row in shown for run in row.runs) - {"comparison"},
        unit=units.pop() if len(units) == 1 else None,
        ranked=len(inside),
        differing_ranked=tuple(n for n in names if not _equal([spent.get(n) for spent in inside])),
    )


class Passes(NamedTuple):
    """Images through each network of a training, by its name, and through each teacher in its own training."""

    networks: tuple[tuple[str, float], ...]
    teachers: tuple[tuple[str, int], ...]


Spent = dict[int, object]
LEDGER = (
    *("steps", "images", "budget class", "forward passes", "backward passes"),
    *("data order", "augmentation drawn", "initial weights", "selection rule"),
)
"""The fields that a ledger tells."""


def _spent(row: Row) -> dict[str, Spent]:
    """Return for every budget field what each seed's run had."""
    spent: dict[str, Spent] = {}
    for run in row.runs:
        told = _told(run.ledger) if run.ledger else [None] * len(LEDGER)
        budget = identity.budget(run)
        values = dict(zip(LEDGER, told, strict=True)) | {
            name.replace("_", " "): v
            for name, v in budget.items()
            if name not in ("images", "selection") and v is not None
        }
        for name, value in values.items():
            spent.setdefault(name, {})[run.spec.seed] = value
    return spent


def _told(ledger: Ledger) -> list[object]:
    """Return a ledger's fields, in the order of `LEDGER`."""
    networks = sorted({*ledger.forward, *ledger.backward, "student"})
    teachers = tuple((teacher.method, teacher.images) for teacher in ledger.teachers)
    forward, backward = (
        Passes(tuple((n, passes[n]) for n in networks if passes.get(n)), teachers)
        for passes in (ledger.forward, ledger.backward)
    )
    return [
        *(ledger.steps, ledger.images, ledger.budget_class, forward, backward),
        *map(_Hash, (ledger.data_order_sha256, ledger.augmentation_sha256, ledger.initial_weights_sha256)),
        ledger.selection,
    ]


class _Hash(str):
    """A hash: printed short."""


def _hashed(values: Spent | None) -> bool:
    return any(isinstance(value, _Hash) for value in (values or {}).values())


def _equal(values: Sequence[Spent | None]) -> bool:
    """Tell whether all rows have equal values for every seed that they share, sharing at least one."""
    if any(not v for v in values):
        return False
    known = [v for v in values if v]
    shared = set.intersection(*(set(v) for v in known))
    if not shared or any(x is None for v in known for x in v.values()):
        return False
    if not any(map(_hashed, known)):
        # Anything but a hash must not depend on the seed at all.
        return len({repr(x) for v in known for x in v.values()}) == 1
    return all(len({repr(v[s]) for v in known}) == 1 for s in shared)


def _show(values: Spent | None) -> str:
    if not values or any(v is None for v in values.values()):
        return "not recorded"
    distinct = list(dict.fromkeys(_text(v) for v in values.values()))
    if not _hashed(values):
        return " / ".join(distinct[:4])
    if len(values) <= 3:
        return " ".join(str(v)[:8] for v in values.values())
    together = hashlib.sha256("".join(str(values[s]) for s in sorted(values)).encode()).hexdigest()
    return f"{together[:8]} over {len(values)} seeds"


def _text(value: object) -> str:
    if isinstance(value, Passes):
        taught = [(f"training {method} as a teacher", images) for method, images in value.teachers]
        return ", ".join(f"{name} {plain(n)}" for name, n in (*value.networks, *taught)) or "none"
    return class_text(value) if isinstance(value, BudgetClass) else plain(value)


def _seconds(row: Row, phase: str) -> str:
    found = [s for run in row.runs if run.ledger for p, s in run.ledger.seconds.items() if p == phase]
    if not found:
        return "–"
    cpu, wall = (sum(getattr(s, kind) for s in found) / len(found) for kind in ("cpu", "wall"))
    return f"{cpu:,.1f} CPU, {wall:,.1f} wall"
