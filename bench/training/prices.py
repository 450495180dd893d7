"""What a training computes, as prices of its steps and passes: numbers alone, counted by charge.py."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from lcrbench.bench.training.pace import Pace


class Price(NamedTuple):
    """One step: `full` operations with `passes` passes of its terms for each image, and `least` without these passes."""

    full: int
    least: int
    passes: float

    def of(self, passes: float) -> float:
        """Return the operations of a step whose terms made this many passes: a cache may save some of them."""
        if self.full == self.least or passes == self.passes:
            return self.full
        return self.least + (self.full - self.least) * passes / self.passes


@dataclass(frozen=True)
class Prices:
    """Operations of a training in its parts, and what they are measured in.

    `plain` are the operations of one step of `batch` images of the plain network. `steps` holds for each stage the price of
    a step, and of one that is logged, where terms may measure more. `validation` are the operations of a pass over the
    validation images. All results are in images of the plain network's training: `batch` for one of its steps.
    """

    plain: int
    batch: int
    steps: tuple[tuple[Price, Price], ...]
    validation: int

    def step(self, stage: int, logged: bool, passes: float) -> float:
        """Return what one step costs, with the passes of its terms for each image."""
        return self.steps[stage][logged].of(passes) * self.batch / self.plain

    def validated(self) -> float:
        """Return what one pass over the validation images costs."""
        return self.validation * self.batch / self.plain

    def training(self, steps: int, selects: bool) -> Fraction:
        """Return what a training of `steps` steps costs at most; `selects` by its validation images, or does not."""
        pace = Pace(steps, None, len(self.steps))
        total = Fraction(pace.measured() * self.validation if selects else 0)
        for (price, logged), (n, n_logged) in zip(self.steps, pace.counted(selects), strict=True):
            total += (n - n_logged) * price.full + n_logged * logged.full
        return total * self.batch / self.plain


def unpriced(batch: int, stages: int) -> Prices:
    """Return prices by which every step costs its images, and validation nothing."""
    return Prices(1, batch, ((Price(1, 1, 0.0),) * 2,) * stages, 0)
