"""Gain over the natural scale of the network's logits. A lower bound, scale-free.

    relative gain = omega_p(x; eps) / eps / s,      s = sqrt( mean over images of ||f(x) - mean_j f_j(x)||_2^2 )

with the gain of `lipschitz_modulus`; s is measured on the same clean images. Under f -> a f + b 1 it stays as it is.
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
    "root-mean-square logits per pixel unit",
    bound="lower",
    phase="lipschitz",
    scale=Scale.POSITIVE,
    title="relative gain",
    searched=True,
    ranking=Ranking(order=1),
)
NEEDS = frozenset({Need.FORWARD, Need.GRADIENT})
BY_DEFAULT = True


def measure(subject: Subject, options: Options) -> Iterator[Measurement]:
    """Yield median and 95 % quantile in each ball; nothing for a network whose logits are all alike."""
    result = search.of_metric(subject, options, "lipschitz_relative_gain")
    if result.start.scale == 0:
        subject.leave_out("lipschitz_relative_gain", "the network's logits are all alike: they have no scale")
        return
    for look in result.looks:
        for found in look.found:
            gain = found.gain / result.start.scale
            search.keep(subject, look.effort, options, "lipschitz_relative_gain", found.ball, gain)
    for found in result.found:
        for statistic, q in (("q50", 0.5), ("q95", 0.95)):
            i = stats.quantile(found.gain / result.start.scale, q)
            yield Measurement.of(
                "lipschitz_relative_gain",
                i,
                statistic=statistic,
                norm=found.ball.norm,
                radius=found.ball.eps,
            )
