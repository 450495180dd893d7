"""Slope of log omega against log eps: 1 where a network is Lipschitz, 0 where it jumps. An estimate, scale-free.

    alpha(eps_1, eps_2) = log( mean omega(eps_2) / mean omega(eps_1) ) / log( eps_2 / eps_1 )

between neighbouring radii of a norm, with omega as `lipschitz_modulus` searches it and the mean over images; `radius` is the
larger one, `inner_radius` the smaller one. The interval is a percentile bootstrap over images, both
radii resampled together. It is an estimate: both means are lower bounds, and the search may do better at one of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from lcrbench.bench import stats
from lcrbench.bench.evaluation.subject import Subject
from lcrbench.bench.lipschitz import search
from lcrbench.bench.lipschitz.options import Options
from lcrbench.bench.metrics import Need
from lcrbench.bench.records.measurement import Detail, Measurement, MetricInfo

INFO = MetricInfo.about(__doc__, "exponent", bound="estimate", phase="lipschitz", searched=True)
NEEDS = frozenset({Need.FORWARD, Need.GRADIENT})
BY_DEFAULT = True


def measure(subject: Subject, options: Options) -> Iterator[Measurement]:
    """Yield the slope between neighbouring radii; none where nothing was found to move at the smaller one."""
    result = search.of_metric(subject, options, "lipschitz_slope")
    for norm in ("l2", "linf"):
        for a, b in pairwise(result.of(norm)):
            if a.omega.mean() == 0:
                subject.leave_out(
                    "lipschitz_slope",
                    f"nothing was found to move the logits within {norm} {a.ball.eps * 255:g}/255",
                )
                continue
            ratio = np.log(b.ball.eps / a.ball.eps)

            def slope(small: np.ndarray, large: np.ndarray, axis: int, ratio: float = ratio) -> np.ndarray:
                return np.asarray(np.log(large.mean(axis) / small.mean(axis)) / ratio)

            i = stats.bootstrap([a.omega, b.omega], slope)
            yield Measurement.of(
                "lipschitz_slope",
                i,
                norm=norm,
                radius=b.ball.eps,
                detail=Detail(inner_radius=a.ball.eps),
            )
