"""What a person sees of a grid at work: a live table in a terminal, a line for each finished run elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import NamedTuple, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn
from rich.progress import Progress as RichProgress

from lcrbench.bench.schema import Record
from lcrbench.bench.spec import RunSpec


class Event(NamedTuple):
    """How far a run is in a phase, with figures such as loss and accuracy."""

    run_id: str
    phase: str
    done: int
    total: int
    figures: dict[str, float]


class Progress:
    """Shows each running cell (method, phase, step, loss, accuracy, time left in its phase) and the whole grid."""

    def __init__(self, cells: int, finished: int, *, quiet: bool = False) -> None:
        self.console = Console(stderr=True, quiet=quiet)
        self.cells, self.finished = cells, finished
        self.began = time.monotonic()
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
        self.wait(record.spec)
        self.finished += 1
        spec, spent = record.spec, time.monotonic() - self.began
        left = spent / self.finished * (self.cells - self.finished)
        self.live.update(self.grid, completed=self.finished, left=f"about {_clock(left)} left" if left else "")
        if record.failure:
            text = f"failed: {record.failure.message}"
        else:
            clean = next((m.value for m in record.measurements if m.metric == "accuracy" and not m.corruption), None)
            seconds = sum(s.cpu for s in record.ledger.seconds.values()) if record.ledger else 0
            text = (f"clean accuracy {clean:.1%}, " if clean is not None else "") + f"{seconds:.0f} CPU seconds"
        self.console.print(
            f"[{self.finished}/{self.cells}] {spec.label} seed {spec.seed}: {text}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )


def _clock(seconds: float) -> str:
    whole = round(seconds)
    return (
        f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}" if whole >= 3600 else f"{whole // 60}:{whole % 60:02}"
    )
