"""One run, in a process of its own: train what is not trained, evaluate what is not evaluated, store both."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lcrbench.bench import device
from lcrbench.bench.clock import Clocks
from lcrbench.bench.data.subset import load_data as load_data
from lcrbench.bench.evaluation import known as known_of
from lcrbench.bench.evaluation import run as evaluation
from lcrbench.bench.evaluation.known import Known
from lcrbench.bench.evaluation.networks import restored
from lcrbench.bench.evaluation.run import Looked
from lcrbench.bench.executors import Cell, Outcome
from lcrbench.bench.job import Job
from lcrbench.bench.progress import Event
from lcrbench.bench.records import env, view
from lcrbench.bench.records.lease import Held, Superseded
from lcrbench.bench.records.record import Asked, Failure, Record, Training
from lcrbench.bench.records.source import stale_training
from lcrbench.bench.records.spec import RunSpec
from lcrbench.bench.records.store import WEIGHTS, Damaged, Store
from lcrbench.bench.training import group, launched
from lcrbench.bench.training.checkpoint import Checkpoint
from lcrbench.bench.training.loop import Diverged, Stopped
from lcrbench.bench.training.run import made_by, scope, trained
from lcrbench.errors import UserError


def known(store: Store, spec: RunSpec) -> Known | None:
    """Return what the store holds of a run's evaluation; None if it holds none."""
    found = store.known(spec.evaluation_id)
    return Known(*found) if found else None


def current(store: Store, job: Job) -> Training | None:
    """Return the stored training that a job can go on with; None if it has to be trained."""
    name = job.spec.training.train_id
    if name not in store.trainings:
        return None
    training = store.trainings.record(name)
    if job.fresh and training.provenance.created < job.provenance.created:
        return None
    if job.stale == "redo" and stale_training(training):
        return None
    return training


def work(store: str, job: str, tell: Callable[[Event], None] = lambda event: None) -> Outcome:
    """Do what a store lacks of a run, in the main thread of this process; return what was done.

    Every executor's process calls it. It may be called again, or by two processes at once: a run that is there is not made
    again, and one that another process works on is left to it.
    """
    return worked(Cell(store, job), tell)[0]


def worked(cell: Cell, tell: Callable[[Event], None]) -> tuple[Outcome, Record | None]:
    """Do what `work` does, and return the record, too, where there is one."""
    try:
        one = Job.kept(cell)
    except UserError:
        # Its command has ended meanwhile.
        return "stopped", None

    def say(phase: str, done: int, total: int, **figures: float) -> None:
        tell(Event(one.spec.run_id, phase, done, total, figures))

    try:
        record = attempt(one, say)
    except Stopped:
        return "stopped", None
    except Superseded:
        name = f"{one.spec.label} seed {one.spec.seed}"
        print(f"{name}: superseded: another process took it over, because this one stood still", file=sys.stderr)
        return "busy", None
    except Held:
        return "busy", None
    except UserError:
        # A store that takes no lease or no record: the parent, which can report it, will find the same.
        return "unwritable", None
    return "done", record


def attempt(job: Job, tell: Any = lambda *a, **k: None) -> Record:
    """Do one job in this process, under its leases, and return what it came to; what its code raises is a failed run.

    It is called in the main thread, and handles SIGTERM as long as it lasts. Raises `Stopped` where SIGTERM asked it to save
    and end, `Held` where another process works on the run (`Superseded`: took it over), and `UserError` where the store
    takes no lease or no record.
    """
    target, before = Store(job.root), signal.getsignal(signal.SIGTERM) or signal.SIG_DFL
    with target.held(*leased(job.spec)):
        if record := answered(target, job):
            return record
        try:
            record = run_one(job, tell)
        except (Stopped, Held):
            raise
        except Exception as error:
            if isinstance(error, UserError):
                message = str(error)
            else:
                traceback.print_exc()
                message = f"{type(error).__name__}: {error}".partition("\n")[0]
            record = fail(target, job, Failure(reason="error", step=0, message=message))
        finally:
            signal.signal(signal.SIGTERM, before)
        _tell_if_kept(record, target)
        return record


