"""Intervals: every number that is reported carries one, from scipy or a closed form, and says which.

Questions about one pair of trained networks take the image as their unit, questions about methods the training seed.
Copies of one image under several corruptions are not independent: average over them first, then take the interval over
images. Never a bootstrap of a maximum, which is inconsistent.
"""

from __future__ import annotations

from lcrbench.bench.stats.intervals import (
    LEVEL,
    Interval,
    counted,
    mean,
    mean_share,
    open_quantile,
    proportion,
    quantile,
    share,
)
from lcrbench.bench.stats.resampling import (
    LEAST,
    LEAST_IMAGES,
    LEAST_P,
    RESAMPLES,
    Gap,
    Resampled,
    bootstrap,
    correlation,
    gap,
    resampled_medians,
)

__all__ = [
    "LEAST",
    "LEAST_IMAGES",
    "LEAST_P",
    "LEVEL",
    "RESAMPLES",
    "Gap",
    "Interval",
    "Resampled",
    "bootstrap",
    "correlation",
    "counted",
    "gap",
    "mean",
    "mean_share",
    "open_quantile",
    "proportion",
    "quantile",
    "resampled_medians",
    "share",
]
