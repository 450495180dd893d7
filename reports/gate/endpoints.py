"""What a gate compares: the numbers of a record by name, and what must be equal before they may be compared."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from lcrbench.bench.records.measurement import NO_DETAIL, Detail, Scale
from lcrbench.bench.records.record import Record
from lcrbench.reports.comparison import CLEAN, COMMON_ERROR, Key

DEFAULT_ENDPOINT = "corruption_accuracy"
FRACTIONS = (DEFAULT_ENDPOINT, "clean_accuracy")


class Endpoint(NamedTuple):
    """One number of a record that a gate may compare; `better`: whether higher is."""

    value: float
    better: bool
    unit: str
    scale: Scale


def endpoints(record: Record) -> dict[str, Endpoint]:
    """Return what a record offers to compare, by name.

    `corruption_accuracy` (1 - mean corruption error over the common corruptions) and `clean_accuracy` come first; any other
    metric with a direction is named `metric[:corruption][:severity][:norm[-radius in 1/255]][:statistic][:form]`.
    What is of a layer or has another detail is not offered.
    """
    found: dict[str, Endpoint] = {}
    for m in record.measurements:
        key = Key.of(m)
        if key == COMMON_ERROR:
            found[DEFAULT_ENDPOINT] = Endpoint(1 - m.value, True, "fraction", Scale.SHARE)
        elif key == CLEAN:
            found["clean_accuracy"] = Endpoint(m.value, True, "fraction", Scale.SHARE)
    for m in record.measurements:
        info = record.metrics.get(m.metric)
        kind = info.kind(m.statistic) if info else None
        detail = m.detail or NO_DETAIL
        if kind is None or kind.higher_is_better is None or m.layer or detail != Detail(form=detail.form):
            continue
        ball = m.norm if m.radius is None else f"{m.norm}-{m.radius * 255:g}"
        parts = [
            m.metric,
            m.corruption,
            str(m.severity or ""),
            ball,
            "" if m.statistic == "mean" else m.statistic,
            detail.form,
        ]
        name = ":".join(p for p in parts if p)
        found[name] = Endpoint(m.value, kind.higher_is_better, kind.unit, kind.scale)
    return found


def metric_of(endpoint: str) -> str:
    """Return the metric that an endpoint is a number of."""
    return {DEFAULT_ENDPOINT: "corruption_error", "clean_accuracy": "accuracy"}.get(
        endpoint, endpoint.partition(":")[0]
    )


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
