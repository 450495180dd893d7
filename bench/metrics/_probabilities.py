"""Probabilities of classes from kept logits, for the metrics of calibration."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lcrbench.bench.evaluation.subject import Subject


def clean(subject: Subject) -> tuple[NDArray[np.float64], NDArray[np.integer]]:
    """Return the logarithms of the softmax probabilities (N, classes) on the clean images, and the labels (N,)."""
    assert subject.clean_logits is not None, "a metric that needs logits is given them"
    return log_softmax(subject.clean_logits), subject.test.labels


def log_softmax(logits: np.ndarray) -> NDArray[np.float64]:
    """Return log softmax of logits (N, classes) in float64: never infinite, however sure a network is."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))
