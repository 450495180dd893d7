"""One number: what it is of, its unit and kind of bound, its interval, and how many units it rests on."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Any, Literal, NamedTuple

from pydantic import Field

from lcrbench import registry
from lcrbench.bench.records.budget import Frozen
from lcrbench.bench.stats import Interval

Phase = Literal["data", "training", "teacher", "evaluation", "corruption", "lipschitz"]


Bound = Literal["exact", "lower", "upper", "estimate"]


class Scale(StrEnum):
    """Where a quantity can lie, and so how reports print it and where its intervals end."""

    REAL = "real"
    """Any number."""
    POSITIVE = "positive"
    """Never below 0."""
    DISTANCE = "distance"
    """In pixel units, never below 0: printed in 1/255 of them."""
    SHARE = "share"
    """From 0 to 1: printed in per cent, its differences in points."""


class Kind(Frozen):
    """What a number is: its unit, what kind of bound, its direction (None: neither), its scale, and what it is called."""

    unit: str = Field(description="of the number")
    bound: Bound = Field(description="exact, a bound, or an estimate")
    higher_is_better: bool | None = Field(None, description="null: neither")
    scale: Scale = Field(Scale.REAL, description="where it can lie")
    title: str = Field("", description="what reports call it; empty where the statistic's name says it")


class Ranking(Frozen):
    """Networks are ranked by the median of a metric's figures of single images, which the search keeps (`search.keep`)."""

    order: int = Field(description="place among the ranked metrics in reports; that of order 0 is the primary one")
    higher_is_better: bool = Field(False, description="whether the largest figure comes first")
    distance: bool = Field(
        False,
        description="one figure a norm, a distance searched up to the largest radius; larger ones are cut off there",
    )
    threshold: float | None = Field(None, description="a value that means something, drawn as a line")


class MetricInfo(Frozen):
    """What a metric's numbers mean: unit, direction (None: neither), what kind of bound they are, and where they belong."""

    unit: str = Field(description="of the numbers")
    higher_is_better: bool | None = Field(description="null: neither")
    bound: Bound = Field(
        description="exact on the images named, or a lower or upper bound or an estimate of the quantity"
    )
    summary: str = Field(description="what it measures, in one line")
    phase: Phase = Field(
        "evaluation", description="what its time is charged to, and which part of a report it stands in"
    )
    scale: Scale = Field(Scale.REAL, description="where its numbers can lie")
    title: str = Field("", description="what reports call it; empty: its name")
    note: str = Field("", description="what reports say of its bound, where the kind of bound alone does not tell it")
    other: dict[str, Kind] = Field({}, description="the statistics of another kind than the metric's, by name")
    open: tuple[str, ...] = Field(
        (),
        description="statistics that may be infinite, and are then not recorded: quantiles that lie beyond what was found",
    )
    searched: bool = Field(False, description="its numbers come from the search that all such metrics share")
    ranking: Ranking | None = Field(None, description="how networks are ranked by it; None: not at all")

    @property
    def lipschitz(self) -> bool:
        """Tell whether the metric stands in the Lipschitz part of a report."""
        return self.phase == "lipschitz"

    def kind(self, statistic: str) -> Kind:
        """Return what one of the metric's statistics is."""
        if statistic in self.other:
            return self.other[statistic]
        return Kind(unit=self.unit, bound=self.bound, higher_is_better=self.higher_is_better, scale=self.scale)

    def scale_of(self, statistic: str) -> Scale:
        """Return where one of the metric's statistics can lie."""
        return self.other[statistic].scale if statistic in self.other else self.scale

    @classmethod
    def about(cls, doc: str | None, unit: str, *, bound: Bound, **rest: Any) -> MetricInfo:
        """Return the information of a metric whose module says in the first line of its docstring what it is.

        `rest` are further fields of `MetricInfo`, `higher_is_better` among them.
        """
        # Python that is asked to (-OO, PYTHONOPTIMIZE=2) leaves docstrings out; records must not depend on that.
        text = registry.docstring_in(sys._getframe(1).f_globals.get("__file__", "")) if doc is None else doc
        summary = text.partition("\n")[0]
        return cls(**{"higher_is_better": None, **rest, "unit": unit, "bound": bound, "summary": summary})


def in_255(radius: float) -> float:
    """Return a radius in pixel units in 1/255 of them, to nine digits: under that number figures by image are kept.

    >>> in_255(8 / 255), in_255(2.3456789 / 255)
    (8.0, 2.3456789)
    """
    return float(f"{radius * 255:.9g}")


class Part(NamedTuple):
    """A part of a network that a number is about: a layer or block by its name, or a stage by its number, from 1."""

    layer: str = ""
    stage: int = 0


class Probe(StrEnum):
    """A change of a network that a proxy must see, or must not."""

    GAIN = "batch-norm gain"
    FLIP = "channel sign flip"


class Detail(Frozen):
    """What a number is of, where metric, cell, layer and ball do not say it whole. Most numbers have none."""

    form: str = Field(
        "", description="which of several forms of the quantity: a derivative, a proxy, a part of the search"
    )
    stage: int = Field(0, ge=0, description="number of the stage that the number is about, from 1; 0: none")
    inner_radius: float | None = Field(
        None, description="where a span of radii begins, in pixel units; it ends at `radius`"
    )
    search: int = Field(
        0, ge=0, description="what the k-th of several searches found alone, from 1; 0: the best of all"
    )
    passes: int = Field(
        0, ge=0, description="passes an image that a search had spent, where it is not its whole budget"
    )
    probe: Probe | None = Field(None, description="the change of the network that a proxy was asked about; null: none")

    # Reports find numbers by their details half a million times, and pydantic's own two methods take several times as long.
    def __hash__(self) -> int:
        return hash(tuple(self.__dict__.values()))

    def __eq__(self, other: object) -> bool:
        return type(other) is Detail and self.__dict__ == other.__dict__

    @property
    def order(self) -> tuple[float, ...]:
        """Return by what details are sorted, besides their form."""
        return self.stage, self.inner_radius or 0.0, self.search, self.passes, [None, *Probe].index(self.probe)


NO_DETAIL = Detail()


class Measurement(Frozen):
    """One number, its interval and the number of units it rests on."""

    metric: str = Field(description="name of the metric")
    value: float = Field(description="the number")
    low: float | None = Field(None, description="lower end of the interval; null: none")
    high: float | None = Field(None, description="upper end of the interval; null: none")
    n: int = Field(description="units that it rests on, most often images")
    interval: str = Field("", description="how the interval was found; empty without one")
    statistic: str = Field("mean", description="which number of the metric")
    corruption: str = Field(
        "",
        description="a corruption, or a set of them (common, extra, noise, ...); empty: the clean images, or no corruption",
    )
    severity: int = Field(0, description="1 to 5; 0: all severities that were run")
    layer: str = Field("", description="name of the layer that the number is about; empty: the whole network")
    norm: str = Field("", description="of the ball that it is about: l2, linf, ...; empty: none")
    radius: float | None = Field(None, description="in pixel units, images in [0, 1]")
    detail: Detail | None = Field(None, description="what else tells it from others; null: nothing")

    def flat(self) -> dict[str, Any]:
        """Return the fields as columns of one table, those of the detail among them.

        >>> Measurement(metric="m", value=1.0, n=1, detail=Detail(stage=2)).flat()["stage"]
        2
        """
        fields = self.model_dump(mode="json", exclude={"detail"})
        return fields | (self.detail or NO_DETAIL).model_dump(mode="json")

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
        detail: Detail | None = None,
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
            detail=detail,
        )
