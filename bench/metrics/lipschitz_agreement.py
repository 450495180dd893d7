"""Share of images on which the surrogate network, with hardtanh in place of the signs, predicts what the deployed one does.

Below about 0.9 figures of the surrogate (its product bound, its gradients) tell little about the deployed network.
"""

from __future__ import annotations

from collections.abc import Iterator

from lcrbench.bench import stats
from lcrbench.bench.evaluation.subject import Subject
from lcrbench.bench.lipschitz.gradients import surrogate_agreement
from lcrbench.bench.lipschitz.oracle import Images, Oracle
from lcrbench.bench.metrics import Need
from lcrbench.bench.records.measurement import Measurement, MetricInfo, Scale
from lcrbench.models.binary import binary_layers

INFO = MetricInfo.about(__doc__, "fraction", bound="exact", phase="lipschitz", scale=Scale.SHARE)
NEEDS = frozenset({Need.FORWARD, Need.LAYERS})
BY_DEFAULT = True
Options = Images


def measure(subject: Subject, options: Images) -> Iterator[Measurement]:
    """Yield the share with its Wilson interval; nothing for a network without signs."""
    if not binary_layers(subject.network):
        subject.leave_out("lipschitz_agreement", "the network has no binary layers, so it is its own surrogate")
        return
    oracle = Oracle.of(subject, options.images)
    points = oracle.points()
    same = surrogate_agreement(subject.network, points, oracle.logits(points).argmax(1), subject.device)
    i = stats.proportion(int(same.sum()), len(same))
    yield Measurement.of("lipschitz_agreement", i)
