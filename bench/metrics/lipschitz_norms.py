"""Operator norm of each layer as deployed, batch norm folded in: a bracket whose upper end is the value. l2, exact bounds.

For a convolution or linear layer with weights W (binary: alpha b, with their scales) and the following batch norm's
d = gamma / sqrt(var + eps), the norm of x -> diag(d) W x from l2 to l2, on the layer's real map with its stride and zero
padding. `value` and `high` are an upper bound, `low` a lower one; see models/spectral. The l_inf norm of a binary layer
is blind to the pattern of its signs and is not reported. These norms are of the layers' linear parts: the signs between
them have no finite Lipschitz constant.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lcrbench.bench.evaluation.subject import Subject
from lcrbench.bench.metrics import Need
from lcrbench.bench.records.measurement import Measurement, MetricInfo, Scale
from lcrbench.bench.records.statistics import Statistic
from lcrbench.errors import UserError
from lcrbench.models.spectral import product_bound

INFO = MetricInfo.about(__doc__, "l2 to l2", bound="upper", phase="lipschitz", scale=Scale.POSITIVE)
NEEDS = frozenset({Need.LAYERS})
BY_DEFAULT = True


@dataclass(frozen=True)
class Options:
    """No options."""


def measure(subject: Subject, options: Options) -> Iterator[Measurement]:
    """Yield one bracket a layer, in the order of use; nothing for a network whose graph cannot be followed."""
    height, width = subject.test.images.shape[1:3]
    try:
        layers = product_bound(subject.network, (3, height, width)).layers
    except UserError as error:
        subject.leave_out("lipschitz_norms", str(error))
        return
    if not layers:
        subject.leave_out(
            "lipschitz_norms", "the network has no convolution and no linear layer as a module of torch.nn"
        )
    for layer in layers:
        yield Measurement(
            metric="lipschitz_norms",
            value=layer.bracket.upper,
            low=layer.bracket.lower,
            high=layer.bracket.upper,
            n=1,
            interval="bracket: Lanczos below, torus above",
            statistic=Statistic.UPPER,
            layer=layer.name,
            norm="l2",
        )
