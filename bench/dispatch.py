"""Has the runs of a grid worked on: submits them to an executor, and reads the result of each from the store.

Several commands may do so on one store at once, on one machine or on many. Each takes the next run that is free, as
its lease tells, and comes back to those that others have.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any, Literal, NamedTuple, Self

from lcrbench import registry
from lcrbench.bench import worker
from lcrbench.bench.executors import Cell, Executor, Resources, Told, parted
from lcrbench.bench.job import Job
from lcrbench.bench.progress import Progress
from lcrbench.bench.records.lease import Held
from lcrbench.bench.records.record import Failure, Record
from lcrbench.bench.records.store import Store
from lcrbench.errors import UserError

LOOK, AGAIN, WATCH = 0.5, 2.0, 60.0
"""Seconds that an executor is listened to; between two looks at a run that another process has; and of silence before an
executor is asked what it has left."""


class Ended(NamedTuple):
    """What a run came to, in short: the records of a grid of thousands would fill the memory of its command."""

    run_id: str
    name: str
    status: str
    failure: Failure | None

    @classmethod
    def of(cls, record: Record) -> Self:
        """Return a record in short."""
        return cls(record.run_id, f"{record.spec.label} seed {record.spec.seed}", record.status, record.failure)


def work_on(
    jobs: Sequence[Job],
    on: str,
    workers: int | None,
    need: Resources,
    target: Store,
    progress: Progress,
    *,
    wait: bool = True,
) -> list[Ended]:
    """Have jobs worked on by the executor that `on` names, with its address after a colon; return what each came to.

    At most `workers` are worked on at once (None: as many as there is room for). Raises `UserError` as `check` does, and
    `dispatch`.
    """
    if not jobs:
        return []
    name, address = parted(on)
    executor = registry.load("executor", name).make(workers, address)
    room = check(need, executor, name)
    return dispatch(jobs, executor, target, progress, at_once=workers or room, need=need, wait=wait)


def check(need: Resources, executor: Executor, name: str) -> int:
    """Return how many runs of a need an executor has room for; raises `UserError` if it has none for one."""
    there = executor.capacity()
    room = sum(machine.times(need) for machine in there)
    if room < 1:
        largest = max(there, key=lambda machine: machine[1::-1], default=Resources(0))
        raise UserError(
            f"a run needs {need.text}, and no machine of '{name}' has more than {largest.text or 'nothing'}: "
            "give a smaller --need, or add a machine"
        )
    return room


def dispatch(
    jobs: Sequence[Job],
    executor: Executor,
    target: Store,
    progress: Progress,
    *,
    at_once: int,
    need: Resources | None = None,
    wait: bool = True,
) -> list[Ended]:
    """Have `at_once` runs worked on until every one has ended; return what each came to, in the order they ended.

    Without `wait` it ends as soon as other processes have all that is left. Ctrl-C, or SIGTERM, asks all to save and stop,
    and raises `KeyboardInterrupt` when they have; a second one ends them at once.
    """
    need = need or Resources()
    waiting, later = deque(jobs), dict.fromkeys((job.spec.run_id for job in jobs), 0.0)
    running: dict[Cell, Job] = {}
    shown: set[Cell] = set()
    ended: list[Ended] = []
    heard = time.monotonic()

    def next_free() -> Job | None:
        """Return the next free run; note which of those before it other processes have finished."""
        for _ in range(len(waiting)):
            job = waiting.popleft()
            spec = job.spec
            if later[spec.run_id] <= time.monotonic():
                if record := worker.answered(target, job):
                    ended.append(Ended.of(record))
                    progress.finish(record)
                    continue
                if all(target.lease(name).state() != "held" for name in worker.leased(spec)):
                    return job
                later[spec.run_id] = time.monotonic() + AGAIN
            waiting.append(job)
        return None

    with _interrupts(executor, running) as asked:
        try:
            while waiting or running:
                while len(running) < at_once and not asked and (job := next_free()):
                    cell = job.keep()
                    running[cell] = job
                    try:
                        executor.submit(cell, need)
                    except BaseException:
                        del running[cell]
                        Job.forget(cell)
                        raise
                if not running:
                    if asked:
                        raise KeyboardInterrupt
                    if waiting and not wait:
                        break
                    time.sleep(LOOK if waiting else 0.0)
                    continue
                with closing(_told(executor, running)) as events:
                    for told, job in events:
                        if asked:
                            # Who sent the signal may have sent it to all: those that have stopped did not fail.
                            raise KeyboardInterrupt
                        heard = time.monotonic()
                        if told.cell not in shown and told.outcome != "busy":
                            shown.add(told.cell)
                            progress.start(job.spec)
                        if told.kind == "progress" and told.event:
                            progress.update(told.event)
                        if told.kind not in ("ended", "lost"):
                            continue
                        shown.discard(told.cell)
                        if (record := record_of(target, job, told)) is None:
                            # Come back to it, and find its record or its save.
                            progress.wait(job.spec)
                            later[job.spec.run_id] = time.monotonic() + LOOK
                            waiting.append(job)
                        else:
                            ended.append(Ended.of(record))
                            progress.finish(record)
                if asked:
                    raise KeyboardInterrupt
                if time.monotonic() - heard > WATCH:
                    heard = time.monotonic()
                    if not any(machine.times(need) for machine in executor.capacity()):
                        print(f"lcrbench: no machine is left that has {need.text}: waiting for one", file=sys.stderr)
        finally:
            _end(executor, running, asked)
    return ended


@contextmanager
def _interrupts(executor: Executor, running: dict[Cell, Job]) -> Iterator[list[int]]:
    """Note Ctrl-C and SIGTERM meanwhile, in the list that is yielded, and pass them on to what runs."""
    asked: list[int] = []

    def ask(number: int, _: Any) -> None:
        # Only noted, and seen to between two steps of the loop: raised inside `submit`, it would leave an orphan behind.
        asked.append(number)
        for cell in list(running):
            executor.cancel(cell, now=len(asked) > 1)

    listening = threading.current_thread() is threading.main_thread()
    before = [signal.signal(s, ask) for s in (signal.SIGINT, signal.SIGTERM)] if listening else []
    try:
        yield asked
    finally:
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=False):
            signal.signal(number, handler)


def _end(executor: Executor, running: dict[Cell, Job], asked: list[int]) -> None:
    """Ask all that runs to save and stop, until it has."""
    last = 0.0
    while running:
        # Repeated, because a process that was just forked does not handle the signal yet.
        if time.monotonic() - last > 2.0:
            for cell in running:
                executor.cancel(cell, now=len(asked) > 1)
            last = time.monotonic()
        for _ in _told(executor, running):
            pass


def _told(executor: Executor, running: dict[Cell, Job]) -> Generator[tuple[Told, Job]]:
    """Yield what an executor tells of the cells that run, with their jobs; what has ended runs no longer.

    Each end is told once. So it is noted before the caller acts on it, and all that is told at once is noted, even where the
    caller leaves the loop before: `_end` would wait for ever for the end of such a cell.
    """
    events = iter(executor.events(LOOK))

    def noted() -> Iterator[tuple[Told, Job]]:
        for told in events:
            if (job := running.get(told.cell)) is None:
                continue
            if told.kind in ("ended", "lost"):
                del running[told.cell]
                Job.forget(told.cell)
            yield told, job

    try:
        yield from noted()
    finally:
        for _ in noted():
            pass


def record_of(target: Store, job: Job, told: Told) -> Record | None:
    """Return what a process's attempt came to: the record it left, or one that says why it left none (`worker.fail`).

    None stands for a run that another process works on. Raises `UserError` where the process may not work on it.
    """
    reason: Literal["killed", "stopped"] = "killed"
    message = told.reason
    if told.kind == "ended":
        if told.outcome == "busy":
            return None
        if told.outcome == "refused":
            raise UserError(told.reason)
        if told.outcome == "done":
            # By a store of its own, because one remembers every record that it has read.
            reader = Store(target.root)
            reader.note(job.spec.evaluation_id)
            record = reader.record(job.spec.run_id)
            if record.status == "failed" or worker.answers(reader, record, job):
                return record
            return worker.failed(job, Failure(reason="error", step=0, message="its error stands above"))
        if told.outcome == "stopped":
            reason, message = "stopped", "the process was asked to stop, and saved: run again to go on"
        else:
            message = "the store took no record: make room, and run again to go on"
    try:
        with target.held(*worker.leased(job.spec)):
            return worker.fail(target, job, Failure(reason=reason, step=0, message=message))
    except Held:
        return None
