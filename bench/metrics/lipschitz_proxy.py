"""Retention-matrix proxy of each pair of consecutive binary layers, as LCR's code has it and exact. An estimate of nothing.

p1 = sqrt(||R R^T 1||), one power step from ones, and sigma_1 = ||R||_2, R the retention matrix between the inputs of one
binary layer and the next; means over images. The paper takes it for a layer's Lipschitz constant; it is not one: it
saturates with the activations and does not follow the weights' norms (bench/lipschitz/fidelity.py has the probes).
Reported to be compared with `lipschitz_norms`, never as a bound.
"""

from __future__ import annotations

from collections.abc import Iterator

from lcrbench.bench import stats
from lcrbench.bench.evaluate import Subject
from lcrbench.bench.lipschitz.fidelity import PROXIES, retention
from lcrbench.bench.lipschitz.oracle import Oracle, chosen
from lcrbench.bench.metrics.lipschitz_gradients import Options as Options
from lcrbench.bench.schema import Measurement, MetricInfo, Phase
from lcrbench.models.binary import path_layers

INFO = MetricInfo(
    unit="1",
    higher_is_better=None,
    bound="estimate",
    summary=__doc__.partition("\n")[0] if __doc__ else "",
)
PHASE: Phase = "lipschitz"


def measure(subject: Subject, options: Options) -> Iterator[Measurement]:
    """Yield both proxies for each binary layer but the last; nothing for a network with fewer than two."""
    if len(path_layers(subject.network)) < 2:
        return
    indices = chosen(subject.test.labels, options.images)
    points = Oracle(subject, subject.test.images[indices]).points()
    matrices = retention(subject.network, points.to(subject.device))
    subject.passes += len(points)
    for layer, m in matrices.items():
        for statistic, proxy in PROXIES.items():
            i = stats.mean(proxy(m).cpu().numpy())
            yield Measurement.of(
                "lipschitz_proxy",
                i,
                statistic=statistic,
                layer=layer,
            )
