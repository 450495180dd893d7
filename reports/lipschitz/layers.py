"""What is known of single layers, blocks and stages of a network."""

from __future__ import annotations

import numpy as np

from lcrbench.reports.comparison import Key, Row

LAYER_FIGURES = {
    "lower": Key("lipschitz_norms", "upper", norm="l2"),
    "upper": Key("lipschitz_norms", "upper", norm="l2"),
    "block": Key("lipschitz_product", "surrogate", norm="l2"),
    "p1": Key("lipschitz_proxy", "p1"),
    "sigma_1": Key("lipschitz_proxy", "sigma_1"),
    "gain": Key("lipschitz_layer_gain", norm="l2"),
}
"""What is known of a layer, block or stage: the key of each figure but for the layer's name."""


STAGE = "stage "


def is_stage(name: str) -> bool:
    """Tell whether a name stands for a stage of a network, and not for a layer or block."""
    return name.startswith(STAGE)


def layers(row: Row) -> list[str]:
    """Return the names of a row's layers, blocks and stages: layers in the order of use, then blocks, stages last."""
    # Norms are measured of every layer, and in the order of use.
    metrics = dict.fromkeys(["lipschitz_norms", *(k.metric for k in LAYER_FIGURES.values())])
    names = dict.fromkeys(k.layer for metric in metrics for k in row.values if k.layer and k.metric == metric)
    stages = sorted(filter(is_stage, names), key=lambda n: int(n.removeprefix(STAGE)))
    return [n for n in names if not is_stage(n)] + stages


def layer_value(row: Row, name: str, figure: str) -> float | None:
    """Return one figure of a layer, the mean over a row's seeds; None if it was not measured."""
    found = row.values.get(LAYER_FIGURES[figure]._replace(layer=name))
    if not found and figure == "block":
        found = row.values.get(Key("lipschitz_product", "network", norm="l2", layer=name))
    if not found:
        return None
    values = [m.low if figure == "lower" else m.value for m in found]
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None
