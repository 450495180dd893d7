"""What of a record must be equal to another's before the two are compared. Only this module takes specs apart.

Text is JSON, so that two identities can be compared, sorted and used as keys.
"""

from __future__ import annotations

import json
from typing import Any

from lcrbench.bench.records.record import Provenance, Record
from lcrbench.bench.records.spec import RunSpec


def setting(record: Record) -> str:
    """Return what all runs of a setting share: data, backbone and evaluation."""
    spec = record.spec
    return json.dumps([spec.data.model_dump(mode="json"), spec.backbone, spec.evaluation.model_dump(mode="json")])


def row(record: Record) -> str:
    """Return what all runs of a row share within their setting, apart from the label: method and budget."""
    return record.spec.method.model_dump_json() + record.spec.budget.model_dump_json()


def base(record: Record) -> tuple[str, Any]:
    """Return the method without its regularizers: its name and options."""
    return record.spec.method.name, record.spec.method.options


def trained(spec: RunSpec) -> str:
    """Return everything of a spec but the metrics: two records of one such identity are about one training."""
    return json.dumps(spec.model_dump(mode="json", exclude={"metrics"}), sort_keys=True)


def searched(record: Record, metrics: list[str]) -> str:
    """Return the options by which the record measured these metrics; 8 and 8.0 are one radius. Empty for no metric."""
    each = [record.spec.metrics.get(name) for name in metrics]
    return "\n".join(sorted({json.dumps(_floats(options), sort_keys=True) for options in each}))


def budget(record: Record) -> dict[str, Any]:
    """Return what the training was given, and on what terms, by the fields' names."""
    return record.spec.budget.model_dump()


def terms(record: Record) -> str:
    """Return the same as text, as `budget` has it."""
    return json.dumps(budget(record))


def topology(record: Record) -> str | None:
    """Return the backbone's options; None for a record without a network."""
    return json.dumps(record.model.topology, sort_keys=True) if record.model else None


def gated(record: Record) -> dict[str, Any]:
    """Return everything that must be equal before the gate compares two runs of a method, apart from the seed."""
    spec = record.spec.model_dump(mode="json")
    return {
        "schema": record.schema_version,
        "data": spec["data"],
        "backbone": spec["backbone"],
        "method": spec["method"],
        "budget": spec["budget"],
        "evaluation": spec["evaluation"],
        "corruption source": record.provenance.model_dump(mode="json")["corruptions"],
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
