"""How far the search has come: what it had found in each ball after so many passes an image. Lower bounds.

Statistics at each of the search's marks, with `passes` in the detail: "flipped", the share of images for which a flip was
found, and q50, the median over images of kappa (`lipschitz_kappa`), left out where ties make it infinite. A curve that still
rises tells that the network's figures are understated, and by how much more than another's whose curve is flat. `passes` is
what the search may have taken of an image by then; it has taken fewer where a part had nothing to do.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from lcrbench.bench import stats
from lcrbench.bench.evaluation.subject import Subject
from lcrbench.bench.lipschitz import search
from lcrbench.bench.lipschitz.options import Options
from lcrbench.bench.lipschitz.results import OF_TIES
from lcrbench.bench.metrics import Need
from lcrbench.bench.records.measurement import Detail, Kind, Measurement, MetricInfo, Scale
from lcrbench.bench.records.statistics import Statistic

INFO = MetricInfo.about(
    __doc__,
    "margins",
    bound="lower",
    phase="lipschitz",
    scale=Scale.POSITIVE,
    title="search so far",
    other={Statistic.FLIPPED: Kind(unit="fraction of images", bound="lower", scale=Scale.SHARE, title="flip found")},
    searched=True,
)
NEEDS = frozenset({Need.FORWARD, Need.GRADIENT})
BY_DEFAULT = True


def measure(subject: Subject, options: Options) -> Iterator[Measurement]:
    """Yield both statistics of each ball at each mark; a median among ties is left out."""
    result = search.of_metric(subject, options, "lipschitz_convergence")
    n = len(result.start.indices)
    for norm, curve in result.curves.items():
        for k, found in enumerate(result.of(norm)):
            for mark in curve:
                for statistic, value in ((Statistic.FLIPPED, mark.flips[k]), (Statistic.Q50, mark.kappa[k])):
                    if not math.isfinite(value):
                        subject.leave_out("lipschitz_convergence", OF_TIES)
                        continue
                    yield Measurement.of(
                        "lipschitz_convergence",
                        stats.Interval(value, None, None, n, ""),
                        statistic=statistic,
                        norm=norm,
                        radius=found.ball.eps,
                        detail=Detail(passes=mark.passes),
                    )
