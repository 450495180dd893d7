"""What a number is of: metric, statistic, corruption, severity, norm, radius and layer; and the groups of corruptions."""

from __future__ import annotations

from typing import NamedTuple

from lcrbench.bench.records.measurement import Measurement
from lcrbench.corruption_names import COMMON as COMMON
from lcrbench.corruption_names import GROUPS as GROUPS


class Key(NamedTuple):
    """What a measurement is of: all of its fields but the number."""

    metric: str
    statistic: str = "mean"
    corruption: str = ""
    severity: int = 0
    norm: str = ""
    radius: float | None = None
    layer: str = ""

    @classmethod
    def of(cls, m: Measurement) -> Key:
        """Return what a measurement is of."""
        return cls(m.metric, m.statistic, m.corruption, m.severity, m.norm, m.radius, m.layer)

    @property
    def quantile(self) -> bool:
        """Tell whether the statistic is a quantile over images: q5, q50, q95."""
        return self.statistic.startswith("q") and self.statistic[1:].isdecimal()


OPEN = ("lipschitz_kappa", "lipschitz_flip_radius")
"""Metrics whose quantiles over images (q5, q50, q95) may be infinite, and are then not recorded."""

CLEAN = Key("accuracy")
COMMON_ERROR = Key("corruption_error", corruption="common")


def is_lipschitz(metric: str) -> bool:
    """Tell whether a metric stands in the Lipschitz part of a report. The name decides, since records hold no phase."""
    return metric.startswith("lipschitz_")


def group_of(corruption: str) -> str:
    """Return the group a corruption belongs to, "other" for one that no paper knows."""
    return next((g for g, names in GROUPS.items() if corruption in names), "other")
