"""Product bound of the surrogate network, with hardtanh in place of each sign: an upper bound, and of the surrogate alone.

Norms of the folded layers are multiplied along chains and added where branches meet, from pixels in [0, 1] to logits. The
deployed network of signs has no finite Lipschitz constant (it is infinite unless the network is constant), and the
surrogate is another function: read this number as a figure of the weights, and never as a bound of what is deployed. For
a network without signs it bounds the network itself. Nothing is reported where an operation has no finite bound, or where
the network's graph cannot be followed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from lcrbench.bench.evaluate import Subject
from lcrbench.bench.schema import Measurement, MetricInfo, Phase
from lcrbench.errors import UserError
from lcrbench.models.binary import binary_layers
from lcrbench.models.spectral import product_bound

INFO = MetricInfo(
    unit="logits per pixel unit",
    higher_is_better=None,
    bound="upper",
    summary=__doc__.partition("\n")[0] if __doc__ else "",
)
PHASE: Phase = "lipschitz"


@dataclass(frozen=True)
class Options:
    """No options."""


def measure(subject: Subject, options: Options) -> Iterator[Measurement]:
    """Yield the bound; its statistic says whether it is the surrogate's or the network's own."""
    height, width = subject.test.images.shape[1:3]
    try:
        bound = product_bound(subject.network, (3, height, width)).surrogate
    except UserError:
        return
    if math.isfinite(bound):
        statistic = "surrogate" if binary_layers(subject.network) else "network"
        yield Measurement(metric="lipschitz_product", value=bound, n=1, statistic=statistic, norm="l2")
