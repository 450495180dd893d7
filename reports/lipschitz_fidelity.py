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
from lcrbench.reports.lipschitz import LAYER_FIGURES, Lipschitz, drawn, layer_value, layers
from lcrbench.reports.tables import Cell, Column, Table, TableRow
from lcrbench.reports.words import norm_text, radius_text

PROXIES = {"p1": "p1, as released", "sigma_1": "sigma 1, exact"}
TRUTHS = {
    "upper": "operator norm (upper bound)",
    "block": "product bound of the surrogate",
    "gain": "local gain of the surrogate",
}


class Correlation(NamedTuple):
    """A proxy against a truth: over which points, the correlation with its interval, or why there is none."""

    points: str
    proxy: str
    truth: str
    found: Interval | None
    refused: str


def over_layers(row: Row, proxy: str, truth: str) -> tuple[list[float], list[float]]:
    """Return a proxy and a truth of each layer (not stage) of a row that has both, means over the seeds."""
    pairs = []
    for name in layers(row):
        values = layer_value(row, name, proxy), layer_value(row, name, truth)
        if not name.startswith("stage ") and values[0] is not None and values[1] is not None:
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
            _correlate(f"layers of {row.label}", proxy, TRUTHS[truth], *over_layers(row, proxy, truth))
            for proxy in PROXIES
            for truth in ("upper", "gain")
        ]
    networks_of = {row.index: [_summary(values) for values in found.networks[row.index]] for row in rows}
    groups = [(f"seeds of {row.label}", [row]) for row in alone] + [("networks of all methods and seeds", rows)]
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
        if k.layer:
            found.setdefault((k._replace(layer=""), k.layer.startswith("stage ")), []).append(v)
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
        return Correlation(points, PROXIES[proxy], truth, stats.correlation(x, y), "")
    except UserError:
        return Correlation(points, PROXIES[proxy], truth, None, f"refused: {len(x)} of at least {stats.LEAST} points")


def tables(found: Lipschitz) -> list[Table]:
    """Return the table of correlations and that of the probes, as far as the proxy was measured."""
    made = []
    refused: dict[str, int] = {}
    rows = []
    for c in correlations(found):
        if c.found is None:
            refused[f"{c.points} ({c.refused.removeprefix('refused: ')})"] = 1
            continue
        rows.append(TableRow(f"{c.points}: {c.proxy} with {c.truth}", (Cell.of(c.found),), ranked=False))
    if rows or refused:
        notes = [
            "Spearman's rank correlation, with a 95 % bootstrap interval over the points that are named. 1: the proxy "
            "orders them as the figure does; 0: it says nothing about their order. Networks of one method are alike, "
            "so a correlation over all methods is descriptive.",
            "omega, the change of the logits within the radius, is a lower bound by search and in units of the logits.",
        ]
        if refused:
            notes.append(f"No correlation from fewer than {stats.LEAST} points: {'; '.join(refused)}.")
        if not rows:
            rows = [TableRow("none", (Cell(text=f"every group has fewer than {stats.LEAST} points"),), ranked=False)]
        columns = (Column("rank correlation", digits=2),)
        caption = "Fidelity of the retention-matrix proxy"
        made.append(Table("lipschitz_fidelity", caption, columns, tuple(rows), tuple(notes), "Points"))
    return made + probe_tables(found)


def probe_tables(found: Lipschitz) -> list[Table]:
    """Return the table of the probes, pass or fail by method and proxy; empty if none was made."""
    rows = []
    keys = [k for k in found.keys("lipschitz_probes") if not k.statistic.endswith(", passed")]
    for key in keys:
        cells = []
        for row in found.rows:
            ratio, passed = row.per_seed(key), row.per_seed(key._replace(statistic=f"{key.statistic}, passed"))
            if not ratio or not passed:
                cells.append(Cell())
                continue
            verdict = (
                "pass" if all(passed) else "fail" if not any(passed) else f"fails in {passed.count(0)} of {len(passed)}"
            )
            cells.append(Cell(text=f"{verdict} (× {np.mean(ratio):.2f})"))
        rows.append(TableRow(key.statistic.replace("sigma_1", "sigma 1"), tuple(cells), ranked=False))
    if not rows:
        return []
    notes = (
        "Batch-norm gain: all batch norms' scale and shift times 4, so that every operator norm grows fourfold; passed "
        "if the proxy grows at least twofold (× is its growth in the layer or stage where it grows least). Channel "
        "sign flip: signs of channels turned so that function and norms stay; passed if the proxy moves by at most 1 % "
        "(× where it moves most).",
    )
    columns = tuple(Column(r.label, note=r.aside) for r in found.rows)
    labels = tuple(r.label for r in found.rows)
    return [Table("lipschitz_probes", "Probes of the proxy", columns, tuple(rows), notes, "Probe", labels=labels)]
