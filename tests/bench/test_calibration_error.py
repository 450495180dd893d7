"""The calibration error against the definition by a plain loop, and its interval by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lcrbench.bench.metrics.calibration_error import Options, expected
from lcrbench.errors import UserError


def test_it_is_the_papers_sum_over_bins() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(0, 2, (500, 10)), rng.integers(0, 10, 500)
    bins: dict[int, list[tuple[float, bool]]] = {}
    for z, label in zip(logits.tolist(), labels.tolist(), strict=True):
        p = max(math.exp(v) for v in z) / sum(math.exp(v) for v in z)
        place = next(m for m in range(1, 16) if (m - 1) / 15 < p <= m / 15)
        bins.setdefault(place, []).append((p, z.index(max(z)) == label))
    by_hand = 0.0
    for held in bins.values():
        accuracy, confidence = sum(r for _, r in held) / len(held), sum(p for p, _ in held) / len(held)
        by_hand += len(held) / 500 * abs(accuracy - confidence)
    found = expected(logits, labels, 15)
    assert found.value == pytest.approx(by_hand, abs=1e-12)
    assert found.n == 500


def test_hand_cases() -> None:
    sure = np.array([[100.0, 0.0]] * 4)
    assert expected(sure, np.array([0, 0, 0, 1]), 15).value == pytest.approx(0.25)
    assert expected(np.zeros((4, 2)), np.array([0, 1, 0, 1]), 15).value == pytest.approx(0.0)
    # Two bins, gaps of either sign must not cancel: 0.9 sure and half right, 0.6 sure and all right.
    z = np.array([[math.log(9), 0.0]] * 2 + [[math.log(1.5), 0.0]] * 2)
    assert expected(z, np.array([0, 1, 0, 0]), 15).value == pytest.approx((0.4 + 0.4) / 2)
    with pytest.raises(UserError, match="bins >= 1"):
        Options(bins=0)


def test_the_interval_covers_where_the_network_is_overconfident() -> None:
    rng = np.random.default_rng(1)
    p = rng.choice([0.62, 0.78, 0.95], (400, 1000), p=[0.2, 0.3, 0.5])
    wrong = (rng.random(p.shape) > p - 0.15).astype(int)  # right 15 points less often than it says
    covered = 0
    for row, labels in zip(p, wrong, strict=True):
        i = expected(np.stack([np.log(row / (1 - row)), np.zeros(1000)], axis=1), labels, 15)
        assert i.low is not None
        assert i.high is not None
        covered += i.low <= 0.15 <= i.high
    assert covered / 400 == pytest.approx(0.95, abs=0.03)
