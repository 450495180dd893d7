"""Smallest radius at which another class was found to draw level. An upper bound of the robust radius.

    r(x) = min { ||y - x||_p : y in [0, 1]^d was found with f_j(y) >= f_c(y) for a class j other than the predicted c }

over all points that the search of `lipschitz_kappa` tried, by whichever of its parts. Images without a flip count as
farther than every distance, and a quantile that falls among them is left out.
"""

from __future__ import annotations

from collections.abc import Iterator

from lcrbench.bench import stats
from lcrbench.bench.evaluation.subject import Subject
from lcrbench.bench.lipschitz import search
from lcrbench.bench.lipschitz.options import Options
from lcrbench.bench.metrics import Need
from lcrbench.bench.records.measurement import Measurement, MetricInfo, Ranking, Scale

INFO = MetricInfo.about(
    __doc__,
    "pixel units",
    bound="upper",
    higher_is_better=True,
    phase="lipschitz",
    scale=Scale.DISTANCE,
    title="flip radius",
    open=("q5", "q50"),
    searched=True,
    ranking=Ranking(order=2, higher_is_better=True, distance=True),
)
NEEDS = frozenset({Need.FORWARD, Need.GRADIENT})
BY_DEFAULT = True


def measure(subject: Subject, options: Options) -> Iterator[Measurement]:
    """Yield the 5 % quantile and the median over images for each norm, as far as flips were found."""
    result = search.of_metric(subject, options, "lipschitz_flip_radius")
    for norm, radii in result.looks[-1].radius.items():
        for look in result.looks:
            largest = look.of(norm)[-1].ball
            search.keep(subject, look.effort, options, "lipschitz_flip_radius", largest, look.radius[norm])
        for statistic, q in (("q5", 0.05), ("q50", 0.5)):
            i = stats.open_quantile(radii, q)
            if i is None:
                subject.leave_out(
                    "lipschitz_flip_radius",
                    f"no flip was found in {norm} for so many images that their {q:.0%} quantile is beyond every radius",
                )
            else:
                yield Measurement.of(
                    "lipschitz_flip_radius",
                    i,
                    statistic=statistic,
                    norm=norm,
                )
