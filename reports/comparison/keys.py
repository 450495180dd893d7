"""What a number is of: metric, statistic, cell, ball, layer and detail; and the groups of corruptions."""

from __future__ import annotations

from operator import itemgetter
from typing import NamedTuple

from lcrbench.bench.records.measurement import NO_DETAIL, Detail, Measurement
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
    detail: Detail | None = None

    @classmethod
    def of(cls, m: Measurement) -> Key:
        """Return what a measurement is of."""
        return cls._make(_fields(m.__dict__))

    @property
    def about(self) -> Detail:
        """Return the detail; one that says nothing where there is none."""
        return self.detail or NO_DETAIL

    @property
    def columns(self) -> dict[str, object]:
        """Return the fields as columns of a table of data, those of the detail among them."""
        rest = self._asdict()
        del rest["detail"]
        return rest | self.about.model_dump(mode="json")

    @property
    def order(self) -> tuple[object, ...]:
        """Return by what the keys of one metric are sorted."""
        where = (self.corruption, self.severity, self.norm, self.radius or 0.0, self.layer, *self.about.order)
        return (*where, self.statistic, self.about.form)


# All at once, and as pydantic keeps them: a large store has half a million measurements.
_fields = itemgetter(*Key._fields)

CLEAN = Key("accuracy")
COMMON_ERROR = Key("corruption_error", corruption="common")


def group_of(corruption: str) -> str:
    """Return the group a corruption belongs to, "other" for one that is in none of the papers' groups."""
    return next((g for g, names in GROUPS.items() if corruption in names), "other")
