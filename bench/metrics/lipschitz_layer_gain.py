"""Local gain of each layer and stage of the surrogate network: the norm of its Jacobian at the image. An estimate.

    gain(x) = ||J(x)||_2,      J of the map from a binary layer's input to that of the next one, or from one stage's output
                               to the next one's (`stage`), with hardtanh in place of each sign

by 10 steps of power iteration, from below; the mean over images. It is what the retention-matrix proxy is taken to stand
for (`lipschitz_proxy`), at the images themselves; `lipschitz_norms` bounds its layer's part for all inputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lcrbench.bench import stats
from lcrbench.bench.evaluation.subject import Subject
from lcrbench.bench.lipschitz.fidelity import FEWER, local_gains
from lcrbench.bench.lipschitz.oracle import Images, Oracle
from lcrbench.bench.metrics import Cost, Need
from lcrbench.bench.records.measurement import Detail, Measurement, MetricInfo, Scale
from lcrbench.models.binary import path_layers

INFO = MetricInfo.about(__doc__, "l2 to l2", bound="estimate", phase="lipschitz", scale=Scale.POSITIVE)
NEEDS = frozenset({Need.FORWARD, Need.GRADIENT, Need.LAYERS})
COST = Cost.EACH_IMAGE_IS_LONG
BY_DEFAULT = True


@dataclass(frozen=True)
class Options(Images):
    """`images`: number of test images, evenly spaced over the classes."""

    images: int = 12


def measure(subject: Subject, options: Options) -> Iterator[Measurement]:
    """Yield the mean gain of each binary layer but the last and each stage but the first; nothing with fewer than two."""
    if len(path_layers(subject.network)) < 2:
        subject.leave_out("lipschitz_layer_gain", FEWER)
        return
    points = Oracle.of(subject, options.images).points()
    gains = local_gains(subject.network, points.to(subject.device))
    subject.passes += len(points)
    for part, gain in gains.items():
        detail = Detail(stage=part.stage) if part.stage else None
        yield Measurement.of("lipschitz_layer_gain", stats.mean(gain), layer=part.layer, norm="l2", detail=detail)
