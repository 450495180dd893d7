"""Expected calibration error: how far the confidence on clean images is from the accuracy.

With p_i the softmax probability of the predicted class of image i, r_i whether it is right, and B bins of equal width on
[0, 1] (Guo et al. 2017, arXiv 1706.04599),

    ECE = sum over bins b of (n_b / n) |mean of p_i in b - mean of r_i in b|,  in [0, 1].

Since |x| = s x with s the sign of a bin's gap, ECE is the mean over images of s_{b(i)} (p_i - r_i), whose Student's t
interval is reported, cut at 0: it takes the signs as found, so it is short where many bins are nearly calibrated. ECE is
biased upwards in small samples, which is why it is called an estimate.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lcrbench.bench import stats
from lcrbench.bench.evaluation.subject import Subject
from lcrbench.bench.metrics import Need
from lcrbench.bench.records.measurement import Measurement, MetricInfo, Scale
from lcrbench.errors import UserError

INFO = MetricInfo(
    unit="fraction",
    higher_is_better=False,
    bound="estimate",
    scale=Scale.SHARE,
    summary=__doc__.partition("\n")[0] if __doc__ else "",
)
NEEDS = frozenset({Need.LOGITS})


@dataclass(frozen=True)
class Options:
    """The number of bins of equal width."""

    bins: int = 15

    def __post_init__(self) -> None:
        if self.bins < 1:
            raise UserError(f"calibration_error needs bins >= 1 (got {self.bins})")


def measure(subject: Subject, options: Options) -> Iterator[Measurement]:
    """Yield the ECE on clean images, in [0, 1]."""
    assert subject.clean_logits is not None, "a metric that needs logits is given them"
    logits = subject.clean_logits.astype(np.float64)
    yield Measurement.of("calibration_error", expected(logits, subject.test.labels, options.bins))


def expected(logits: NDArray[np.float64], labels: NDArray[np.integer], bins: int) -> stats.Interval:
    """Return the ECE of logits (N, classes) against labels (N,), with its interval over images."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    confidence = 1 / shifted.sum(axis=1)  # the largest logit's own term is 1
    right = logits.argmax(axis=1) == labels
    # Bins are open at the left and closed at the right, as in the paper; confidence is never 0.
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gap = confidence - right
    sign = np.sign(np.bincount(place, gap, minlength=bins))
    found = stats.mean(sign[place] * gap, "images")
    return found if found.low is None else found._replace(low=max(0.0, found.low))
