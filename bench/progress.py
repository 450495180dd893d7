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
from lcrbench.bench.remaining import Amounts, Remaining


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
    images its searches take, and `packed` tells whether it is evaluated on packed bits.
    """

    spec: RunSpec
    training: bool = True
    cells: int | None = None
    price: float = 1.0
    passes: int = 0
    packed: bool = False


TRAINED, SHOWN, PACKED, SEARCHED = 3.0, 1.0, 0.27, 1.5
"""What an image costs in training, in evaluation, there on packed bits, and in a pass of a search, in forward passes: a
training image a forward and a backward pass; of a test image the corruption is made once for all networks; a search works on
small batches, where a pass takes half as long again. On a CPU core (quick preset, vgg_tiny): .65, .22, .06 and .31 ms."""

TERM = 1.3
"""What regularizers add to a training's seconds beyond their operations: they read all activations or weights again. LCR's
steps take 1.31 to 1.40 times those of its base, and 1.05 times the operations."""


def remaining(work: Sequence[Work], clock: Callable[[], float] = time.monotonic) -> Remaining:
    """Return what foretells the time left of a grid."""
    runs: dict[str, Amounts] = {}
    for s, training, some, price, passes, packed in work:
        images = (images_of(s.budget, s.recipe, s.data.train) or 60_000) * training
        cells = len(s.protocol.cells) if some is None else some
        trained = TRAINED * price * images * (TERM if s.training.method.regularizers else 1.0)
        shown = (PACKED if packed else SHOWN) * cells * s.data.test
        runs[s.run_id] = Amounts(s.label, trained, shown, SEARCHED * passes)
    return Remaining(runs, clock)


class Progress:
    """Shows each running cell (method, phase, step, loss, accuracy, time left in its phase) and the whole grid."""

    def __init__(self, work: Sequence[Work], finished: int, *, quiet: bool = False) -> None:
        self.console = Console(stderr=True, quiet=quiet)
        self.cells, self.finished = len(work) + finished, finished
        self.remaining = remaining(work)
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
        self.remaining.start(spec.run_id)
        self.tasks[spec.run_id] = self.live.add_task(
            "", label=f"{spec.label} seed {spec.seed}", phase="starting", figures="", left="", total=None
        )

    def update(self, event: Event) -> None:
        """Show how far a run is."""
        if event.run_id not in self.tasks:
            return
        self.remaining.update(event.run_id, event.phase, event.done, event.total)
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
        self.remaining.wait(spec.run_id)
        self._hide(spec)

    def _hide(self, spec: RunSpec) -> None:
        self.phases.pop(spec.run_id, None)
        if task := self.tasks.pop(spec.run_id, None):
            self.live.remove_task(task)

    def finish(self, record: Record) -> None:
        """Show a run that has ended, and how much of the grid is left."""
        self._hide(record.trained)
        self.finished += 1
        spec = record.spec
        self.remaining.finish(record.run_id)
        left = self._tell_left()
        self.live.update(self.grid, completed=self.finished)
        if record.failure:
            text = f"failed: {record.failure.message}"
        else:
            clean = next((m.value for m in record.measurements if m.metric == "accuracy" and not m.corruption), None)
            seconds = sum(s.cpu for s in record.ledger.seconds.values()) if record.ledger else 0
            text = (f"clean accuracy {clean:.1%}, " if clean is not None else "") + f"{seconds:.0f} CPU seconds"
        # Runs at once end nearly together, and then none for long: without the time gone, the time left seems to jump.
        gone = f"{_clock(self.remaining.spent())} gone{left and ', ' + left}"
        self.console.print(
            f"[{self.finished}/{self.cells}] {spec.label} seed {spec.seed}: {text}; {gone}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )

    def _tell_left(self) -> str:
        """Show and return how long the whole grid still takes, nothing where it is over or not known."""
        left = self.remaining.left()
        text = f"about {_clock(left)} left" if left else ""
        self.live.update(self.grid, left=text)
        return text


def _clock(seconds: float) -> str:
    whole = round(seconds)
    return (
        f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}" if whole >= 3600 else f"{whole // 60}:{whole % 60:02}"
    )
