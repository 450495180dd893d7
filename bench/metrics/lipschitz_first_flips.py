"""Share of the first layer's signs that can flip, each on its own, within a radius. An upper bound.

    N_flip(x; eps) / units = share of i with |z_i(x) - tau_i| / ||grad z_i||_q <= eps

with z_i affine in the image and tau_i where the sign of unit i turns, as in bench/lipschitz/first_layer.py; the mean over
images, at l2 {2, 8, 32, 128}/255 and linf {2, 8}/255 (`RADII`, no option: each is a count over the same distances). Signs
that never turn count among the units. The walls of the box [0, 1] can only forbid flips: within the box the share is an
upper bound, exact without.
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
    "fraction of units",
    bound="upper",
    phase="lipschitz",
    scale=Scale.SHARE,
    title="first layer's signs that can each flip",
    note="exact without the walls of the box, within it an upper bound",
)
NEEDS = frozenset({Need.FORWARD, Need.LAYERS})
Options = Images
RADII = {"l2": (2, 8, 32, 128), "linf": (2, 8)}


def measure(subject: Subject, options: Images) -> Iterator[Measurement]:
    """Yield the mean share over images at each radius; nothing where a first sign has not one threshold."""
    points = Oracle.of(subject, options.images).points()
    try:
        found = distances(subject.network, points)
    except UserError as error:
        subject.leave_out("lipschitz_first_flips", str(error))
        return
    for norm, t in (("l2", found.l2), ("linf", found.linf)):
        for radius in RADII[norm]:
            i = stats.mean((t <= radius / 255).mean(1))
            yield Measurement.of(
                "lipschitz_first_flips",
                i,
                layer=found.layer,
                norm=norm,
                radius=radius / 255,
            )