def leased(spec: RunSpec) -> tuple[str, str]:
    """Return the names of the leases under which a run is worked on: its training's and its evaluation's."""
    return spec.training.train_id, spec.evaluation_id


def answered(target: Store, job: Job) -> Record | None:
    """Return the record of a run that is there already, because another process made it; None if it has to be made."""
    spec = job.spec
    if spec.evaluation_id not in target.evaluations or spec.training.train_id not in target.trainings:
        return None
    with contextlib.suppress(UserError):
        target.note(spec.evaluation_id)
        record = target.record(spec.run_id)
        if answers(target, record, job):
            return record
    return None


def _tell_if_kept(record: Record, target: Store) -> None:
    """Say why an attempt failed where its record cannot: the store keeps the finished run of before."""
    if record.failure and target.record(record.run_id).status == "finished":
        print(f"{record.spec.label} seed {record.spec.seed}: {record.failure.message}", file=sys.stderr)


def run_one(job: Job, tell: Any = lambda *a, **k: None) -> Record:
    """Train, evaluate, measure and store one run in this process, as far as the store lacks it.

    A training that diverges is recorded as a failed run (`fail`). The caller holds the run's leases.
    """
    spec = job.spec
    device.prepare(job.device)
    job = dataclasses.replace(job, provenance=device.describe(job.device, job.provenance))
    target = Store(job.root)
    code = scope(spec.training)
    made = made_by(code, job.device, job.provenance)
    checkpoint = Checkpoint(target, spec.training.train_id, made, job.save_every)
    checkpoint.listen()

    def go_on(phase: str, done: int, total: int, **figures: float) -> None:
        tell(phase, done, total, **figures)
        if checkpoint.stopping():
            raise Stopped

    clocks = Clocks(lambda: device.wait(job.device))
    with clocks.phase("data"):
        dataset = load_data(job.source)
    job = dataclasses.replace(job, provenance=env.reading(job.provenance, dataset.hash_kind))
    if (dataset.train_sha256, dataset.whole_sha256) != (spec.training.data.sha256, spec.protocol.test.sha256):
        raise UserError(f"the data at {job.source.source} changed while the grid was running: run it again")

    looked: Looked
    held_back = False
    files: dict[str, bytes] = {}
    if training := current(target, job):
        # Its method was named in this call's spec.
        weights = target.training_file(training.train_id, WEIGHTS)
        looked = restored(training, weights, trust_plugins=True, device=job.device)
    else:
        try:
            # A daemon may start no processes.
            readers = 0 if multiprocessing.current_process().daemon else job.readers
            task = group.Task(spec.training, job.source, job.device, readers)
            with group.led(job.processes, task, dataset) as together:
                looked, training, files = trained(
                    spec.training,
                    dataset,
                    checkpoint,
                    job.provenance,
                    code,
                    device=job.device,
                    data_seconds=clocks.seconds()["data"],
                    readers=readers,
                    tell=tell,
                    go_on=go_on,
                    group=together,
                )
        except Diverged as error:
            checkpoint.remove()
            return fail(target, job, Failure(reason="diverged", step=error.step, message=str(error)))
        # At once, so that nothing trains it again. In the place of other weights only with what they are evaluated to: until
        # then the save has them, and the store what was finished before.
        held_back = _other_weights(target, training)
        if not held_back:
            tell("storing", 0, 1)
            target.trainings.write(training.train_id, training, files)
            checkpoint.remove()

    before = known(target, spec)
    if job.fresh and before and not _later(before, job):
        before = known_of.without_stale(before, spec.protocol, spec.metrics, fresh=True)
    cells = job.cells
    # A folder of the store, which other machines need not see.
    cache = "" if cells.folder is None or launched.world() > 1 else str(cells.folder)
    shown = group.Task(
        spec.training, job.source, job.device, engine=job.engine, cache=cache, shown=spec.protocol.test.sha256
    )
    found = evaluation.evaluate(
        dataclasses.replace(looked, engine=job.engine),
        dataset,
        spec.protocol,
        spec.metrics,
        job.provenance,
        known=before,
        keep_stale=job.stale != "redo",
        device=job.device,
        cells=cells,
        watch=go_on,
        helpers=lambda: group.led(job.processes, shown, dataset),
    )
    tell("storing", 0, 1)
    if held_back:
        target.trainings.write(training.train_id, training, files)
    if before is None or found.evaluation != before.evaluation:
        target.evaluations.write(spec.evaluation_id, found.evaluation, found.files)
    checkpoint.remove()
    return view.joined(found.evaluation, training, spec.run_id)


