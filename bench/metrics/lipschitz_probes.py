"""Two changes that a proxy of a Lipschitz constant must see, or must not: does the retention-matrix proxy? Exact.

    batch-norm gain     every batch norm's scale and shift times 4: operator norms grow fourfold; passed if the proxy grows
                        at least twofold in every layer and stage
    channel sign flip   channels' signs turned in a way that leaves function and norms alone; passed if the proxy moves by
                        at most 1 % everywhere; left out where no such turn leaves the network's logits (activations or
                        signs that are not odd)

For the proxies p1 and sigma_1 (`lipschitz_proxy`): the ratio of the proxy after the change to that before, where it is
worst ("worst"); and "passed", 1 or 0. See bench/lipschitz/fidelity.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lcrbench.bench.evaluation.subject import Subject
from lcrbench.bench.lipschitz.fidelity import FEWER, probes
from lcrbench.bench.lipschitz.oracle import Images, Oracle
from lcrbench.bench.metrics import Cost, Need
from lcrbench.bench.records.measurement import Detail, Kind, Measurement, MetricInfo, Probe, Scale
from lcrbench.bench.records.statistics import Statistic
from lcrbench.models.binary import path_layers

INFO = MetricInfo.about(
    __doc__,
    "ratio",
    bound="exact",
    phase="lipschitz",
    scale=Scale.POSITIVE,
    other={Statistic.PASSED: Kind(unit="1 passed, 0 failed", bound="exact", scale=Scale.POSITIVE)},
)
NEEDS = frozenset({Need.FORWARD, Need.LAYERS})
COST = Cost.EACH_IMAGE_IS_LONG
BY_DEFAULT = True


@dataclass(frozen=True)
class Options(Images):
    """`images`: number of test images, evenly spaced over the classes."""

    images: int = 16


def measure(subject: Subject, options: Options) -> Iterator[Measurement]:
    """Yield ratio and verdict of each probe and proxy; nothing for a network with fewer than two binary layers in a row."""
    if len(path_layers(subject.network)) < 2:
        subject.leave_out("lipschitz_probes", FEWER)
        return
    points = Oracle.of(subject, options.images).points().to(subject.device)
    subject.passes += 5 * len(points)
    found = probes(subject.network, points)
    if Probe.FLIP not in {probe.name for probe in found}:
        subject.leave_out(
            "lipschitz_probes",
            "no channel sign flip: with turned signs of channels this network is another function",
        )
    for probe in found:
        for statistic, value in ((Statistic.WORST, probe.ratio), (Statistic.PASSED, float(probe.passed))):
            yield Measurement(
                metric="lipschitz_probes",
                value=value,
                n=len(points),
                statistic=statistic,
                detail=Detail(probe=probe.name, form=probe.proxy),
            )
