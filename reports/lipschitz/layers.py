"""What is known of single layers, blocks and stages of a network."""

from __future__ import annotations

import numpy as np

from lcrbench.bench.records.measurement import Detail, Part
from lcrbench.bench.records.statistics import Function, Statistic
from lcrbench.reports.comparison import Key, Row

LAYER_FIGURES = {
    "lower": Key("lipschitz_norms", Statistic.UPPER, norm="l2"),
    "upper": Key("lipschitz_norms", Statistic.UPPER, norm="l2"),
    "block": Key("lipschitz_product", Statistic.UPPER, norm="l2", detail=Detail(form=Function.SURROGATE)),
    "p1": Key("lipschitz_proxy", detail=Detail(form="p1")),
    "sigma_1": Key("lipschitz_proxy", detail=Detail(form="sigma_1")),
    "gain": Key("lipschitz_layer_gain", norm="l2"),
}
"""What is known of a layer, block or stage: the key of each figure but for which part it is."""

LAYERED = tuple(dict.fromkeys(key.metric for key in LAYER_FIGURES.values()))
"""The metrics of these figures."""


def part_of(key: Key) -> Part:
    """Return the part of a network that a cell is about; `Part()` for the whole."""
    return Part(key.layer, key.about.stage)


def without_part(key: Key) -> Key:
    """Return a cell's key but for which part it is."""
    detail = key.about.model_copy(update={"stage": 0})
    return key._replace(layer="", detail=None if detail == Detail() else detail)


def with_part(key: Key, part: Part) -> Key:
    """Return the cell of a part."""
    if not part.stage:
        return key._replace(layer=part.layer)
    return key._replace(detail=key.about.model_copy(update={"stage": part.stage}))


def layers(row: Row) -> list[Part]:
    """Return a row's layers, blocks and stages: layers in the order of use, then blocks, stages last."""
    # Norms are measured of every layer, and in the order of use.
    parts = dict.fromkeys(part_of(k) for metric in LAYERED for k in row.values if k.metric == metric)
    named = [p for p in parts if p.layer]
    return named + sorted(p for p in parts if p.stage)


def layer_value(row: Row, part: Part, figure: str) -> float | None:
    """Return one figure of a part, the mean over a row's seeds; None if it was not measured."""
    key = with_part(LAYER_FIGURES[figure], part)
    found = row.values.get(key)
    if not found and figure == "block":
        found = row.values.get(key._replace(detail=key.about.model_copy(update={"form": Function.NETWORK})))
    if not found:
        return None
    values = [m.low if figure == "lower" else m.value for m in found]
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None
