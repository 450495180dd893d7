"""Whether the methods of a setting were given the same budget: the ledgers of their runs, compared field by field."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import ClassVar

from lcrbench.reports import identity
from lcrbench.reports.comparison import Row, Setting
from lcrbench.reports.words import class_text, listed, plain


@dataclass(frozen=True)
class Proof:
    """Whether rows were given the same budget: every field of the ledger and the budget, and which of them differ."""

    identical: bool
    sentence: str
    fields: tuple[tuple[str, tuple[str, ...], bool], ...]
    labels: tuple[str, ...]
    seconds: tuple[tuple[str, tuple[str, ...]], ...] = ()
    HASHED: ClassVar = ("data order", "augmentation drawn", "initial weights")


def budget_proof(setting: Setting) -> Proof:
    """Compare the ledgers of a setting's finished rows field by field, and each hash seed by seed.

    "Identical" needs every field equal; a missing ledger, or no seed in common, is not equality. Where a method has a
    recipe of its own the sentence says so, and the budgets are never called identical.
    """
    shown = [r for r in setting.rows if r.runs]
    labels = tuple(r.label for r in shown)
    per_row = [_spent(r) for r in shown]
    names = list(dict.fromkeys(name for spent in per_row for name in spent))
    fields, differing = [], []
    for name in names:
        values = tuple(_show(spent.get(name)) for spent in per_row)
        equal = _equal([spent.get(name) for spent in per_row])
        fields.append((name, values, equal))
        if not equal:
            differing.append(name)
    fields.insert(
        0,
        (
            "seeds (not part of the budget)",
            tuple(listed(r.seeds) for r in shown),
            len({tuple(r.seeds) for r in shown}) == 1,
        ),
    )
    own = {run.spec.training.recipe_of for row in shown for run in row.runs} - {"comparison"}
    identical = not differing and len(shown) > 1 and not own
    if len(shown) < 2:
        sentence = "Only one finished method: there is no budget to compare."
    elif own:
        sentence = _own_recipes(own, differing)
    elif identical:
        sentence = f"Identical budgets: {len(names)} fields of ledger and budget are equal in all {len(shown)} methods."
    else:
        sentence = f"The budgets are not identical; these fields differ: {', '.join(differing)}."
        unit = shown[0].any.spec.budget.unit
        if unit in ("compute", "seconds") and all(r.any.spec.budget.unit == unit for r in shown):
            sentence += f" The budget is one of equal {unit}, under which a costlier method sees fewer images."
        inside = [spent for spent, row in zip(per_row, shown, strict=True) if not row.aside]
        if 1 < len(inside) < len(shown):
            rest = [n for n in names if not _equal([spent.get(n) for spent in inside])]
            sentence += (
                f" Among the {len(inside)} methods that are ranked, these differ: {', '.join(rest)}."
                if rest
                else f" Among the {len(inside)} methods that are ranked, every field is equal."
            )
    phases = sorted({p for r in shown for run in r.runs if run.ledger for p in run.ledger.seconds})
    seconds = tuple((p, tuple(_seconds(r, p) for r in shown)) for p in phases)
    return Proof(identical, sentence, tuple(fields), labels, seconds)


def _own_recipes(own: Collection[str], differing: Sequence[str]) -> str:
    words = {"paper": "that of its paper", "tuning": "what trials on held-out training images chose"}
    what = " or ".join(words[name] for name in sorted(own))
    rest = f"these fields differ: {', '.join(differing)}" if differing else "no field differs"
    return f"Each by its own recipe ({what}): {rest}."


Spent = dict[int, object]


def _spent(row: Row) -> dict[str, Spent]:
    """Return for every budget field what each seed's run had."""
    spent: dict[str, Spent] = {}
    networks = sorted({n for r in row.runs if r.ledger for n in (*r.ledger.forward, *r.ledger.backward)} | {"student"})
    for run in row.runs:
        seed, ledger = run.spec.seed, run.ledger
        values: dict[str, object] = {}
        if ledger:
            values["steps"] = ledger.steps
            values["images"] = ledger.images
            values["budget class"] = class_text(ledger.budget_class)
            taught = {f"training {t.method} as a teacher": float(t.images) for t in ledger.teachers}
            values["forward passes"] = {n: ledger.forward.get(n, 0) for n in networks if ledger.forward.get(n)} | taught
            values["backward passes"] = {
                n: ledger.backward.get(n, 0) for n in networks if ledger.backward.get(n)
            } | taught
            values["data order"] = _Hash(ledger.data_order_sha256)
            values["augmentation drawn"] = _Hash(ledger.augmentation_sha256)
            values["initial weights"] = _Hash(ledger.initial_weights_sha256)
            values["selection rule"] = ledger.selection
        else:
            values = dict.fromkeys(("steps", "images", "budget class", "forward passes", "backward passes"))
            values |= dict.fromkeys(("data order", "augmentation drawn", "initial weights", "selection rule"))
        budget = identity.budget(run)
        values |= {
            name.replace("_", " "): v
            for name, v in budget.items()
            if name not in ("images", "selection") and v is not None
        }
        for name, value in values.items():
            spent.setdefault(name, {})[seed] = value
    return spent


class _Hash(str):
    """A hash: printed short."""


def _equal(values: Sequence[Spent | None]) -> bool:
    """Tell whether all rows have equal values for every seed that they share, sharing at least one."""
    if any(not v for v in values):
        return False
    known = [v for v in values if v]
    shared = set.intersection(*(set(v) for v in known))
    if not shared or any(x is None for v in known for x in v.values()):
        return False
    if not any(isinstance(x, _Hash) for v in known for x in v.values()):
        # Anything but a hash must not depend on the seed at all.
        return len({repr(x) for v in known for x in v.values()}) == 1
    return all(len({repr(v[s]) for v in known}) == 1 for s in shared)


def _show(values: Spent | None) -> str:
    if not values or any(v is None for v in values.values()):
        return "not recorded"
    distinct = list(dict.fromkeys(_text(v) for v in values.values()))
    if not any(isinstance(v, _Hash) for v in values.values()):
        return " / ".join(distinct[:4])
    if len(values) <= 3:
        return " ".join(str(v)[:8] for v in values.values())
    together = hashlib.sha256("".join(str(values[s]) for s in sorted(values)).encode()).hexdigest()
    return f"{together[:8]} over {len(values)} seeds"


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {plain(v)}" for k, v in value.items()) or "none"
    return plain(value)


def _seconds(row: Row, phase: str) -> str:
    found = [s for run in row.runs if run.ledger for p, s in run.ledger.seconds.items() if p == phase]
    if not found:
        return "–"
    cpu, wall = (sum(getattr(s, kind) for s in found) / len(found) for kind in ("cpu", "wall"))
    return f"{cpu:,.1f} CPU, {wall:,.1f} wall"
