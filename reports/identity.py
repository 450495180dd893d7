"""What of a record must be equal to another's before the two are compared. Only this module takes specs apart.

Text is JSON, so that two identities can be compared, sorted and used as keys.
"""

from __future__ import annotations

import json
from typing import Any

from lcrbench.bench.records import before_6
from lcrbench.bench.records.budget import Budget, Recipe, move_keys
from lcrbench.bench.records.grid import Evaluation
from lcrbench.bench.records.ids import stated
from lcrbench.bench.records.record import Provenance, Record


def setting(record: Record) -> str:
    """Return what all runs of a setting share: data, backbone and evaluation."""
    spec = record.spec
    return json.dumps([spec.data.model_dump(mode="json"), spec.backbone, spec.evaluation.model_dump(mode="json")])


def shown(record: Record) -> str:
    """Return what a network was shown, which one from outside shares with the settings that it stands in."""
    protocol = record.spec.protocol
    return json.dumps([protocol.look, sorted(protocol.corruptions), protocol.severities, protocol.test.count])


def row(record: Record) -> str:
    """Return what all runs of a row share within their setting, apart from the label: method, budget and recipe.

    Of a network from outside: all that identifies it.
    """
    if record.external is not None:
        return json.dumps(record.external.facts, sort_keys=True)
    return record.spec.method.model_dump_json() + terms(record)


def base(record: Record) -> tuple[str, Any]:
    """Return the method without its regularizers: its name and options."""
    return record.spec.method.name, record.spec.method.options


def searched(record: Record, metrics: list[str]) -> str:
    """Return the options by which the record measured these metrics; 8 and 8.0 are one radius. Empty for no metric."""
    each = [record.spec.metrics.get(name) for name in metrics]
    return "\n".join(sorted({json.dumps(_floats(options), sort_keys=True) for options in each}))


def budget(record: Record) -> dict[str, Any]:
    """Return what the training was given, and on what terms, by the fields' names; trials before it included."""
    training = record.trained.training
    trials = {
        "recipe_of": training.recipe_of,
        "tuning_trials": training.tuning.trials if training.tuning else 0,
        "tuning_images": training.tuning.images if training.tuning else 0,
    }
    return training.budget.model_dump() | training.recipe.model_dump() | trials


def compared(one: Record, other: Record) -> list[str]:
    """Return the fields of `budget` in which two runs must not differ to be ranked together.

    Where each has a recipe of its own, from the papers or from searches of as many trials, these recipes may differ.
    """
    fields = list(budget(one))
    whose = {r.trained.training.recipe_of for r in (one, other)}
    if len(whose) > 1 or whose == {"comparison"}:
        return fields
    return [f for f in fields if f not in type(one.trained.recipe).model_fields]


def terms(record: Record) -> str:
    """Return the same as text, as `budget` has it."""
    return json.dumps(budget(record))


def topology(record: Record) -> str | None:
    """Return the backbone's options; None for a record without a network."""
    return json.dumps(record.model.topology, sort_keys=True) if record.model else None


def gated(record: Record) -> dict[str, Any]:
    """Return everything that must be equal before the gate compares two runs of a method, apart from the seed.

    Of a network from outside, two versions of which differ in all but their name: what they are shown.
    """
    if record.external is not None:
        return {
            "data": record.spec.data.model_dump(mode="json"),
            "network": record.spec.label,
            "evaluation": record.spec.evaluation.model_dump(mode="json"),
            "corruption source": record.provenance.model_dump(mode="json")["corruptions"],
        }
    spec = record.trained
    return {
        "data": spec.data.model_dump(mode="json"),
        "backbone": spec.backbone,
        "method": spec.label,
        "budget": stated(spec.budget),
        "recipe": stated(spec.recipe),
        **_searched_for(record),
        "evaluation": _shown(spec.evaluation),
        "corruption source": record.provenance.model_dump(mode="json")["corruptions"],
    }


FIRST_FIELDS = frozenset({"corruptions", "severities", "seed", "block"})
"""What references hold of an evaluation at any value; later fields only where they are not at their default."""


def _shown(evaluation: Evaluation) -> dict[str, Any]:
    whole, given = evaluation.model_dump(mode="json"), stated(evaluation)
    return {name: value for name, value in whole.items() if name in FIRST_FIELDS or name in given}


def _searched_for(record: Record) -> dict[str, Any]:
    """Return whose recipe a run has and how it was tuned; nothing for a recipe that was given."""
    training = record.trained.training
    whose = {} if training.recipe_of == "comparison" else {"recipe of": training.recipe_of}
    return whose | ({"tuning trials": training.tuning.trials} if training.tuning else {})


def gated_before(method: str, old: dict[str, Any]) -> dict[str, Any]:
    """Return the identity in a reference that may be of an older schema in the form of `gated`; `method` is its label."""
    if "data" in old:
        old = old | {"data": dict(old["data"])}
        before_6.name(old["data"])
    if "schema" not in old:
        return old
    tables, _ = move_keys({"budget": old.get("budget", {})})
    rest = {k: v for k, v in old.items() if k not in ("schema", "method", "budget")}
    return rest | {
        "method": method,
        "budget": stated(Budget.model_validate(tables["budget"])),
        "recipe": stated(Recipe.model_validate(tables.get("recipe", {}))),
    }


def machine(provenance: Provenance) -> dict[str, str]:
    """Return what a run computed on: the kind of device, its model, the version of torch, and the processor's kind.

    What the record does not tell is left out.
    """
    known = {
        "device kinds": provenance.device.partition(":")[0],
        "device models": provenance.device_name,
        "torch versions": provenance.versions.get("torch", ""),
        "processor kinds": provenance.versions.get("machine", ""),
    }
    return {name: value for name, value in known.items() if value}


def _floats(value: object) -> object:
    """Return options with whole numbers as floats."""
    if isinstance(value, dict):
        return {name: _floats(v) for name, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_floats(v) for v in value]
    return float(value) if isinstance(value, int) else value
