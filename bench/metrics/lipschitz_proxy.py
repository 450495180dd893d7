"""Retention-matrix proxy by layer and by stage, as LCR's code has it and exact. An estimate of nothing.

p1 = sqrt(||R R^T 1||), one power step from ones, and sigma_1 = ||R||_2; means over images. By layer, R is the retention
matrix from a binary layer's input to that of the next one; by `stage`, from one stage's output to the next one's.
The paper takes it for a layer's Lipschitz constant; it is not one: it
saturates with the activations and does not follow the weights' norms (bench/lipschitz/fidelity.py has the probes).
Reported to be compared with `lipschitz_norms`, never as a bound.
"""

from __future__ import annotations

from collections.abc import Iterator

from lcrbench.bench import stats
from lcrbench.bench.evaluation.subject import Subject
from lcrbench.bench.lipschitz.fidelity import FEWER, PROXIES, retention
from lcrbench.bench.lipschitz.oracle import Images, Oracle
from lcrbench.bench.metrics import Cost, Need
from lcrbench.bench.records.measurement import Detail, Measurement, MetricInfo, Scale
from lcrbench.models.binary import path_layers

INFO = MetricInfo.about(__doc__, "1", bound="estimate", phase="lipschitz", scale=Scale.POSITIVE)
NEEDS = frozenset({Need.FORWARD, Need.LAYERS})
COST = Cost.EACH_IMAGE_IS_LONG
BY_DEFAULT = True
Options = Images


def measure(subject: Subject, options: Images) -> Iterator[Measurement]:
    """Yield both proxies for each binary layer but the last and each stage but the first; nothing with fewer than two."""
    if len(path_layers(subject.network)) < 2:
        subject.leave_out("lipschitz_proxy", FEWER)
        return
    points = Oracle.of(subject, options.images).points()
    matrices = retention(subject.network, points.to(subject.device))
    subject.passes += len(points)
    for part, m in matrices.items():
        for form, proxy in PROXIES.items():
            i = stats.mean(proxy(m).cpu().numpy())
            yield Measurement.of("lipschitz_proxy", i, layer=part.layer, detail=Detail(form=form, stage=part.stage))
