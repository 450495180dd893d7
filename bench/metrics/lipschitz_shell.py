"""Largest found ratio of the logits' change to the distance, at distances from half a radius to it. A lower bound.

    L_[eps/2, eps](x) = max ||f(x+d) - f(x)||_2 / ||d||_p      over eps/2 <= ||d||_p <= eps, x + d in [0, 1]^d

Where the gain of `lipschitz_modulus` divides by the radius, this divides by the distance at which the change was found: a
jump at distance t inside the shell counts 1/t. It uses the points of the same search, and ten more passes an image for each
searched radius from half of eps to eps; it has the logits' units, so nothing is ranked by it. See `shell_gains` in
bench/lipschitz/rays.py.
Statistics over images: mean, q50 and q95, at the outer radius.
"""

from __future__ import annotations

from collections.abc import Iterator

from lcrbench.bench import stats
from lcrbench.bench.evaluation.subject import Subject
from lcrbench.bench.lipschitz import rays, search
from lcrbench.bench.lipschitz.options import Options
from lcrbench.bench.metrics import Need
from lcrbench.bench.records.measurement import Measurement, MetricInfo, Scale

INFO = MetricInfo.about(
    __doc__,
    "logits per pixel unit",
    bound="lower",
    phase="lipschitz",
    scale=Scale.POSITIVE,
    title="shell gain",
    searched=True,
)
NEEDS = frozenset({Need.FORWARD, Need.GRADIENT})


def measure(subject: Subject, options: Options) -> Iterator[Measurement]:
    """Yield mean, median and 95 % quantile over images in each ball."""
    result = search.of_metric(subject, options, "lipschitz_shell")
    for norm in ("l2", "linf"):
        for found, gains in zip(result.of(norm), rays.shell_gains(subject, result, norm), strict=True):
            for statistic, i in {
                "mean": stats.mean(gains),
                "q50": stats.quantile(gains, 0.5),
                "q95": stats.quantile(gains, 0.95),
            }.items():
                yield Measurement.of("lipschitz_shell", i, statistic=statistic, norm=norm, radius=found.ball.eps)
