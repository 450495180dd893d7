"""CLEVER score, capped at its radius: an extreme-value estimate of the distance to another class, and no bound.

Weng et al. 2018, arXiv 1801.10578, with the straight-through gradients of the estimators on a network of signs, where it is
refuted by attacks: it stands here for comparison with the literature. See bench/lipschitz/clever.py. Statistics over
images: q50 of the score; q50 of margin over the largest gradient seen (form "plain"), which needs no fit; the share of
images with a "good" fit; and the share that is "capped" and so says nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lcrbench.bench import stats
from lcrbench.bench.evaluation.subject import Subject
from lcrbench.bench.lipschitz import clever
from lcrbench.bench.lipschitz.foreign import need_gradient
from lcrbench.bench.lipschitz.oracle import Oracle
from lcrbench.bench.metrics import Cost, Need
from lcrbench.bench.records.measurement import Detail, Kind, Measurement, MetricInfo, Scale
from lcrbench.errors import UserError

INFO = MetricInfo.about(
    __doc__,
    "pixel units",
    bound="estimate",
    phase="lipschitz",
    scale=Scale.DISTANCE,
    title="CLEVER",
    other={
        name: Kind(unit="fraction of images", bound="exact", scale=Scale.SHARE, title=title)
        for name, title in (("good", "good fits"), ("capped", "scores capped at the radius"))
    },
)
NEEDS = frozenset({Need.FORWARD, Need.GRADIENT})
COST = Cost.ON_REQUEST


@dataclass(frozen=True)
class Options:
    """`images`, evenly spaced over the classes; the `radius` in pixel units and the `norm`; the sampling; the `seed`."""

    images: int = 20
    radius: float = 0.5
    norm: str = "l2"
    batches: int = 10
    batch: int = 10
    pool_factor: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        if self.images < 1:
            raise UserError("needs images >= 1")
        self.settings()

    def settings(self) -> clever.Settings:
        """Return what concerns one score."""
        return clever.Settings(self.radius, self.norm, self.batches, self.batch, self.pool_factor, self.seed)


def measure(subject: Subject, options: Options) -> Iterator[Measurement]:
    """Yield medians of the score with and without the fit, and the shares of good fits and of capped scores."""
    oracle = Oracle.of(subject, options.images)
    need_gradient(subject.network, oracle.points(), subject.device)
    each = zip(oracle.images, oracle.indices, strict=True)
    scores = [clever.score(subject, image, int(i), options.settings()) for image, i in each]
    n = len(scores)
    for statistic, i, detail in (
        ("q50", stats.quantile(np.array([s.score for s in scores]), 0.5), None),
        ("q50", stats.quantile(np.array([s.plain for s in scores]), 0.5), Detail(form="plain")),
        ("good", stats.proportion(sum(s.fit == "good" for s in scores), n), None),
        ("capped", stats.proportion(sum(s.capped for s in scores), n), None),
    ):
        yield Measurement.of(
            "lipschitz_clever",
            i,
            statistic=statistic,
            norm=options.norm,
            radius=options.radius,
            detail=detail,
        )
