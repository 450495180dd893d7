"""Statistics and forms that both metrics and reports name. A plug-in may have others: a record keeps them as text."""

from __future__ import annotations

from enum import StrEnum


class Statistic(StrEnum):
    """What a number is of the values over images, where there is a name for it."""

    MEAN = "mean"
    Q5 = "q5"
    Q50 = "q50"
    Q95 = "q95"
    MAX = "max"
    FLIPPED = "flipped"
    """Share of images with a found flip."""
    FOUND = "found"
    """Share of images whose largest figure one part of the search found; the detail's form names the part."""
    UPPER = "upper"
    """An upper bound, for all images."""
    WORST = "worst"
    """Of all parts, where it is worst."""
    PASSED = "passed"
    """1 where a probe was passed, else 0."""
    DEBIASED = "debiased"
    """Without what chance alone adds to the mean."""
    CALIBRATED = "calibrated"
    """What a perfectly calibrated network would show; the interval is the range of 95 % of such networks."""


LEVELS = {Statistic.Q5: 0.05, Statistic.Q50: 0.5, Statistic.Q95: 0.95}
"""The quantiles, each with its share of the images."""


class Finder(StrEnum):
    """The parts of a search; `lipschitz_kappa` says which steps count to each."""

    DESCENT = "descent"
    WALK = "walk"
    CLIMB = "climb"
    RANDOM = "random"


class Function(StrEnum):
    """Whose bound a product of norms is: the surrogate's, with hardtanh in place of signs, or the network's own."""

    SURROGATE = "surrogate"
    NETWORK = "network"