def _other_weights(store: Store, training: Training) -> bool:
    """Tell whether the store has a training of this id with weights that differ."""
    name = training.train_id
    return name in store.trainings and store.trainings.record(name).weights_sha256 != training.weights_sha256


def _later(known: Known, job: Job) -> bool:
    """Tell whether an evaluation was made after the job was planned: by this attempt, before it was killed."""
    batches = known.evaluation.batches
    return bool(batches) and batches[-1].provenance.created >= job.provenance.created


def answers(store: Store, record: Record, job: Job) -> bool:
    """Tell whether a record of the store is what a job was to make: finished, with every metric that it asks for.

    With `fresh` it must not be from before, and under "redo" nothing of it stale.
    """
    spec, found = job.spec, store.evaluation_of(record.run_id)
    if record.status != "finished" or found is None or current(store, job) is None:
        return False
    late = not job.fresh or record.provenance.created >= job.provenance.created
    redone = job.stale != "redo" or not known_of.stale_parts(found, spec.protocol, spec.metrics)
    return late and redone and known_of.answered(found, spec.protocol, spec.metrics)


def fail(store: Store, job: Job, failure: Failure) -> Record:
    """Record that an attempt at a run failed, unless the run is finished already; return what the attempt came to.

    A failure never replaces a finished run. One that answers the job (this attempt's own, of a process killed after it had
    stored, or another process's) is returned. One that does not (made before a `fresh` attempt, stale, or without a metric
    that is asked for) stays as it is, and the failure is returned but not stored. The caller holds the run's leases.
    """
    spec = job.spec
    try:
        if spec.evaluation_id not in store.evaluations:
            raise UserError("there is none yet")  # without a look at all others
        store.note(spec.evaluation_id)
        stored = store.record(spec.run_id)
        if stored.status == "finished":
            if not answers(store, stored, job):
                return failed(job, failure)
            # Killed after it had stored the run, a process has not removed its save.
            store.unfinished(spec.training.train_id).unlink(missing_ok=True)
            return stored
    except UserError:
        pass  # there is none yet, or a damaged one
    try:
        before = known(store, spec)
    except Damaged:
        # What other runs it holds may still be read by hand.
        store.set_aside(store.evaluations.root / spec.evaluation_id)
        before = None
    nothing = known_of.empty(spec.subject, spec.training, spec.protocol)
    record = failed(job, failure)
    asked = Asked(
        protocol=spec.protocol,
        metrics=spec.metrics,
        created=record.provenance.created,
        failure=record.failure,
        provenance=record.provenance,
    )
    after = known_of.with_failure(before.evaluation if before else None, nothing, asked)
    store.evaluations.write(spec.evaluation_id, after, before.files if before else {})
    return record


def failed(job: Job, failure: Failure) -> Record:
    """Return the record of a run that did not finish; whose machine it was on is cut out of the message."""
    message = failure.message
    places = [os.path.expanduser(job.source.source), str(job.root), str(job.root.resolve()), os.path.expanduser("~")]
    for place in places:
        if Path(place).is_absolute() and len(Path(place).parts) > 1:
            message = message.replace(place, f".../{Path(place).name}")
    failure = failure.model_copy(update={"message": env.pathless(message)})
    return Record(run_id=job.spec.run_id, status="failed", spec=job.spec, failure=failure, provenance=job.provenance)
