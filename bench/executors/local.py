"""Runs jobs on this machine: one-thread processes, forked from a server that has imported torch once.

Ctrl-C, or SIGTERM, asks them all to save and end, a second one ends them at once; what is stored stays.
"""

from __future__ import annotations

import signal
import threading
import time
from collections import deque
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, Literal, NamedTuple

from filelock import Timeout

from lcrbench.bench import worker
from lcrbench.bench.processes import LOOK, LOST, Child, process_context
from lcrbench.bench.progress import Progress
from lcrbench.bench.records.record import Failure, Record
from lcrbench.bench.records.store import Store
from lcrbench.bench.worker import Job


class _Cell(NamedTuple):
    child: Child
    job: Job
    events: Connection


def execute(jobs: Sequence[Job], workers: int, target: Store, progress: Progress) -> list[Record]:
    """Keep `workers` processes busy until every job has ended; return what each came to, in the order they ended."""
    context = process_context()
    waiting = deque(jobs)
    # A pipe each: a process that is killed while it writes can block no other.
    running: dict[str, _Cell] = {}
    asked: list[int] = []
    ended: list[Record] = []

    def ask(number: int, _: Any) -> None:
        # Only noted, and seen to between two steps of the loop: raised inside `start`, it would leave an orphan behind.
        asked.append(number)
        if len(asked) > 1:
            for cell in running.values():
                cell.child.send(signal.SIGKILL)

    listening = threading.current_thread() is threading.main_thread()
    before = [signal.signal(s, ask) for s in (signal.SIGINT, signal.SIGTERM)] if listening else []
    try:
        while waiting or running:
            while waiting and len(running) < workers and not asked:
                job = waiting.popleft()
                reader, writer = context.Pipe(duplex=False)
                child = Child(worker.work, job, writer)
                writer.close()
                running[job.spec.run_id] = _Cell(child, job, reader)
                progress.start(job.spec)
            ready = wait([c.events for c in running.values()] + [c.child.sentinel for c in running.values()], 0.5)
            if asked:
                # Who sent the signal may have sent it to all: those that have stopped did not fail.
                raise KeyboardInterrupt
            for run_id, cell in list(running.items()):
                if cell.events in ready:
                    try:
                        progress.update(cell.events.recv())
                        continue
                    except (EOFError, OSError):
                        # It tells nothing more, and so ends.
                        wait([cell.child.sentinel], LOOK)
                if cell.child.alive():
                    continue
                cell.events.close()
                del running[run_id]
                record = _record_of(target, cell)
                cell.child.close()
                if record is None:
                    # Come back to it, and find its record or its save.
                    progress.wait(cell.job.spec)
                    waiting.append(cell.job)
                    time.sleep(0.5)
                else:
                    ended.append(record)
                    progress.finish(record)
    finally:
        while alive := [cell.child for cell in running.values() if cell.child.alive()]:
            for child in alive:
                child.send(signal.SIGTERM)
            # And again: a process that has just been forked does not hear it yet.
            wait([child.sentinel for child in alive], 2)
        for cell in running.values():
            cell.events.close()
            cell.child.close()
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=False):
            signal.signal(number, handler)
    return ended


def _record_of(target: Store, cell: _Cell) -> Record | None:
    """Return what a process's attempt came to: the record it left, or one that says why it left none (`worker.fail`).

    None stands for a run that another process works on.
    """
    code, job = cell.child.code(), cell.job
    if code == worker.BUSY:
        return None
    if code == 0:
        record = target.record(job.spec.run_id)
        if record.status == "failed" or worker.answers(target, record, job):
            return record
        return worker.failed(job, Failure(reason="error", step=0, message="its error stands above"))
    reason: Literal["killed", "stopped"] = "killed"
    if code == LOST:
        message = "the process ended, and nobody knows how (out of memory?): run again to go on"
    elif code < 0:
        message = f"the process was killed by {signal.Signals(-code).name} (out of memory?): run again to go on"
    elif code == worker.STOPPED:
        reason = "stopped"
        message = "the process was asked to stop, and saved: run again to go on"
    elif code == worker.UNWRITABLE:
        message = "the store took no record: make room, and run again to go on"
    else:
        message = f"the process ended with exit code {code}: its error stands above"
    try:
        with target.held(*worker.locks(job.spec)):
            return worker.fail(target, job, Failure(reason=reason, step=0, message=message))
    except Timeout:
        return None
