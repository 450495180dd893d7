"""Share of images on which the surrogate network, with hardtanh in place of the signs, predicts what the deployed one does.

Below about 0.9 figures of the surrogate (its product bound, its gradients) tell little about the deployed network.
"""

from __future__ import annotations

from collections.abc import Iterator

from lcrbench.bench import stats
from lcrbench.bench.evaluate import Subject
from lcrbench.bench.lipschitz.gradients import surrogate_agreement
from lcrbench.bench.lipschitz.oracle import Oracle, chosen
from lcrbench.bench.metrics.lipschitz_gradients import Options as Options
from lcrbench.bench.schema import Measurement, MetricInfo, Phase
from lcrbench.models.binary import binary_layers

INFO = MetricInfo(
    unit="fraction",
    higher_is_better=None,
    bound="exact",
    summary=__doc__.partition("\n")[0] if __doc__ else "",
)
PHASE: Phase = "lipschitz"


def measure(subject: Subject, options: Options) -> Iterator[Measurement]:
    """Yield the share with its Wilson interval; nothing for a network without signs."""
    if not binary_layers(subject.network):
        return
    indices = chosen(subject.test.labels, options.images)
    oracle = Oracle(subject, subject.test.images[indices])
    points = oracle.points()
    same = surrogate_agreement(subject.network, points, oracle.logits(points).argmax(1), subject.device)
    i = stats.proportion(int(same.sum()), len(same))
    yield Measurement.of("lipschitz_agreement", i)
