"""Norm of the Jacobian of the logits at an image, three ways. Estimates: they bound nothing on a network of signs.

    ||J(x)||_2,      J the Jacobian in pixel space by the "true" derivative (zero through signs), the "straight"-through one
                     of training, or that of the "surrogate" network with hardtanh in place of the signs

A network from elsewhere without lcrbench's binary layers has one gradient, its own: it is "true" if the outputs change by
it, else "straight". On a network of signs the gain found over a small radius is often ten times all three (gradient
masking). On a network without signs all three are the true one, and its maximum over images is a lower bound of the
Lipschitz constant. Statistics over images: q50 and q95 of each. See `lipschitz_agreement` for whether the surrogate
resembles the network.
"""

from __future__ import annotations

from collections.abc import Iterator

from lcrbench.bench import stats
from lcrbench.bench.evaluation.subject import Subject
from lcrbench.bench.lipschitz.foreign import need_gradient
from lcrbench.bench.lipschitz.gradients import KINDS, is_true, jacobian_norms
from lcrbench.bench.lipschitz.oracle import Images, Oracle
from lcrbench.bench.metrics import Need
from lcrbench.bench.records.measurement import Detail, Measurement, MetricInfo, Scale
from lcrbench.models.binary import binary_layers

INFO = MetricInfo.about(
    __doc__, "logits per pixel unit", bound="estimate", phase="lipschitz", scale=Scale.POSITIVE, title="gradient norm"
)
NEEDS = frozenset({Need.FORWARD, Need.GRADIENT, Need.LAYERS})
Options = Images
CHECKED = 16
"""Images at which a network's own derivative is compared with how its outputs change."""


def measure(subject: Subject, options: Images) -> Iterator[Measurement]:
    """Yield the quantiles over images for each kind of gradient; only its own for a network without binary layers."""
    points = Oracle.of(subject, options.images).points()
    need_gradient(subject.network, points, subject.device)
    kinds = KINDS
    if not binary_layers(subject.network):
        kinds = KINDS[:1] if is_true(subject.network, points[:CHECKED], subject.device) else KINDS[1:2]
        if kinds != KINDS[:1]:
            subject.leave_out(
                "lipschitz_gradients",
                "the network's own derivative is not that of its outputs, and is given as straight-through; only "
                "lcrbench's binary layers have a true one and a surrogate",
            )
    for kind in kinds:
        norms = jacobian_norms(subject.network, points, kind, subject.device)
        subject.passes += len(points)
        for statistic, q in (("q50", 0.5), ("q95", 0.95)):
            i = stats.quantile(norms, q)
            yield Measurement.of(
                "lipschitz_gradients",
                i,
                statistic=statistic,
                norm="l2",
                detail=Detail(form=kind),
            )
