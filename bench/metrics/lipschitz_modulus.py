"""Gain of the deployed network: how far its logits were found to move within a radius, over that radius. A lower bound.

    gain_p(x; eps)  = omega_p(x; eps) / eps
    omega_p(x; eps) = max ||f(x+d) - f(x)||_2      over ||d||_p <= eps, x + d in [0, 1]^d

with logits f of the network as deployed (signs, evaluation mode, normalization inside) and d in pixel units. The maximum
is searched as bench/lipschitz/search.py says, so each number is a lower bound. A sign network jumps: its gain grows without
bound as the radius shrinks, and one radius can order two networks either way. Read the curve; and since logits have no
natural scale, rank by `lipschitz_kappa` instead.

Statistics over images: mean, q50 and q95 with intervals, and the maximum without one; "found", the share of images whose
largest change one part of the search found, by the form: "descent", "walk", "climb" or "random", as `lipschitz_kappa` says.
The more by "walk" and "random", the less the gradients are worth.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lcrbench.bench import stats
from lcrbench.bench.evaluation.subject import Subject
from lcrbench.bench.lipschitz import search
from lcrbench.bench.lipschitz.options import Options
from lcrbench.bench.lipschitz.results import FOUND, finders
from lcrbench.bench.metrics import Need
from lcrbench.bench.records.measurement import Measurement, MetricInfo, Scale
from lcrbench.bench.records.statistics import Statistic

INFO = MetricInfo.about(
    __doc__,
    "logits per pixel unit",
    bound="lower",
    phase="lipschitz",
    scale=Scale.POSITIVE,
    other={Statistic.FOUND: FOUND},
    searched=True,
)
NEEDS = frozenset({Need.FORWARD, Need.GRADIENT})
BY_DEFAULT = True


def measure(subject: Subject, options: Options) -> Iterator[Measurement]:
    """Yield mean, median, 95 % quantile and maximum over images of the gain in each ball."""
    result = search.of_metric(subject, options, "lipschitz_modulus")
    for found in result.found:
        gain, ball = found.gain, found.ball
        for statistic, i in {
            Statistic.MEAN: stats.mean(gain),
            Statistic.Q50: stats.quantile(gain, 0.5),
            Statistic.Q95: stats.quantile(gain, 0.95),
            Statistic.MAX: stats.Interval(float(np.max(gain)), None, None, len(gain), ""),
        }.items():
            yield Measurement.of("lipschitz_modulus", i, statistic=statistic, norm=ball.norm, radius=ball.eps)
        yield from finders("lipschitz_modulus", ball, found.omega_by)
