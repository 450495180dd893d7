"""Share of test images classified right: clean, and for each corruption and severity."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lcrbench.bench import stats
from lcrbench.bench.evaluation.subject import Subject
from lcrbench.bench.metrics import Need
from lcrbench.bench.records.measurement import Measurement, MetricInfo, Scale

INFO = MetricInfo.about(__doc__, "fraction", bound="exact", higher_is_better=True, scale=Scale.SHARE)
NEEDS = frozenset({Need.OUTCOMES})
BY_DEFAULT = True


@dataclass(frozen=True)
class Options:
    """No options."""


def measure(subject: Subject, options: Options) -> Iterator[Measurement]:
    """Yield one accuracy in [0, 1] a cell, with its Wilson interval over images."""
    for cell, right in subject.outcomes.items():
        i = stats.proportion(int(right.sum()), right.size)
        yield Measurement.of(
            "accuracy",
            i,
            corruption=cell.corruption,
            severity=cell.severity,
        )
