"""Negative log-likelihood of the true classes of clean images: the cross-entropy that training lowers. A proper score.

With p_ik the softmax probability of class k for image i of class y_i,

    NLL = mean over images of -log p_{i y_i},      in nats, in [0, inf)

It is log K for a network that gives K classes alike, and least in expectation for the true probabilities. One image that a
network is wrong and very sure about can outweigh many. The interval is Student's t over images.
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
    __doc__, "nats", bound="exact", higher_is_better=False, scale=Scale.POSITIVE, title="negative log-likelihood"
)
NEEDS = frozenset({Need.LOGITS})


@dataclass(frozen=True)
class Options:
    """No options."""


def measure(subject: Subject, options: Options) -> Iterator[Measurement]:
    """Yield the mean over the clean images, in nats."""
    logs, labels = clean(subject)
    yield Measurement.of("negative_log_likelihood", stats.mean(-logs[np.arange(len(labels)), labels]))
