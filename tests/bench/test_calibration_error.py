"""The calibration error against the definition by a plain loop, and its interval by simulation."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import special

from lcrbench.bench.data.arrays import Split
from lcrbench.bench.evaluation.subject import Subject
from lcrbench.bench.metrics import brier_score, calibration_error, negative_log_likelihood
from lcrbench.bench.metrics.calibration_error import Options, calibrated, errors
from lcrbench.errors import UserError


def measured(metric: object, logits: np.ndarray, labels: np.ndarray, **options: int) -> dict[str, object]:
    test = Split(np.zeros((len(labels), 1, 1, 3), np.uint8), labels)
    subject = Subject(None, test, 1, clean_logits=np.asarray(logits, np.float32))  # type: ignore[arg-type]
    return {m.statistic: m for m in metric.measure(subject, metric.Options(**options))}  # type: ignore[attr-defined]


def plain(logits: np.ndarray, labels: np.ndarray) -> float:
    return measured(calibration_error, logits, labels)["mean"].value  # type: ignore[attr-defined, no-any-return]


def test_it_is_the_papers_sum_over_bins() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(0, 2, (500, 10)).astype(np.float32), rng.integers(0, 10, 500)
    bins: dict[int, list[tuple[float, bool]]] = {}
    for z, label in zip(logits.tolist(), labels.tolist(), strict=True):
        p = max(math.exp(v) for v in z) / sum(math.exp(v) for v in z)
        place = next(m for m in range(1, 16) if (m - 1) / 15 < p <= m / 15)
        bins.setdefault(place, []).append((p, z.index(max(z)) == label))
    by_hand = 0.0
    for held in bins.values():
        accuracy, confidence = sum(r for _, r in held) / len(held), sum(p for p, _ in held) / len(held)
        by_hand += len(held) / 500 * abs(accuracy - confidence)
    found = measured(calibration_error, logits, labels)["mean"]
    assert found.value == pytest.approx(by_hand, abs=1e-9)  # type: ignore[attr-defined]
    assert (found.n, found.low) == (500, None)  # type: ignore[attr-defined]


def test_hand_cases() -> None:
    sure = np.array([[100.0, 0.0]] * 4)
    assert plain(sure, np.array([0, 0, 0, 1])) == pytest.approx(0.25)
    assert plain(np.zeros((4, 2)), np.array([0, 1, 0, 1])) == pytest.approx(0.0)
    # Two bins, gaps of either sign must not cancel: 0.9 sure and half right, 0.6 sure and all right.
    z = np.array([[math.log(9), 0.0]] * 2 + [[math.log(1.5), 0.0]] * 2)
    assert plain(z, np.array([0, 1, 0, 0])) == pytest.approx((0.4 + 0.4) / 2, abs=1e-6)
    with pytest.raises(UserError, match="bins >= 1"):
        Options(bins=0)


def test_the_debiased_error_is_the_mean_over_halvings() -> None:
    """Of one bin: the sign of the gap in one half times the gap in the other, over all halvings, in the normal limit."""
    rng = np.random.default_rng(0)
    for accuracy in (0.5, 0.55, 0.7):
        confidence = np.full(400, 0.5)
        right = np.arange(400) < 400 * accuracy
        halved = []
        for _ in range(4000):
            order = rng.permutation(400)
            one, other = (float((confidence - right)[part].mean()) for part in (order[:200], order[200:]))
            halved.append(np.sign(one) * other)
        _, debiased = errors(confidence, right, 1)
        assert debiased.value == pytest.approx(max(0.0, float(np.mean(halved))), abs=0.002)


Generator = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]


def drawn(confidence: Callable[..., np.ndarray], accuracy: Callable[[np.ndarray], np.ndarray]) -> Generator:
    def draw(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        p = confidence(rng, n)
        return p, np.clip(accuracy(p), 0, 1)

    return draw


def beta(a: float, b: float) -> Callable[[np.random.Generator, int], np.ndarray]:
    return lambda rng, n: np.clip(rng.beta(a, b, n), 0.11, 0.9999)


def even(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.uniform(0.2, 1, n)


GENERATORS = {
    "calibrated, even": drawn(even, lambda p: p),
    "calibrated, mostly sure": drawn(beta(5, 1), lambda p: p),
    "calibrated, very sure": drawn(beta(60, 1), lambda p: p),
    "1 point over": drawn(even, lambda p: p - 0.01),
    "5 points over": drawn(even, lambda p: p - 0.05),
    "15 points over": drawn(even, lambda p: p - 0.15),
    "over and under": drawn(even, lambda p: p + 0.03 * np.sin(20 * p)),
    "too hot": drawn(beta(5, 1), lambda p: special.expit(1.1 * special.logit(p))),
    "too cold": drawn(beta(5, 1), lambda p: special.expit(0.7 * special.logit(p))),
    "sure, wrong twice as often": drawn(beta(60, 1), lambda p: p - (1 - p)),
}


def truth(draw: Generator) -> float:
    p, accuracy = draw(np.random.default_rng(9), 10**6)
    return float(np.abs(np.bincount((np.ceil(p * 15) - 1).astype(int), p - accuracy)).sum() / len(p))


def coverage(draw: Generator, n: int, times: int) -> tuple[float, float]:
    """Return the share of samples whose interval holds the truth, and the mean debiased value."""
    rng, true = np.random.default_rng(1), truth(draw)
    covered, values = 0, []
    for _ in range(times):
        p, accuracy = draw(rng, n)
        _, found = errors(p, rng.random(n) < accuracy, 15)
        assert found.low is not None
        assert found.high is not None
        assert 0 <= found.low <= found.value <= found.high <= 1
        covered += found.low <= true <= found.high
        values.append(found.value)
    return covered / times, float(np.mean(values))


@pytest.mark.parametrize("n", [100, 2000])
@pytest.mark.parametrize("draw", GENERATORS.values(), ids=[*GENERATORS])
def test_the_interval_covers_calibrated_or_not(draw: Generator, n: int) -> None:
    """95 % nominal; of 200 samples a true 95 % is at least 91 % with probability .99."""
    assert coverage(draw, n, 200)[0] >= 0.91


@pytest.mark.slow
@pytest.mark.parametrize("n", [50, 500, 10_000])
@pytest.mark.parametrize("draw", GENERATORS.values(), ids=[*GENERATORS])
def test_the_interval_covers_at_length(draw: Generator, n: int) -> None:
    assert coverage(draw, n, 2000)[0] >= 0.94


@pytest.mark.parametrize("name", [name for name in GENERATORS if name.startswith("calibrated")])
def test_the_debiased_error_of_a_calibrated_network_is_near_0(name: str) -> None:
    """ECE itself is .009 to .025 there."""
    draw = GENERATORS[name]
    rng = np.random.default_rng(2)
    p, accuracy = draw(rng, 2000)
    ece = np.mean([errors(p, rng.random(2000) < accuracy, 15)[0].value for _ in range(50)])
    assert coverage(draw, 2000, 200)[1] < 0.35 * ece


def test_where_gaps_are_large_it_is_the_error_itself() -> None:
    assert coverage(GENERATORS["15 points over"], 10_000, 20)[1] == pytest.approx(0.15, abs=0.003)


def test_what_perfect_calibration_would_show_holds_its_own_draws() -> None:
    rng = np.random.default_rng(3)
    p = even(rng, 1000)
    found = calibrated(p, 15)
    assert found.low is not None
    assert found.high is not None
    drawn_again = np.array([errors(p, rng.random(1000) < p, 15)[0].value for _ in range(400)])
    assert found.value == pytest.approx(drawn_again.mean(), rel=0.05)
    assert np.mean((drawn_again >= found.low) & (drawn_again <= found.high)) == pytest.approx(0.95, abs=0.03)
    assert errors(p, rng.random(1000) < p - 0.15, 15)[0].value > found.high
    assert found == calibrated(p, 15), "the same each time"


def test_a_sure_network_has_no_gap_by_chance() -> None:
    found = calibrated(np.ones(50), 15)
    assert (found.value, found.low, found.high) == (0, 0, 0)


def test_brier_score_and_likelihood_by_hand() -> None:
    z = np.array([[math.log(6), math.log(3), 0.0], [0.0, 0.0, 0.0]])  # .6, .3, .1 and thirds
    labels = np.array([0, 2])
    score, loss = (measured(m, z, labels)["mean"].value for m in (brier_score, negative_log_likelihood))  # type: ignore[attr-defined]
    assert score == pytest.approx((0.16 + 0.09 + 0.01 + 6 / 9) / 2, abs=1e-6)
    assert loss == pytest.approx(-(math.log(0.6) + math.log(1 / 3)) / 2, abs=1e-6)
    sure = np.array([[200.0, 0.0], [200.0, 0.0]])
    assert measured(brier_score, sure, np.array([0, 1]))["mean"].value == pytest.approx(1)  # type: ignore[attr-defined]
    assert measured(negative_log_likelihood, sure, np.array([0, 1]))["mean"].value == pytest.approx(100)  # type: ignore[attr-defined]


def test_proper_scores_are_least_for_the_true_probabilities() -> None:
    rng = np.random.default_rng(0)
    true = special.log_softmax(rng.normal(0, 1, (20_000, 4)), axis=1)
    labels = (rng.random((20_000, 1)) > np.exp(true).cumsum(1)).sum(1)
    for metric, factor in itertools.product((brier_score, negative_log_likelihood), (0.7, 1.4)):
        best, other = (measured(metric, t * true, labels)["mean"].value for t in (1, factor))  # type: ignore[attr-defined]
        assert best < other
