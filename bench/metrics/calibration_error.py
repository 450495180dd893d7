"""Expected calibration error: how far the confidence on clean images is from the accuracy. An estimate.

With p_i the softmax probability of the predicted class of image i, r_i whether it is right, and B bins of equal width on
[0, 1] (Guo et al. 2017, arXiv 1706.04599),

    ECE = sum over bins b of w_b |g_b|,      w_b = n_b / n,      g_b = mean of p_i - r_i in b,      in [0, 1].

The sum of absolute values is biased upwards: a perfectly calibrated network has gaps too, by chance. So there are three
statistics:

    mean          the sum as papers print it, without an interval
    debiased      the mean over all halvings of the images of sum_b w_b sign(g_b of one half) (g_b of the other half), cut
                  at 0. With s_b the standard error of g_b and u = |g_b| / s_b, in the normal limit, a bin gives
                  s_b (u (2 Phi(u) - 1) - 2 phi(u)). Without the cut its expectation is 0 for a calibrated network, ECE's
                  true value where gaps are large, and never above it; between, a bin is at most half of s_b too low
    calibrated    what ECE would be of a network with these confidences that is right with just these probabilities: the
                  mean over 1,000 draws, and the range of 95 % of them. An ECE within it shows no miscalibration

The interval of "debiased" is [debiased - z s, ECE + z s] cut at 0, s^2 = sum_b w_b^2 s_b^2 + sum_b w_b (|g_b| - ECE)^2 / n.
Both ends hold of every network: signs found in one half give at most the true value in the other, and ECE is at least the
sum of the gaps with their true signs. s_b^2 = a (1 - a) / n_b with a = (number right + 1) / (n_b + 2), so that a bin of few
images has an error. In simulations (tests/bench/test_calibration_error.py) the interval covers 95 % or more, calibrated
or not, of 100 images or 10,000. The binned value depends on the bins, and is what is estimated; Brier score and
negative log-likelihood need none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from lcrbench.bench import stats
from lcrbench.bench.evaluation.subject import Subject
from lcrbench.bench.metrics import Need
from lcrbench.bench.metrics._probabilities import clean
from lcrbench.bench.records.measurement import Kind, Measurement, MetricInfo, Scale
from lcrbench.bench.records.statistics import Statistic
from lcrbench.bench.seeds import generator
from lcrbench.errors import UserError

INFO = MetricInfo.about(
    __doc__,
    "fraction",
    bound="estimate",
    higher_is_better=False,
    scale=Scale.SHARE,
    other={
        Statistic.DEBIASED: Kind(
            unit="fraction", bound="estimate", higher_is_better=False, scale=Scale.SHARE, title="debiased"
        ),
        Statistic.CALIBRATED: Kind(
            unit="fraction", bound="estimate", scale=Scale.SHARE, title="what perfect calibration would show"
        ),
    },
)
NEEDS = frozenset({Need.LOGITS})
DRAWS = 1000
AT_ONCE = 10**6
"""Most random numbers of a block of draws."""


@dataclass(frozen=True)
class Options:
    """The number of bins of equal width."""

    bins: int = 15

    def __post_init__(self) -> None:
        if not 1 <= self.bins <= 100_000:
            raise UserError(f"calibration_error needs bins >= 1, and at most 100,000 (got {self.bins})")


def measure(subject: Subject, options: Options) -> Iterator[Measurement]:
    """Yield on clean images the ECE, the debiased one, and what perfect calibration would show, each in [0, 1]."""
    logs, labels = clean(subject)
    confidence, right = np.exp(logs.max(axis=1)), logs.argmax(axis=1) == labels
    plain, debiased = errors(confidence, right, options.bins)
    yield Measurement.of("calibration_error", plain)
    yield Measurement.of("calibration_error", debiased, statistic=Statistic.DEBIASED)
    yield Measurement.of("calibration_error", calibrated(confidence, options.bins), statistic=Statistic.CALIBRATED)


def errors(
    confidence: NDArray[np.float64], right: NDArray[np.bool_], bins: int
) -> tuple[stats.Interval, stats.Interval]:
    """Return ECE, without an interval, and the debiased ECE with one, of confidences (N,) and who is right (N,)."""
    n = len(right)
    place = _place(confidence, bins)
    counts = np.bincount(place, minlength=bins)
    filled = counts > 0
    inside = counts[filled]
    gap = np.abs(np.bincount(place, confidence - right, minlength=bins)[filled]) / inside
    weight = inside / n
    ece = float(weight @ gap)
    likely = (np.bincount(place, right, minlength=bins)[filled] + 1) / (inside + 2)
    error = np.sqrt(likely * (1 - likely) / inside)
    u = gap / error
    halves = float(weight @ (error * (u * (2 * norm.cdf(u) - 1) - 2 * norm.pdf(u))))
    spread = float(np.sqrt(weight**2 @ error**2 + weight @ (gap - ece) ** 2 / n))
    z = float(norm.ppf((1 + stats.LEVEL) / 2))
    low, high = max(0.0, halves - z * spread), min(1.0, ece + z * spread)
    how = "halves below, sum above, 95 %"
    return stats.Interval(ece, None, None, n, ""), stats.Interval(max(0.0, halves), low, high, n, how)


def calibrated(confidence: NDArray[np.float64], bins: int) -> stats.Interval:
    """Return the mean ECE of networks that are right with probabilities `confidence` (N,), and where 95 % of them lie."""
    n = len(confidence)
    order = np.argsort(place := _place(confidence, bins), kind="stable")
    sure = confidence[order]
    starts = np.flatnonzero(np.diff(place[order], prepend=-1))
    draw = generator(0, "calibrated", n)
    found = []
    for k in range(0, DRAWS, block := max(1, AT_ONCE // n)):
        right = draw.random((min(block, DRAWS - k), n), dtype=np.float32) < sure
        found.append(np.abs(np.add.reduceat(sure - right, starts, axis=1)).sum(axis=1) / n)
    values = np.concatenate(found)
    low, high = np.quantile(values, [(1 - stats.LEVEL) / 2, (1 + stats.LEVEL) / 2])
    return stats.Interval(float(values.mean()), float(low), float(high), n, "range of calibrated networks 95 %")


def _place(confidence: NDArray[np.float64], bins: int) -> NDArray[np.intp]:
    """Return the bin of each confidence: open at the left and closed at the right, as in the paper; none is 0."""
    return np.clip(np.ceil(confidence * bins).astype(np.intp) - 1, 0, bins - 1)
