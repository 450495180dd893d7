"""What was measured of a setting's networks, or of networks apart from a store, and what follows from it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from lcrbench.bench.records.measurement import Measurement
from lcrbench.reports.comparison import Key, Row, Setting, chosen, is_lipschitz
from lcrbench.reports.lipschitz.search import FIGURES, Figure, Search
from lcrbench.reports.lipschitz.verdicts import Verdict, judge


@dataclass
class Lipschitz:
    """What records hold: rows with their measurements, and the searches of each row's networks.

    Of very many methods the reference and the most accurate are compared, `rows`; `every` has all. `networks` has the
    measurements of each single network, by row: seeds may lack a cell that others have.
    """

    rows: list[Row]
    every: list[Row]
    searches: dict[int, list[Search]]
    networks: dict[int, list[dict[Key, float]]]
    notes: list[str] = field(default_factory=list)

    @property
    def efforts(self) -> list[str]:
        """Return the efforts that were searched, in words, from the quick to the longest."""
        return list(dict.fromkeys(effort for effort, _ in self._searched))

    @property
    def _searched(self) -> dict[tuple[str, Figure], None]:
        """Return every effort with every figure that it found of any network."""
        return dict.fromkeys(key for seeds in self.searches.values() for search in seeds for key in search.figures)

    def seeds(self, rows: Sequence[Row]) -> list[int]:
        """Return how many networks each row has."""
        return [max(1, len(self.searches[row.index])) for row in rows]

    def keys(self, metric: str) -> list[Key]:
        """Return all cells of a metric that any row has."""
        return list(dict.fromkeys(k for row in self.rows for k in row.values if k.metric == metric))

    @cached_property
    def figures(self) -> list[Figure]:
        """Return what can be ranked, in the order of tables: by figure, l2 first, from the smallest radius."""
        return sorted(
            {figure for _, figure in self._searched},
            key=lambda f: (FIGURES.index(f.name), f.norm != "l2", f.radius_255),
        )

    @property
    def primary(self) -> Figure | None:
        """Return the figure whose verdicts count: kappa at the middle radius of the first norm; None without kappa."""
        kappa = [f for f in self.figures if f.name == "kappa"]
        same = [f for f in kappa if f.norm == kappa[0].norm]
        return same[len(same) // 2] if same else None

    @cached_property
    def verdicts(self) -> list[Verdict]:
        """Return the verdict on each pair of methods in each figure."""
        return judge(self)

    def rank(self, row: Row, figure: Figure) -> str:
        """Return a method's place in a figure: a range where others are not separated from it, "" if not measured."""
        about = [v for v in self.verdicts if v.figure == figure and row in (v.first, v.second)]
        if not about:
            return ""
        first = 1 + sum(v.separated and v.better is not row for v in about)
        last = 1 + len(about) - sum(v.separated and v.better is row for v in about)
        return f"{first}" if first == last else f"{first}–{last}"


def of_networks(networks: Sequence[tuple[str, Sequence[Measurement], dict[str, np.ndarray]]]) -> Lipschitz:
    """Return the figures of networks apart from a store: names, measurements, figures by image; equal names are seeds."""
    rows: dict[str, Row] = {}
    searches: dict[int, list[Search]] = defaultdict(list)
    single: dict[int, list[dict[Key, float]]] = defaultdict(list)
    for name, measurements, figures in networks:
        row = rows.setdefault(name, Row(len(rows), name, ()))
        for m in measurements:
            row.values.setdefault(Key.of(m), []).append(m)
        searches[row.index] += [search for search in [Search.of(figures)] if search.figures]
        single[row.index].append(network_values(measurements))
    every = list(rows.values())
    return Lipschitz(every, every, searches, dict(single))


def network_values(measurements: Sequence[Measurement]) -> dict[Key, float]:
    """Return the Lipschitz figures of one network by cell."""
    return {Key.of(m): m.value for m in measurements if is_lipschitz(m.metric)}


def quantiles(found: Lipschitz, row: Row, figure: Figure, levels: Sequence[float]) -> np.ndarray:
    """Return the quantiles over images of a figure by the longest search, (seeds, levels); infinite ones are inf.

    A quantile is the smallest value that the share `level` of the images does not exceed: nothing is interpolated.
    """
    efforts = found.efforts
    each = [search.figures.get((efforts[-1], figure)) for search in found.searches[row.index]] if efforts else []
    return np.array([np.quantile(v.astype(np.float64), levels, method="inverted_cdf") for v in each if v is not None])


def drawn(found: Lipschitz) -> list[Row]:
    """Return the rows that figures draw, as elsewhere in a report: all, or the reference and the most accurate."""
    return chosen(Setting(0, tuple(found.rows), found.rows[0])) if all(r.runs for r in found.rows) else found.rows
