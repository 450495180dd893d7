"""Product bound of the surrogate network, with hardtanh in place of each sign: an upper bound, and of the surrogate alone.

Norms of the folded layers are multiplied along chains and added where branches meet, from pixels in [0, 1] to logits. The
deployed network of signs has no finite Lipschitz constant (it is infinite unless the network is constant), and the
surrogate is another function: read this number as a figure of the weights, and never as a bound of what is deployed. For
a network without signs it bounds the network itself. Nothing is reported where an operation has no finite bound, or where
the network's graph cannot be followed. Forms: "surrogate", or "network" where there are no signs; with a layer's name the
bound of that block, from its input to its output; with a `stage` the product of its blocks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from lcrbench.bench.evaluation.subject import Subject
from lcrbench.bench.lipschitz.fidelity import part_bounds
from lcrbench.bench.metrics import Need
from lcrbench.bench.records.measurement import Detail, Measurement, MetricInfo, Part, Scale
from lcrbench.bench.records.statistics import Function, Statistic
from lcrbench.errors import UserError
from lcrbench.models.binary import binary_layers
from lcrbench.models.spectral import product_bound

INFO = MetricInfo.about(__doc__, "logits per pixel unit", bound="upper", phase="lipschitz", scale=Scale.POSITIVE)
NEEDS = frozenset({Need.LAYERS})
BY_DEFAULT = True


@dataclass(frozen=True)
class Options:
    """No options."""


def measure(subject: Subject, options: Options) -> Iterator[Measurement]:
    """Yield the bounds that are finite: of the whole, of each block and of each stage."""
    shape = (3, *subject.test.images.shape[1:3])
    try:
        whole = product_bound(subject.network, shape)
        bounds = {Part(): whole.bound}
        for one in part_bounds(subject.network, shape):
            stage = Part(stage=one.stage)
            bounds |= {Part(one.name): one.bound, stage: bounds.get(stage, 1.0) * one.bound}
    except UserError as error:
        subject.leave_out("lipschitz_product", str(error))
        return
    if whole.reason:
        subject.leave_out("lipschitz_product", whole.reason)
    form = Function.SURROGATE if binary_layers(subject.network) else Function.NETWORK
    for part, bound in bounds.items():
        if math.isfinite(bound):
            yield Measurement(
                metric="lipschitz_product",
                value=bound,
                n=1,
                statistic=Statistic.UPPER,
                layer=part.layer,
                norm="l2",
                detail=Detail(form=form, stage=part.stage),
            )
