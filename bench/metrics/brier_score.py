"""Brier score on clean images: squared distance of the probabilities from what is the case. A proper score.

With p_ik the softmax probability of class k for image i of class y_i (Brier 1950, Monthly Weather Review 78, 1),

    BS = mean over images of sum over k of (p_ik - [k = y_i])^2,      in [0, 2]

It is 0 for a network that is right and sure, (K - 1) / K for one that gives K classes alike, and least in expectation for
the true probabilities: unlike ECE it cannot be lowered by knowing less. The interval is Student's t over images.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lcrbench.bench import stats
from lcrbench.bench.evaluation.subject import Subject
from lcrbench.bench.metrics import Need
from lcrbench.bench.metrics._probabilities import clean
from lcrbench.bench.records.measurement import Measurement, MetricInfo, Scale

INFO = MetricInfo.about(
    __doc__, "squared probability", bound="exact", higher_is_better=False, scale=Scale.POSITIVE, title="Brier score"
)
NEEDS = frozenset({Need.LOGITS})


@dataclass(frozen=True)
class Options:
    """No options."""


def measure(subject: Subject, options: Options) -> Iterator[Measurement]:
    """Yield the mean score over the clean images, in [0, 2]."""
    logs, labels = clean(subject)
    away = np.exp(logs)
    away[np.arange(len(labels)), labels] -= 1
    yield Measurement.of("brier_score", stats.mean((away**2).sum(axis=1)))
