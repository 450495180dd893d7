"""Accuracy of the class that is classified worst, on clean test images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lcrbench.bench import stats
from lcrbench.bench.evaluation.subject import Subject
from lcrbench.bench.metrics import Need
from lcrbench.bench.records.measurement import Measurement, MetricInfo, Scale
from lcrbench.bench.records.spec import CLEAN

INFO = MetricInfo.about(__doc__, "fraction", bound="exact", higher_is_better=True, scale=Scale.SHARE)
NEEDS = frozenset({Need.OUTCOMES})


@dataclass(frozen=True)
class Options:
    """No options."""


def measure(subject: Subject, options: Options) -> Iterator[Measurement]:
    """Yield the smallest of the classes' accuracies, with its Wilson interval over the images of that class."""
    right, labels = subject.outcomes[CLEAN], subject.test.labels
    classes = [right[labels == k] for k in sorted({*labels})]
    each = [stats.proportion(int(own.sum()), len(own)) for own in classes]
    yield Measurement.of("worst_class", min(each, key=lambda interval: interval.value))
