"""Stores and searches, real and made up, whose Lipschitz part is read."""

from __future__ import annotations

import itertools
from pathlib import Path

from lcrbench.bench import stats
from lcrbench.bench.records.by_image import Effort
from lcrbench.bench.records.measurement import Detail, Measurement
from lcrbench.bench.records.store import Store
from lcrbench.reports import comparison, lipschitz
from lcrbench.reports.comparison import Key
from lcrbench.reports.lipschitz import Figure, Lipschitz
from lcrbench.reports.table import Cell, Table
from lcrbench.reports.tables import lipschitz as lipschitz_table

from . import make_store


def figure_table(found: Lipschitz) -> Table:
    return lipschitz_table.figures(found) or Table("lipschitz", "", (), ())


METHODS = ("full_precision", "bnn", "irnet", "irnet+lcr")


def found_in(root: Path, efforts: int = 1, seeds: int = 1, methods: tuple[str, ...] = METHODS) -> Lipschitz:
    store = Store(root, create=True)
    for label in methods:
        for seed in range(seeds):
            make_store.add(store, label, seed, efforts=efforts)
    found = lipschitz.read(comparison.read(store).settings[0], store)
    assert found is not None
    return found


QUARTER = Effort(random=1, steps=1)


def agreed(found: Lipschitz) -> Lipschitz:
    """Let a search of a quarter of the effort have found the same: without one no order is told."""
    for search in itertools.chain.from_iterable(found.searches.values()):
        longest = {f: v for (e, f), v in search.figures.items() if e == make_store.EFFORTS[0]}
        search.figures.update({(QUARTER, f): v for f, v in longest.items()})
    return found


def verdicts(found: Lipschitz) -> dict[tuple[str, str], lipschitz.Verdict]:
    figure = Figure("lipschitz_kappa", "l2", 16.0)
    return {(v.first.label, v.second.label): v for v in found.verdicts if v.figure == figure}


def several(figures: list[dict[Key, float]]) -> Lipschitz:
    """Return one method with these measurements in each seed, and a search of each."""
    networks = []
    for values in figures:
        ms = [Measurement(value=v, n=64, **k._asdict()) for k, v in values.items()]
        networks.append(lipschitz.Alone("method", ms, {}, make_store.INFOS))
    return lipschitz.of_networks(networks)


SEARCHED = Key("lipschitz_kappa", "flipped", norm="l2", radius=128 / 255)


FLIP = Key("lipschitz_flip_radius", "q50", norm="l2")


KAPPA = SEARCHED._replace(statistic="q50")


def cell(found: Lipschitz, label: str) -> Cell:
    return next(r for r in figure_table(found).rows if r.label.startswith(label)).cells[0]


def network(name: str, layers: tuple[str, ...], radii: tuple[int, ...] = (2, 8)) -> lipschitz.Alone:
    """Return a network with a norm and a proxy of these layers, and slopes between neighbouring radii."""
    measured = []
    for k, layer in enumerate(layers):
        where = {"layer": layer, "n": 1}
        measured.append(
            Measurement(metric="lipschitz_norms", value=2.0 + k, low=2.0, statistic="upper", norm="l2", **where)
        )
        measured.append(Measurement(metric="lipschitz_proxy", value=3.0 + k, detail=Detail(form="sigma_1"), **where))
    for low, high in itertools.pairwise(radii):
        slope = stats.Interval(0.5, 0.4, 0.7, 64, "bootstrap")
        measured.append(
            Measurement.of(
                "lipschitz_slope", slope, norm="l2", radius=high / 255, detail=Detail(inner_radius=low / 255)
            )
        )
    return lipschitz.Alone(name, measured, {}, make_store.INFOS)
