"""Runs jobs one after another in the process of the command; `workers` is not used."""

from __future__ import annotations

from collections.abc import Sequence

from lcrbench.bench import worker
from lcrbench.bench.progress import Event, Progress
from lcrbench.bench.records.record import Record
from lcrbench.bench.records.store import Store
from lcrbench.bench.training.loop import Stopped
from lcrbench.bench.worker import Job


def execute(jobs: Sequence[Job], workers: int, target: Store, progress: Progress) -> list[Record]:
    """Do each job, and return what they came to; a run that another process works on is an error here."""
    ended = []
    for job in jobs:
        progress.start(job.spec)

        def tell(phase: str, done: int, total: int, run_id: str = job.spec.run_id, **figures: float) -> None:
            progress.update(Event(run_id, phase, done, total, figures))

        try:
            ended.append(worker.attempt(job, tell))
        except Stopped as error:
            raise KeyboardInterrupt from error
        progress.finish(ended[-1])
    return ended
