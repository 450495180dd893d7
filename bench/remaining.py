"""Foretells how long a grid of runs still takes, from how fast its parts have gone so far.

Nothing here reads a spec or prints: who asks gives each run's amounts of work, and tells of its events.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

PHASES = ("teacher", "training", "evaluation", "search")
"""The parts of a run, in their order."""

WORKED = ("teacher", "training", "search")
"""Of these one part foretells another. An evaluation foretells none: the first one of a grid corrupts the images for all
others, so that an image may take it a hundred times as long as the last one."""

BELIEF = 0.03
"""What is expected of a part counts like a measurement of this share of it."""

BEGUN = 0.02
"""A run whose first event tells of more than this share has worked on it since the run began."""


class Amounts(NamedTuple):
    """What a run has to do, each part in forward passes of an image.

    Runs of one `label` are taken to be alike: what one of them took is expected of the others.
    """

    label: str
    training: float
    evaluation: float
    search: float


@dataclass
class _Pace:
    """Seconds that work took."""

    seconds: float = 0.0
    work: float = 0.0

    def rate(self, expected: float, belief: float) -> float:
        """Return the seconds of a unit of work, where `expected` counts like `belief` units."""
        return (self.seconds + expected * belief) / (self.work + belief) if self.work + belief else expected


@dataclass
class _Run:
    """How far a run is."""

    label: str
    amounts: dict[str, float]
    began: float | None = None
    phase: str = ""
    part: float = 0.0
    last: float = 0.0
    """When its last event came."""
    counted: float = 0.0
    """The seconds of it that went to its parts; the others went to its start, to storing, and to what is not counted."""
    heard: bool = False

    def left(self, phase: str) -> float:
        """Return what is left of a part."""
        if not self.phase or PHASES.index(phase) > PHASES.index(self.phase):
            return self.amounts[phase]
        return self.amounts[phase] * (1 - self.part) if phase == self.phase else 0.0


class Remaining:
    """The time that a grid still takes: runs are worked on in their order, as many at once as have been so far.

    A part's seconds are expected from the same part of runs of the same label, else of any label, else from trainings and
    searches.
    """

    def __init__(self, runs: Mapping[str, Amounts], clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._began = clock, clock()
        self._runs = {
            name: _Run(
                a.label, {"teacher": 0.0, "training": a.training, "evaluation": a.evaluation, "search": a.search}
            )
            for name, a in runs.items()
        }
        self._paces: dict[tuple[str, str], _Pace] = {}
        self._rests: list[float] = []
        self._at_once = 1

    def start(self, name: str) -> None:
        """Note that a run begins."""
        run = self._runs[name]
        run.began = run.last = self._clock()
        # Begun anew, where another process has had it meanwhile.
        run.phase, run.part, run.counted, run.heard = "", 0.0, 0.0, False
        self._at_once = max(self._at_once, sum(r.began is not None for r in self._runs.values()))

    def wait(self, name: str) -> None:
        """Note that a run is not worked on here any more, and will be later."""
        self._runs[name].began = None

    def finish(self, name: str) -> None:
        """Note that a run has ended."""
        run = self._runs.pop(name, None)
        if run and run.began is not None and run.heard:
            self._rests.append(self._clock() - run.began - run.counted)

    def update(self, name: str, phase: str, done: int, total: int) -> None:
        """Note how far a run is in a phase; what is no part of it is a search, which the metrics that search tell of."""
        run, now = self._runs.get(name), self._clock()
        if run is None or run.began is None:
            return
        if phase not in PHASES:
            phase = "search"
        if phase == "search" and (not run.amounts["search"] or (run.phase == "search" and total <= 1)):
            return  # another metric, or one that shares the search
        if phase == "teacher":
            if not total:
                return  # one that is kept already
            # A teacher sees as many images as its student.
            run.amounts["teacher"] = run.amounts["training"]
        part = done / total if total else 0.0
        if phase != run.phase:
            fresh = done == 0 or (not run.heard and done <= 1)
            since = run.began if not run.heard and done == 1 and part > BEGUN else now
            before, run.phase, run.last = 0.0 if fresh else part, phase, since
        else:
            before = run.part
        if part > before and now > run.last and run.amounts[phase]:
            pace = self._paces.setdefault((run.label, phase), _Pace())
            pace.seconds += now - run.last
            pace.work += (part - before) * run.amounts[phase]
            run.counted += now - run.last
        run.part, run.last = part, now
        run.heard = True

    def spent(self) -> float:
        """Return the seconds since the start."""
        return self._clock() - self._began

    def left(self) -> float | None:
        """Return the seconds until the last run ends, None until something has been done."""
        if not self._runs:
            return 0.0
        if not self._paces:
            return None
        ahead = any(run.left(phase) for run in self._runs.values() for phase in WORKED)
        if ahead and not any(phase in WORKED for _, phase in self._paces):
            return None
        now, rest = self._clock(), self._rest()

        rates = self._rates()

        def needs(run: _Run) -> float:
            return sum(run.left(phase) * rates[run.label, phase] for phase in PHASES)

        free = [0.0] * self._at_once
        for run in self._runs.values():
            if run.began is not None:
                other = max(0.0, rest - (run.last - run.began - run.counted))
                heapq.heapreplace(free, max(0.0, needs(run) + other - (now - run.last)))
        for run in self._runs.values():
            if run.began is None:
                heapq.heapreplace(free, free[0] + needs(run) + rest)
        return max(free)

    def _rates(self) -> dict[tuple[str, str], float]:
        """Return by label and phase the average seconds of a unit of work, by what of it has been done."""
        found, labels = {}, {run.label for run in self._runs.values()}
        worked = _sum(pace for (_, of), pace in self._paces.items() if of in WORKED)
        of_all = worked if worked.work else _sum(self._paces.values())
        for phase in PHASES:
            of_phase = _sum(pace for (_, of), pace in self._paces.items() if of == phase)
            belief = BELIEF * max((run.amounts[phase] for run in self._runs.values()), default=0.0)
            expected = of_phase.rate(of_all.seconds / of_all.work, belief)
            for label in labels:
                found[label, phase] = self._paces.get((label, phase), _Pace()).rate(expected, belief)
        return found

    def _rest(self) -> float:
        """Return the seconds of a run that are expected to go to none of its parts."""
        if self._rests:
            return sum(self._rests) / len(self._rests)
        begun = [r.last - r.began - r.counted for r in self._runs.values() if r.began is not None and r.heard]
        return max(begun, default=0.0)


def _sum(paces: Iterable[_Pace]) -> _Pace:
    every = list(paces)
    return _Pace(sum(p.seconds for p in every), sum(p.work for p in every))
