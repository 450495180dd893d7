"""The course of a training: where a step lies, when it ends, at which steps something is logged or measured; its clock."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from lcrbench.bench.together import Group
    from lcrbench.bench.training.spent import Spent

T = TypeVar("T")

LOGGED_STEPS = 100
MEASURED = 20


@dataclass(frozen=True)
class Pace:
    """A training of `steps` steps, or of `seconds` seconds if `steps` is None, in equal `stages`.

    `elapsed` in the methods is the share of the seconds that is over; it counts only without `steps`.
    """

    steps: int | None
    seconds: float | None
    stages: int

    def over(self, step: int, elapsed: float) -> bool:
        """Tell whether the training ends before step `step`, from 0; by the clock it has one step at least."""
        return step == self.steps if self.steps is not None else elapsed >= 1 and step > 0

    def place(self, step: int, elapsed: float) -> tuple[int, float]:
        """Return the stage that a step belongs to, and the progress in [0, 1) within it."""
        if self.steps is None:
            stage = min(self.stages - 1, int(elapsed * self.stages))
            return stage, min(elapsed * self.stages - stage, 1 - 1e-9)
        stage, begin, end = self._stage_of(step, self.steps)
        # The middle of the step, so that the first and the last step have a learning rate above 0.
        return stage, (step - begin + 0.5) / (end - begin)

    def logs(self, step: int) -> bool:
        """Tell whether the log gets a row after this step: the first one, about every hundredth part, and the last one."""
        every = max(1, (self.steps or 100 * LOGGED_STEPS) // LOGGED_STEPS)
        return (step + 1) % every == 0 or step == 0 or step + 1 == self.steps

    def mark(self, step: int, elapsed: float) -> int:
        """Return how many of the 20 measurements for a selection are due after this step.

        They are evenly spaced over the last stage, since the network of an earlier one may be another network. Without
        `steps` the last one falls due at the end of the training only.
        """
        if self.steps is None:
            return int(max(0.0, elapsed * self.stages - (self.stages - 1)) * MEASURED)
        stage, begin, end = self._stage_of(step, self.steps)
        return (step + 1 - begin) * MEASURED // (end - begin) if stage == self.stages - 1 else 0

    def counted(self, selects: bool) -> list[tuple[int, int]]:
        """Return for each stage its steps, and how many of them are logged, those with a measurement included.

        Only for a training of a known number of `steps`; `selects` tells whether it measures for a selection.
        """
        assert self.steps is not None
        every = max(1, self.steps // LOGGED_STEPS)
        logged = {0, self.steps - 1, *range(every - 1, self.steps, every)}
        _, begin, end = self._stage_of(self.steps - 1, self.steps)
        if selects:
            logged |= {begin - (-k * (end - begin) // MEASURED) - 1 for k in range(1, MEASURED + 1)}
        stage_of = Counter(self._stage_of(step, self.steps)[0] for step in logged)
        ends = [self.steps * k // self.stages for k in range(self.stages + 1)]
        return [(end - begin, stage_of[k]) for k, (begin, end) in enumerate(pairwise(ends))]

    def measured(self) -> int:
        """Return how many measurements a selection makes in a training of a known number of steps."""
        assert self.steps is not None
        _, begin, end = self._stage_of(self.steps - 1, self.steps)
        return min(MEASURED, end - begin)

    def _stage_of(self, step: int, steps: int) -> tuple[int, int, int]:
        """Return a step's stage, the stage's first step and the first step after it."""
        ends = [steps * (k + 1) // self.stages for k in range(self.stages)]
        stage = bisect_right(ends, step)
        return stage, ends[stage - 1] if stage else 0, ends[stage]


class Clock:
    """Counts the seconds of a training on top of those that a save holds: this process's, and if asked those of all."""

    def __init__(self, spent: Spent, device: str, group: Group) -> None:
        if group.rank:
            # What the save holds is the first process's to count on.
            spent.cpu = spent.wall = spent.waited = 0.0
        self._spent, self._device, self._group = spent, device, group
        self._cpu, self._wall = time.process_time() - spent.cpu, time.perf_counter() - spent.wall
        self._waited = spent.waited

    def waiting(self, stream: Generator[T, None, None]) -> Generator[T, None, None]:
        """Yield what a stream yields, and count the seconds that it takes."""
        with closing(stream):
            while True:
                start = time.perf_counter()
                try:
                    found = next(stream)
                except StopIteration:
                    return
                self._waited += time.perf_counter() - start
                self._spent.waited = self._waited
                yield found

    def read(self) -> float:
        """Write this process's seconds down in `spent`, and return those that a budget counts.

        They are CPU seconds, or wall seconds on an accelerator.
        """
        spent = self._spent
        spent.cpu, spent.wall = time.process_time() - self._cpu, time.perf_counter() - self._wall
        spent.waited = self._waited
        return spent.cpu if self._device == "cpu" else spent.wall

    def together(self) -> float:
        """Write the sums of all processes' seconds down in `spent`, and return those that a budget counts."""
        found = self.read()
        if self._group.world == 1:
            return found
        spent = self._spent
        told = self._group.numbers([spent.cpu, spent.wall, spent.waited])
        spent.cpu, spent.wall, spent.waited = (sum(column) for column in zip(*told, strict=True))
        return spent.cpu if self._device == "cpu" else spent.wall
