"""Which orders of two methods a search can tell, and why not the others."""

from __future__ import annotations

import itertools
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lcrbench.bench import stats
from lcrbench.bench.records.by_image import Effort
from lcrbench.bench.stats import Interval, Resampled
from lcrbench.reports.comparison import Row
from lcrbench.reports.lipschitz.search import Figure
from lcrbench.reports.significance import ALPHA, holm

if TYPE_CHECKING:  # that module asks this one
    from lcrbench.reports.lipschitz.found import Lipschitz


class Why(StrEnum):
    """Why two methods are not separated."""

    EFFORTS_DISAGREE = "efforts disagree"
    ONE_EFFORT = "one effort"
    NOT_CONVERGED = "not converged"
    NO_DIFFERENCE = "no difference"
    SINGLE_SEED = "single seed"
    FEW_IMAGES = "few images"
    HOLDS_0 = "the interval holds 0"
    BY_CHANCE = "by chance"


STEEP = 0.2
"""Relative change of a median from the shorter search to the longest: where it is larger, the search has not converged."""


class Verdict(NamedTuple):
    """What the search can say about the order of two methods in one figure; `gap` is the first minus the second.

    `p` is corrected over a family of so many comparisons; the medians are over so many `images`, by a search of this
    `effort`; `why` says why the two are not separated, None if they are.
    """

    first: Row
    second: Row
    figure: Figure
    gap: Interval
    p: float
    family: int
    images: int
    effort: Effort
    why: Why | None

    @property
    def separated(self) -> bool:
        """Tell whether the order counts."""
        return self.why is None

    @property
    def better(self) -> Row:
        """Return the method with the better found figure."""
        return self.first if self.gap.value * self.figure.sign < 0 else self.second


def judge(found: Lipschitz) -> list[Verdict]:
    """Return the verdict on each pair of methods in each figure.

    Holm's correction runs over the pairs of the primary figure, and over the pairs and figures of all others together.
    """
    compared = [c for figure in found.figures for c in _compare(found, figure)]
    verdicts = {}
    for primary in (True, False):
        family = [c for c in compared if (c.figure == found.primary) == primary]
        for c, p in zip(family, holm([c.p for c in family]), strict=True):
            verdicts[c.first.index, c.second.index, c.figure] = Verdict(
                c.first, c.second, c.figure, c.gaps[-1], p, len(family), c.images, c.effort, _why(found, c, p)
            )
    return [verdicts[c.first.index, c.second.index, c.figure] for c in compared]


class Uncompared(NamedTuple):
    """Two methods on the same images without a search of equal effort of both, and the figures that both have.

    `blind` is the one whose search saw decisions alone, and `other` the one of which there is no such search; both are None
    where another difference of the efforts is the reason.
    """

    first: Row
    second: Row
    figures: frozenset[Figure]
    blind: Row | None
    other: Row | None


def uncompared(found: Lipschitz) -> list[Uncompared]:
    """Return the pairs of methods that no search compares in any figure."""
    efforts = {r.index: [{e for e, _ in s.figures} for s in found.searches[r.index]] for r in found.rows if not r.aside}
    images = _images(found, [r for r in found.rows if efforts.get(r.index)])
    apart = []
    for a, b in itertools.combinations([r for r in found.rows if r.index in images], 2):
        if len(images[a.index] | images[b.index]) > 1 or set.intersection(*efforts[a.index], *efforts[b.index]):
            continue
        figures = [{f for s in found.searches[r.index] for _, f in s.figures} for r in (a, b)]
        blind = [r for r in (a, b) if any(s.blind for s in found.searches[r.index])]
        pair = (blind[0], b if blind[0] is a else a) if len(blind) == 1 else (None, None)
        apart.append(Uncompared(a, b, frozenset(figures[0] & figures[1]), *pair))
    return apart


def _images(found: Lipschitz, rows: list[Row]) -> dict[int, set[bytes]]:
    """Return the sets of images that the searches of each row are of, by the row's index."""
    return {r.index: {s.images for s in found.searches[r.index]} for r in rows}


