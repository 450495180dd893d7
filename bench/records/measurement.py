"""One number: what it is of, its unit and kind of bound, its interval, and how many units it rests on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from lcrbench.bench.records.budget import Frozen
from lcrbench.bench.stats import Interval

Phase = Literal["data", "training", "teacher", "evaluation", "corruption", "lipschitz"]


Bound = Literal["exact", "lower", "upper", "estimate"]


class Kind(Frozen):
    """What a number is: its unit, what kind of bound, and its direction (None: neither)."""

    unit: str
    bound: Bound
    higher_is_better: bool | None = None


class MetricInfo(Frozen):
    """What a metric's numbers mean: unit, direction (None: neither), and what kind of bound they are."""

    unit: str
    higher_is_better: bool | None
    bound: Bound = Field(
        description="exact on the images named, or a lower or upper bound or an estimate of the quantity"
    )
    summary: str
    other: dict[str, Kind] = Field({}, description="the statistics of another unit or bound than the metric's, by name")

    def kind(self, statistic: str) -> Kind:
        """Return unit, bound and direction of one of the metric's statistics."""
        own = Kind(unit=self.unit, bound=self.bound, higher_is_better=self.higher_is_better)
        return self.other.get(statistic) or own

    @classmethod
    def about(
        cls,
        doc: str | None,
        unit: str,
        *,
        bound: Bound,
        higher_is_better: bool | None = None,
        other: Mapping[str, tuple[str, Bound] | tuple[str, Bound, bool]] | None = None,
    ) -> MetricInfo:
        """Return the information of a metric whose module says in the first line of its docstring what it is.

        `other` has (unit, bound), and the direction if there is one, of the statistics for which they are not the
        metric's, by name.
        """
        summary = (doc or "").partition("\n")[0]
        kinds = {
            name: Kind(unit=unit_, bound=bound_, higher_is_better=direction[0] if direction else None)
            for name, (unit_, bound_, *direction) in (other or {}).items()
        }
        return cls(unit=unit, higher_is_better=higher_is_better, bound=bound, summary=summary, other=kinds)


def in_255(radius: float) -> float:
    """Return a radius in pixel units in 1/255 of them, to nine digits: under that number figures by image are kept.

    >>> in_255(8 / 255), in_255(2.3456789 / 255)
    (8.0, 2.3456789)
    """
    return float(f"{radius * 255:.9g}")


class Measurement(Frozen):
    """One number, its interval and the number of units it rests on.

    `corruption` is empty for clean images and for what is not about corruptions; it names a corruption, or a set of them
    ("common", "extra", "noise", ...). `severity` 0 stands for all severities that were run.
    """

    metric: str
    value: float
    low: float | None = None
    high: float | None = None
    n: int
    interval: str = ""
    statistic: str = "mean"
    corruption: str = ""
    severity: int = 0
    layer: str = Field("", description="name of the layer that the number is about; empty: the whole network")
    norm: str = ""
    radius: float | None = Field(None, description="in pixel units, images in [0, 1]")

    @classmethod
    def of(
        cls,
        metric: str,
        i: Interval,
        *,
        statistic: str = "mean",
        corruption: str = "",
        severity: int = 0,
        layer: str = "",
        norm: str = "",
        radius: float | None = None,
    ) -> Measurement:
        """Return the measurement of a value that was found with its interval."""
        return cls(
            metric=metric,
            value=i.value,
            low=i.low,
            high=i.high,
            n=i.n,
            interval=i.how,
            statistic=statistic,
            corruption=corruption,
            severity=severity,
            layer=layer,
            norm=norm,
            radius=radius,
        )
