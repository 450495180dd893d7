"""What a person sees of work that takes time: one bar, or for a grid of runs a live table.

All of it goes to standard error. Bars and the table are drawn in a terminal only; lines are printed everywhere, unless
`quiet`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import NamedTuple, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from lcrbench.bench.records.budget import images_of
from lcrbench.bench.records.record import Record
from lcrbench.bench.records.spec import RunSpec


class Bar:
    """A bar with the time left; made by `bar`."""

    def __init__(self, live: RichProgress, task: TaskID, total: float) -> None:
        self._live, self._task, self._total = live, task, total
        self.done = 0.0

    def advance(self, n: float = 1, text: str | None = None) -> None:
        """Count n more done; `text` says in place of the last one what is being done."""
        self.done += n
        self._live.update(self._task, completed=self.done, description=text)

    def extend(self, n: float) -> None:
        """Add n units to what there is to do."""
        self._total += n
        self._live.update(self._task, total=self._total)

    def tell(self, line: str) -> None:
        """Print a line above the bar."""
        self._live.console.print(line, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def bar(total: float, what: str, quiet: bool = False, *, unit: str = "") -> Iterator[Bar]:
    """Show how much of `total` units is done, while the context lasts, and yield the bar to advance."""
    console = Console(stderr=True, quiet=quiet)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(),
    )
    with RichProgress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as live:
        yield Bar(live, live.add_task(what, total=total), total)


class Event(NamedTuple):
    """How far a run is in a phase, with figures such as loss and accuracy."""

    run_id: str
    phase: str
    done: int
    total: int
    figures: dict[str, float]


class Work(NamedTuple):
    """What is to be done for a run: its training or not, and the evaluation of so many cells; None stands for all.

    `price` is what one of its training steps costs over one of the plain network, `passes` how many passes of single
    images its searches take.
    """

    spec: RunSpec
    training: bool = True
    cells: int | None = None
    price: float = 1.0
    passes: int = 0


TRAINED, SHOWN, SEARCHED = 3.0, 1.0, 1.5
"""What an image costs in training, in evaluation and in a pass of a search, in forward passes: a training image a forward
and a backward pass; of a test image the corruption is made once for all networks; a search works on small batches, where a
pass takes half as long again. On a CPU core (quick preset, vgg_tiny): 0.65, 0.22 and 0.33 ms."""

BEGUN = 0.02
"""A run that is no further than this has just begun."""


class Estimate:
    """The time that a grid still takes, from what its runs have been through and have yet to go through.

    Speed is counted from the first event on: what it takes to start, and what earlier sessions have done, is none.
    """

    def __init__(self, work: Sequence[Work], clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._began = clock, clock()
        self._training: dict[str, float] = {}
        self._evaluation: dict[str, float] = {}
        self._searching: dict[str, float] = {}
        for s, training, some, price, passes in work:
            images = (images_of(s.budget, s.recipe, s.data.train) or 60_000) * training
            cells = len(s.protocol.cells) if some is None else some
            self._training[s.run_id] = TRAINED * price * images
            self._evaluation[s.run_id] = SHOWN * cells * s.data.test
            self._searching[s.run_id] = SEARCHED * passes
        self._teaching = dict.fromkeys(self._training, 0.0)
        self._done = dict.fromkeys(self._training, 0.0)
        self._before: dict[str, float] = {}
        self._first: tuple[float, float] | None = None
        """The time of the first event, and what was done by then."""

    def _total(self, run_id: str) -> float:
        return self._teaching[run_id] + self._training[run_id] + self._evaluation[run_id] + self._searching[run_id]

    def update(self, event: Event) -> None:
        """Note how far a run is."""
        run_id, part = event.run_id, event.done / event.total if event.total else 0.0
        if event.phase == "teacher" and event.total:
            # A teacher sees as many images as its student; one that is kept already costs nothing, and says nothing.
            self._teaching[run_id] = self._training[run_id]
            done = part * self._teaching[run_id]
        elif event.phase == "training":
            done = self._teaching[run_id] + part * self._training[run_id]
        elif event.phase == "evaluation":
            done = self._teaching[run_id] + self._training[run_id] + part * self._evaluation[run_id]
        elif self._searching.get(run_id) and event.total > 1:
            done = self._total(run_id) - (1 - part) * self._searching[run_id]
        else:
            return
        self._before.setdefault(run_id, done if event.done > 1 else 0.0)
        self._done[run_id] = done
        if self._first is None:
            # A run that tells of its first steps has started by then; one that tells of more did it in the time before.
            self._first = (self._clock(), self._counted()) if part <= BEGUN else (self._began, 0.0)

    def _counted(self) -> float:
        """Return what has been done in this session."""
        return sum(self._done[k] - before for k, before in self._before.items())

    def finish(self, run_id: str) -> None:
        """Note that a run has ended."""
        self._before.setdefault(run_id, 0.0)
        self._done[run_id] = self._total(run_id)

    def spent(self) -> float:
        """Return the seconds since the start."""
        return self._clock() - self._began

    def left(self) -> float | None:
        """Return the seconds left, None until something has been done."""
        done, spent = self._counted(), self.spent()
        if self._first and self._clock() > self._first[0]:
            done, spent = done - self._first[1], self._clock() - self._first[0]
        if done <= 0 or spent <= 0:
            return None
        return spent / done * sum(self._total(k) - self._done[k] for k in self._done)


class Progress:
    """Shows each running cell (method, phase, step, loss, accuracy, time left in its phase) and the whole grid."""

    def __init__(self, work: Sequence[Work], finished: int, *, quiet: bool = False) -> None:
        self.console = Console(stderr=True, quiet=quiet)
        self.cells, self.finished = len(work) + finished, finished
        self.estimate = Estimate(work)
        self.tasks: dict[str, TaskID] = {}
        self.phases: dict[str, tuple[str, float]] = {}
        self.live = RichProgress(
            TextColumn("{task.fields[label]}", style="bold"),
            TextColumn("{task.fields[phase]}", style="cyan"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TextColumn("{task.fields[left]}", style="dim"),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
            refresh_per_second=4,
        )

    def __enter__(self) -> Self:
        self.live.start()
        self.grid = self.live.add_task(
            "", label="all runs", phase="", figures="", left="", total=self.cells, completed=self.finished
        )
        if self.finished:
            self.console.print(f"{self.finished} of {self.cells} runs are in the store already", highlight=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.live.stop()

    def start(self, spec: RunSpec) -> None:
        """Show a run that begins."""
        self.tasks[spec.run_id] = self.live.add_task(
            "", label=f"{spec.label} seed {spec.seed}", phase="starting", figures="", left="", total=None
        )

    def update(self, event: Event) -> None:
        """Show how far a run is."""
        if event.run_id not in self.tasks:
            return
        self.estimate.update(event)
        self._tell_left()
        phase, began = self.phases.get(event.run_id, ("", 0.0))
        if phase != event.phase:
            began = time.monotonic()
            self.phases[event.run_id] = (event.phase, began)
        spent = time.monotonic() - began
        left = spent * (event.total - event.done) / event.done if event.done else None
        self.live.update(
            self.tasks[event.run_id],
            phase=event.phase,
            completed=event.done,
            total=event.total,
            figures="  ".join(f"{k} {v:.3f}" for k, v in event.figures.items()),
            left="" if left is None else f"{_clock(left)} left",
        )

    def wait(self, spec: RunSpec) -> None:
        """Stop showing a run that another process works on."""
        if task := self.tasks.pop(spec.run_id, None):
            self.live.remove_task(task)

    def finish(self, record: Record) -> None:
        """Show a run that has ended, and how much of the grid is left."""
        self.wait(record.trained)
        self.finished += 1
        spec = record.spec
        self.estimate.finish(record.run_id)
        left = self._tell_left()
        self.live.update(self.grid, completed=self.finished)
        if record.failure:
            text = f"failed: {record.failure.message}"
        else:
            clean = next((m.value for m in record.measurements if m.metric == "accuracy" and not m.corruption), None)
            seconds = sum(s.cpu for s in record.ledger.seconds.values()) if record.ledger else 0
            text = (f"clean accuracy {clean:.1%}, " if clean is not None else "") + f"{seconds:.0f} CPU seconds"
        # Runs at once end nearly together, and then none for long: without the time gone, the time left seems to jump.
        gone = f"{_clock(self.estimate.spent())} gone{left and ', ' + left}"
        self.console.print(
            f"[{self.finished}/{self.cells}] {spec.label} seed {spec.seed}: {text}; {gone}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )

    def _tell_left(self) -> str:
        """Show and return how long the whole grid still takes, nothing where it is over or not known."""
        left = self.estimate.left()
        text = f"about {_clock(left)} left" if left else ""
        self.live.update(self.grid, left=text)
        return text


def _clock(seconds: float) -> str:
    whole = round(seconds)
    return (
        f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}" if whole >= 3600 else f"{whole // 60}:{whole % 60:02}"
    )
