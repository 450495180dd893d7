"""Distance of an image to the nearest flip among the first layer's signs: the stable radius of that layer. A lower bound.

    R_stable(x) = min_i |z_i(x) - tau_i| / ||grad z_i||_q,      z_i affine in the image, tau_i where the sign turns

in pixel units, for l2 (q = 2) and linf (q = 1). Inside it no first sign changes; in a network without shortcuts f is then
constant there. The walls of the box may forbid the nearest flip: within the box [0, 1] it is a lower bound, exact
without. See bench/lipschitz/first_layer.py; nothing is reported where a first sign is not that of one threshold of one
affine function of the image, or where none ever turns.
"""

from __future__ import annotations

from collections.abc import Iterator

from lcrbench.bench import stats
from lcrbench.bench.evaluation.subject import Subject
from lcrbench.bench.lipschitz.first_layer import distances
from lcrbench.bench.lipschitz.oracle import Images, Oracle
from lcrbench.bench.metrics import Need
from lcrbench.bench.records.measurement import Measurement, MetricInfo, Scale
from lcrbench.errors import UserError

INFO = MetricInfo.about(
    __doc__,
    "pixel units",
    bound="lower",
    phase="lipschitz",
    scale=Scale.DISTANCE,
    title="distance to the first layer's nearest flip",
    note="exact without the walls of the box, within it a lower bound",
)
NEEDS = frozenset({Need.FORWARD, Need.LAYERS})
Options = Images


def measure(subject: Subject, options: Images) -> Iterator[Measurement]:
    """Yield quantiles over images of the stable radius, l2 and linf."""
    points = Oracle.of(subject, options.images).points()
    try:
        found = distances(subject.network, points)
    except UserError as error:
        subject.leave_out("lipschitz_first_layer", str(error))
        return
    for norm, t in (("l2", found.l2), ("linf", found.linf)):
        for statistic, q in (("q5", 0.05), ("q50", 0.5), ("q95", 0.95)):
            i = stats.open_quantile(t.min(1), q)
            if i is None:
                subject.leave_out("lipschitz_first_layer", f"no image can turn a sign of '{found.layer}'")
                continue
            yield Measurement.of(
                "lipschitz_first_layer",
                i,
                statistic=statistic,
                layer=found.layer,
                norm=norm,
            )