def rising(found: Lipschitz, row: Row, figure: Figure) -> bool:
    """Tell whether a method's curve still rises: the longest search moved the median of a shorter one by more than `STEEP`.

    With gradients, where all of its networks were searched so; False where there is one effort alone.
    """
    seeds = [s.compared(figure) for s in found.searches[row.index]]
    if not seeds:
        return False
    efforts = _deciding([e for e in found.efforts if all(e in seed for seed in seeds)])[-2:]
    ends = [median(seeds, e) for e in efforts]
    return len(ends) > 1 and _change(*ends) > STEEP


def median(seeds: list[dict[Effort, np.ndarray]], effort: Effort) -> float:
    """Return the mean over the seeds of the median over images, which verdicts compare, by an effort that all have."""
    return float(np.mean([np.median(seed[effort].astype(np.float64)) for seed in seeds]))


def _deciding(efforts: list[Effort]) -> list[Effort]:
    """Return those of some efforts that count: without gradients a search finds less, so it counts if there is no other."""
    return [e for e in efforts if e.gradients] or efforts


def _change(before: float, after: float) -> float:
    """Return by how much a median moved, as a share of what it was."""
    return abs(after - before) / max(abs(before), 1e-12)


class _Compared(NamedTuple):
    """A pair of methods in one figure: the difference of medians by each effort, and the p-value of the longest.

    `moved` is the relative change from the effort before the longest to it, of the method that looks better; `unchecked`
    tells that there is no effort before it.
    `images` is how many images each median is over, `effort` the longest.
    """

    first: Row
    second: Row
    figure: Figure
    gaps: list[Interval]
    p: float
    moved: float
    unchecked: bool
    images: int
    effort: Effort


def _compare(found: Lipschitz, figure: Figure) -> list[_Compared]:
    # Of each method that has the figure: its values by effort, one a seed, and the images that they are about.
    values = {r.index: [s.compared(figure) for s in found.searches[r.index]] for r in found.rows if not r.aside}
    have = [r for r in found.rows if values.get(r.index) and all(values[r.index])]
    images = _images(found, have)
    compared = []
    resampled: dict[tuple[int, Effort], Resampled] = {}
    every = found.efforts

    def medians(row: Row, effort: Effort) -> Resampled:
        if (row.index, effort) not in resampled:  # a method is in many pairs
            each = [seed[effort] for seed in values[row.index]]
            resampled[row.index, effort] = stats.resampled_medians(each)
        return resampled[row.index, effort]

    for a, b in itertools.combinations(have, 2):
        sides = values[a.index], values[b.index]
        if len(images[a.index] | images[b.index]) > 1:
            continue
        efforts = _deciding([e for e in every if all(e in seed for side in sides for seed in side)])
        if not efforts:
            continue  # `uncompared` has the pair
        gaps = [stats.gap(medians(a, e), medians(b, e)) for e in efforts]
        better = a if gaps[-1].interval.value * figure.sign < 0 else b
        ends = [medians(better, e).value for e in efforts[-2:]]
        moved = _change(ends[0], ends[-1])
        unchecked = len(efforts) == 1
        many, longest = medians(a, efforts[0]).images, efforts[-1]
        found_gaps = [g.interval for g in gaps]
        compared.append(_Compared(a, b, figure, found_gaps, gaps[-1].p, moved, unchecked, many, longest))
    return compared


def _why(found: Lipschitz, c: _Compared, p: float) -> Why | None:
    """Return why two methods are not separated, None if they are; p after the correction."""
    gap, orders = c.gaps[-1], {np.sign(g.value) for g in c.gaps}
    seeds = [len(found.searches[r.index]) for r in (c.first, c.second)]
    if {-1.0, 1.0} <= orders:
        return Why.EFFORTS_DISAGREE
    if c.unchecked:
        return Why.ONE_EFFORT
    # What else a search would find of the better one could turn the order; of the worse one it could not.
    if c.moved > STEEP:
        return Why.NOT_CONVERGED
    if 0.0 in orders:
        return Why.NO_DIFFERENCE
    if min(seeds) == 1 < max(seeds):
        return Why.SINGLE_SEED
    if c.images < stats.LEAST_IMAGES:
        return Why.FEW_IMAGES
    if gap.low is None or gap.high is None or gap.low <= 0 <= gap.high:
        return Why.HOLDS_0
    return Why.BY_CHANCE if p >= ALPHA else None
