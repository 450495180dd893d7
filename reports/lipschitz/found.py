"""What was measured of a setting's networks, or of networks apart from a store, and what follows from it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np

from lcrbench.bench.records.by_image import ByImage, Effort
from lcrbench.bench.records.measurement import Measurement, MetricInfo
from lcrbench.reports.colours import styles
from lcrbench.reports.comparison import Key, Row, Setting, chosen
from lcrbench.reports.lipschitz.search import Figure, Search
from lcrbench.reports.lipschitz.verdicts import Uncompared, Verdict, judge, median, rising, uncompared


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
    def infos(self) -> dict[str, MetricInfo]:
        """Return what is known of every Lipschitz metric that any row has."""
        return {name: info for row in self.every for name, info in row.infos.items() if info.lipschitz}

    @cached_property
    def efforts(self) -> list[Effort]:
        """Return the efforts that were searched, those without gradients first, from the quickest to the longest."""
        return sorted(dict.fromkeys(effort for effort, _ in self._searched), key=lambda e: (e.gradients, e.passes or 0))

    @cached_property
    def _searched(self) -> dict[tuple[Effort, Figure], None]:
        """Return every effort with every figure that it found of any network."""
        return dict.fromkeys(key for seeds in self.searches.values() for search in seeds for key in search.figures)

    def seeds(self, rows: Sequence[Row]) -> list[int]:
        """Return how many networks each row has."""
        return [max(1, len(self.searches[row.index])) for row in rows]

    def keys(self, metric: str) -> list[Key]:
        """Return all cells of a metric that any row has."""
        return list(dict.fromkeys(k for row in self.rows for k in row.values if k.metric == metric))

    @property
    def ranked(self) -> dict[str, MetricInfo]:
        """Return the metrics that networks are ranked by and that any row has numbers of, in the order of tables."""
        have = {k.metric for row in self.rows for k in row.values}
        found = [(info.ranking.order, n, info) for n, info in self.infos.items() if info.ranking and n in have]
        return {name: info for _, name, info in sorted(found, key=lambda f: f[:2])}

    @cached_property
    def figures(self) -> list[Figure]:
        """Return what can be ranked, in the order of tables: by figure, l2 first, from the smallest radius."""
        return sorted({figure for _, figure in self._searched}, key=lambda f: f.order)

    @property
    def primary(self) -> Figure | None:
        """Return the figure whose verdicts count: kappa, the metric of order 0, at the middle radius of the first norm.

        None without it.
        """
        first = [f for f in self.figures if f.ranking.order == 0]
        same = [f for f in first if f.norm == first[0].norm]
        return same[len(same) // 2] if same else None

    @cached_property
    def verdicts(self) -> list[Verdict]:
        """Return the verdict on each pair of methods in each figure."""
        return judge(self)

    @cached_property
    def uncompared(self) -> list[Uncompared]:
        """Return the pairs of methods that no search compares."""
        return uncompared(self)

    @cached_property
    def blind(self) -> list[Row]:
        """Return the methods with a network that was searched by decisions alone."""
        return [r for r in self.rows if any(s.blind for s in self.searches[r.index])]

    @property
    def mixed(self) -> bool:
        """Tell whether some networks were searched by decisions alone, and others along gradients."""
        return bool(self.blind) and any(effort.gradients for effort in self.efforts)

    @cached_property
    def across(self) -> list[Verdict]:
        """Return the verdicts on a method that was searched by decisions alone and one that was searched along gradients.

        They are by searches of both by decisions alone.
        """
        blind = {r.index for r in self.blind}
        return [v for v in self.verdicts if len({v.first.index, v.second.index} & blind) == 1]

    @cached_property
    def _by_figure(self) -> dict[Figure, list[Verdict]]:
        found: dict[Figure, list[Verdict]] = {}
        for verdict in self.verdicts:
            found.setdefault(verdict.figure, []).append(verdict)
        return found

    def rank(self, row: Row, figure: Figure) -> str:
        """Return a method's place in a figure, "" if it is compared with no other.

        It is a range where others are not separated from it, or not compared with it: each may stand on either side.
        """
        about = [v for v in self._by_figure.get(figure, ()) if row.index in (v.first.index, v.second.index)]
        if not about:
            return ""
        first = 1 + sum(v.separated and v.better is not row for v in about)
        last = 1 + len(about) - sum(v.separated and v.better is row for v in about) + self.unplaced(row, figure)
        return f"{first}" if first == last else f"{first}–{last}"

    def unplaced(self, row: Row, figure: Figure) -> int:
        """Return how many methods on the same images no search compares with one in a figure."""
        return sum(figure in u.figures and row.index in (u.first.index, u.second.index) for u in self.uncompared)

    def rising(self, row: Row, figure: Figure) -> bool:
        """Tell whether the search of a method has not converged: its curve still rises."""
        return rising(self, row, figure)

    def decided(self, row: Row, figure: Figure) -> float | None:
        """Return the median by the longest search without gradients, where such searches decide an order; else None.

        It is what a verdict compares: the mean over the seeds, an image without a flip as far as was searched.
        """
        efforts = [v.effort for v in self.across if v.figure == figure]
        seeds = [s.compared(figure) for s in self.searches[row.index]]
        if not efforts or not seeds or not all(efforts[0] in seed for seed in seeds):
            return None
        return median(seeds, efforts[0])


class Alone(NamedTuple):
    """A network apart from a store: its name, what was measured, what that means, and whether it has binary layers."""

    name: str
    measurements: Sequence[Measurement]
    by_image: ByImage
    infos: Mapping[str, MetricInfo]
    signs: bool = False


def of_networks(networks: Sequence[Alone]) -> Lipschitz:
    """Return the figures of networks apart from a store; those of one name are seeds of a method."""
    rows: dict[str, Row] = {}
    searches: dict[int, list[Search]] = defaultdict(list)
    single: dict[int, list[dict[Key, float]]] = defaultdict(list)
    signs = {one.name for one in networks if one.signs}
    for one in networks:
        row = rows.setdefault(one.name, Row(len(rows), one.name, (), jumps=one.name in signs))
        row.infos.update(one.infos)
        for m in one.measurements:
            row.values.setdefault(Key.of(m), []).append(m)
        searches[row.index] += [search for search in [Search.of(one.by_image, one.infos)] if search.figures]
        single[row.index].append(network_values(one.measurements, one.infos))
    every = list(rows.values())
    looks = styles({row.label: None for row in every})
    for row in every:
        row.styles.update(looks)
    return Lipschitz(every, every, searches, dict(single))


def network_values(measurements: Sequence[Measurement], infos: Mapping[str, MetricInfo]) -> dict[Key, float]:
    """Return the Lipschitz figures of one network by cell."""
    return {Key.of(m): m.value for m in measurements if m.metric in infos and infos[m.metric].lipschitz}


def quantiles(found: Lipschitz, row: Row, figure: Figure, levels: Sequence[float]) -> np.ndarray:
    """Return the quantiles over images of a figure by the longest search, (seeds, levels); infinite ones are inf.

    A quantile is the smallest value that the share `level` of the images does not exceed: nothing is interpolated.
    """
    each = []
    for search in found.searches[row.index]:
        efforts = [e for e in found.efforts if (e, figure) in search.figures]
        each += [search.figures[efforts[-1], figure]] if efforts else []
    return np.array([np.quantile(v.astype(np.float64), levels, method="inverted_cdf") for v in each])


def drawn(found: Lipschitz) -> list[Row]:
    """Return the rows that figures draw, as elsewhere in a report: all, or the reference and the most accurate."""
    return chosen(Setting(0, tuple(found.rows), found.rows[0])) if all(r.runs for r in found.rows) else found.rows
