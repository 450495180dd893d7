"""Does LCR's retention-matrix proxy follow what it is taken to stand for? Rank correlations, and two probes.

The proxy is p1, one unnormalized power step as the released code has it, or sigma_1, the exact top singular value. It is
compared, over points, with the layer's operator norm (the upper end of its bracket), the local gain of the surrogate, and
what the deployed network does (its gain and kappa). A point is

    across layers     a layer of one method's networks, mean over its seeds
    across seeds      a network of one method: means over its layers (or stages) of the logarithms
    across methods    a network of any method and seed: likewise. Networks of one method are alike, so it is descriptive

and the correlation is Spearman's with a bootstrap interval over points. Fewer than 8 points are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from lcrbench.bench import stats
from lcrbench.bench.stats import Interval
from lcrbench.errors import UserError
from lcrbench.reports.comparison import Key, Row
from lcrbench.reports.lipschitz.found import Lipschitz, drawn
from lcrbench.reports.lipschitz.layers import LAYER_FIGURES, layer_value, layers, part_of, without_part
from lcrbench.reports.words import norm_text, radius_text

PROXIES = {"p1": "p1, as released", "sigma_1": "sigma 1, exact"}
TRUTHS = {
    "upper": "operator norm (upper bound)",
    "block": "product bound of the surrogate",
    "gain": "local gain of the surrogate",
}


class Correlation(NamedTuple):
    """A proxy against a truth: over which points, how many they are, and the correlation; None if they are too few."""

    points: str
    proxy: str
    truth: str
    n: int
    found: Interval | None


def over_layers(row: Row, proxy: str, truth: str) -> tuple[list[float], list[float]]:
    """Return a proxy and a truth of each layer (not stage) of a row that has both, means over the seeds."""
    pairs = []
    for part in layers(row):
        values = layer_value(row, part, proxy), layer_value(row, part, truth)
        if not part.stage and values[0] is not None and values[1] is not None:
            pairs.append((values[0], values[1]))
    return [p for p, _ in pairs], [t for _, t in pairs]


def correlations(found: Lipschitz) -> list[Correlation]:
    """Return every correlation that the records could have, computed or refused."""
    rows = [r for r in found.every if any(k.metric == "lipschitz_proxy" for k in r.values)]
    shown = {r.index for r in drawn(found)}
    alone = [r for r in rows if r.index in shown]
    made = []
    for row in alone:
        made += [
            _correlate(f"layers of {row.name}", proxy, TRUTHS[truth], *over_layers(row, proxy, truth))
            for proxy in PROXIES
            for truth in ("upper", "gain")
        ]
    networks_of = {row.index: [_summary(values) for values in found.networks[row.index]] for row in rows}
    groups = [(f"seeds of {row.name}", [row]) for row in alone] + [("networks of all methods and seeds", rows)]
    for points, members in groups:
        networks = [network for row in members for network in networks_of[row.index]]
        for proxy in PROXIES:
            for stage in (False, True):
                where = "by stage" if stage else "by layer"
                for truth, of in _truths(found, stage).items():
                    pairs = [(n.means.get((LAYER_FIGURES[proxy], stage)), of(n)) for n in networks]
                    known = [(p, t) for p, t in pairs if p is not None and t is not None]
                    if known:
                        x, y = [p for p, _ in known], [t for _, t in known]
                        made.append(_correlate(f"{points}, {where}", proxy, truth, x, y))
    return made


Values = dict[Key, float]


class Network(NamedTuple):
    """What was measured of a network, and by (figure, whether over stages) the means of the logarithms over its layers."""

    values: Values
    means: dict[tuple[Key, bool], float]


def _summary(values: Values) -> Network:
    """Return a network with its means; a figure that is not above 0 in every layer has none.

    Means over the other layers would be of other layers than those of another network.
    """
    found: dict[tuple[Key, bool], list[float]] = {}
    for k, v in values.items():
        if any(part := part_of(k)):
            found.setdefault((without_part(k), bool(part.stage)), []).append(v)
    return Network(values, {k: float(np.mean(np.log(v))) for k, v in found.items() if min(v) > 0})


def _truths(found: Lipschitz, stage: bool) -> dict[str, Callable[[Network], float | None]]:
    """Return what a network's proxy is compared with, by its words."""

    def layered(figure: str) -> Callable[[Network], float | None]:
        return lambda network: network.means.get((LAYER_FIGURES[figure], stage))

    def single(key: Key) -> Callable[[Network], float | None]:
        return lambda network: network.values.get(key)

    truths = {TRUTHS[t]: layered(t) for t in (("block", "gain") if stage else ("upper", "gain"))}
    for metric, word in (("lipschitz_modulus", "omega"), ("lipschitz_kappa", "kappa")):
        for key in sorted(
            (k for k in found.keys(metric) if k.statistic == "q50"), key=lambda k: (k.norm, k.radius or 0)
        ):
            truths[f"{word}, {norm_text(key.norm)}, {radius_text(key.radius)}"] = single(key)
    return truths


def _correlate(points: str, proxy: str, truth: str, x: Sequence[float], y: Sequence[float]) -> Correlation:
    try:
        return Correlation(points, PROXIES[proxy], truth, len(x), stats.correlation(x, y))
    except UserError:
        return Correlation(points, PROXIES[proxy], truth, len(x), None)
