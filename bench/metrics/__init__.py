"""Metrics, one file each; the file's name is the metric's name. This module holds the contract of such a file.

A metric's module defines

- `INFO`, a `MetricInfo`: unit, direction and scale, whether its numbers are exact, bounds or estimates, and its phase: what
  its time is charged to, and which part of a report it stands in;
- `NEEDS`, a frozenset of `Need`: what it takes from the subject that it measures;
- `Options`, a frozen dataclass whose fields all have defaults: what a spec may set; every option is written into the spec;
- `measure(subject, options) -> Iterator[Measurement]`, each called as the metric's file, finite, of n >= 1 units;
- optionally `COST`, a `Cost`: how many images `lcrbench lipschitz` gives it; and `BY_DEFAULT = True` if it is one of ours
  that are measured where a spec names no metrics.

Where `measure` can give no number, it calls `subject.leave_out(name, reason)` instead, or raises
`lcrbench.errors.NotMeasurable`, and the record keeps the reason. A metric that was asked for by an import path, or by an
entry point of another name, has that name in the record.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from lcrbench.errors import NotMeasurable, UserError

if TYPE_CHECKING:
    from lcrbench.bench.evaluation.subject import Subject
    from lcrbench.bench.records.measurement import Measurement, MetricInfo


class Need(StrEnum):
    """What a metric takes from the subject that it measures. The value names what is missing where it is not given."""

    OUTCOMES = "right or wrong of each test image in each cell"
    CLASSES = "predicted class of each test image in each cell"
    LOGITS = "logits of the clean test images"
    FORWARD = "logits of any image"
    GRADIENT = "a gradient of the logits with respect to the image"
    LAYERS = "layers as torch modules with names"


OF_CELLS = frozenset({Need.OUTCOMES, Need.CLASSES})
"""What depends on which cells are shown."""


class Cost(StrEnum):
    """How a metric's time grows with the images."""

    EACH_IMAGE_IS_CHEAP = "each image is cheap"
    """It gets as many images as are asked for."""
    EACH_IMAGE_IS_LONG = "each image takes long"
    """It gets no more images than the default of its option `images`."""
    ON_REQUEST = "each image takes very long"
    """Likewise, and `lcrbench lipschitz` measures it only where `--also` names it."""


class Metric(Protocol):
    """The module of a metric, as a type; it may state `COST` and `BY_DEFAULT` too."""

    INFO: MetricInfo
    NEEDS: frozenset[Need]

    class Options:
        """A frozen dataclass whose fields all have defaults."""

        __dataclass_fields__: ClassVar[dict[str, Any]]

    @staticmethod
    def measure(subject: Subject, options: Any) -> Iterator[Measurement]:
        """Yield the measurements of a subject."""


def not_applicable(needs: Iterable[Need], gives: Collection[Need], lacks: str = "") -> str | None:
    """Return why a metric with these needs says nothing about a subject that gives less; None if all are given.

    `lacks` says why the subject gives no more.

    >>> not_applicable({Need.GRADIENT, Need.OUTCOMES}, {Need.OUTCOMES})
    'not applicable: the subject gives no gradient of the logits with respect to the image'
    >>> not_applicable({Need.OUTCOMES}, set(Need)) is None
    True
    """
    missing = [need.value.removeprefix("a ") for need in Need if need in set(needs) - set(gives)]
    why = f" ({lacks})" if lacks else ""
    return f"not applicable: the subject gives no {' and no '.join(missing)}{why}" if missing else None


def measure(metric: Any, name: str, subject: Subject, options: Any) -> tuple[tuple[Measurement, ...], str]:
    """Return a metric's measurements of a subject under the name that it was asked for, and why it left something out.

    `options` has every option. A network that does not allow the measurement (`NotMeasurable`) is such a reason. Raises
    `UserError` for a measurement that is called otherwise than the metric's file.
    """
    own = metric.__name__.rpartition(".")[2]
    try:
        found = tuple(metric.measure(subject, metric.Options(**options)))
    except NotMeasurable as error:
        subject.leave_out(own, str(error))
        found = ()
    for m in found:
        if m.metric != own:
            raise UserError(f"the metric '{name}' gives a measurement of '{m.metric}': it must be called '{own}'")
    if name != own:
        found = tuple(m.model_copy(update={"metric": name}) for m in found)
    return found, subject.left_out.pop(own, "")


def cost(metric: Any) -> Cost:
    """Return the cost that a metric's module states, the least if it states none."""
    return Cost(getattr(metric, "COST", Cost.EACH_IMAGE_IS_CHEAP))


def by_default(metric: Any) -> bool:
    """Return whether a metric is measured where a spec names none: of ours that state `BY_DEFAULT = True`."""
    return bool(getattr(metric, "BY_DEFAULT", False))
