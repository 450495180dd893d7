"""Distance of an image to the nearest flip among the first layer's signs: the exact stable radius of that layer.

    R_stable(x) = min_i |z_i(x)| / ||grad z_i||_q,      z the input of the first signs, affine in the image

in pixel units, for l2 (q = 2) and linf (q = 1). Inside it no first sign changes; in a network without shortcuts f is then
constant there. The walls of the box may forbid the nearest flip: within the box it is a lower bound. See
bench/lipschitz/first_layer.py; nothing is reported where the first signs see more than an affine function of the image.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lcrbench.bench import stats
from lcrbench.bench.evaluate import Subject
from lcrbench.bench.lipschitz.first_layer import distances
from lcrbench.bench.lipschitz.oracle import Oracle, chosen
from lcrbench.bench.schema import Measurement, MetricInfo, Phase
from lcrbench.errors import UserError

INFO = MetricInfo(
    unit="pixel units",
    higher_is_better=None,
    bound="exact",
    summary=__doc__.partition("\n")[0] if __doc__ else "",
)
PHASE: Phase = "lipschitz"


@dataclass(frozen=True)
class Options:
    """`images`: number of test images, evenly spaced over the classes."""

    images: int = 100

    def __post_init__(self) -> None:
        if self.images < 1:
            raise UserError("needs images >= 1")


def measure(subject: Subject, options: Options) -> Iterator[Measurement]:
    """Yield quantiles over images of the stable radius, l2 and linf."""
    indices = chosen(subject.test.labels, options.images)
    points = Oracle(subject, subject.test.images[indices]).points()
    try:
        found = distances(subject.network, points)
    except UserError:
        return
    for norm, t in (("l2", found.l2), ("linf", found.linf)):
        for statistic, q in (("q5", 0.05), ("q50", 0.5), ("q95", 0.95)):
            i = stats.quantile(t.min(1), q)
            yield Measurement.of(
                "lipschitz_first_layer",
                i,
                statistic=statistic,
                layer=found.layer,
                norm=norm,
            )
