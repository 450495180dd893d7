"""How far apart the deployed network's logits can be for any two images: an upper bound, of networks of signs too.

    omega_p(x; eps) <= D,      D >= max ||f(y) - f(x)||_2 over all x, y in [0, 1]^d

at every image, norm and radius. Distances are carried through the network's graph, from sqrt(d) at the pixels; n signs are
at most 2 sqrt(n) apart whatever came before them, and so are n numbers in [-1, 1]. A network that ends in hardtanh, global
average pooling over C channels and a linear layer W has D = 2 sqrt(C) ||W||_2, with a batch norm before W folded into it.
See `range_bound` in models/spectral. In logits, which have no natural scale: nothing is ranked by it. Nothing is reported
where an operation has no rule.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from lcrbench.bench.evaluation.subject import Subject
from lcrbench.bench.metrics import Need
from lcrbench.bench.records.measurement import Measurement, MetricInfo, Scale
from lcrbench.errors import UserError
from lcrbench.models.spectral import range_bound

INFO = MetricInfo.about(__doc__, "logits", bound="upper", phase="lipschitz", scale=Scale.POSITIVE)
NEEDS = frozenset({Need.LAYERS})
BY_DEFAULT = True


@dataclass(frozen=True)
class Options:
    """No options."""


def measure(subject: Subject, options: Options) -> Iterator[Measurement]:
    """Yield the bound, if it is finite."""
    try:
        found = range_bound(subject.network, (3, *subject.test.images.shape[1:3]))
    except UserError as error:
        subject.leave_out("lipschitz_range", str(error))
        return
    if found.reason:
        subject.leave_out("lipschitz_range", found.reason)
    if math.isfinite(found.bound):
        yield Measurement(metric="lipschitz_range", value=found.bound, n=1, statistic="all images", norm="l2")
