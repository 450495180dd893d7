"""One run, in a process of its own: train what is not trained, evaluate what is not evaluated, store both."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import signal
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from filelock import Timeout

from lcrbench.bench import device, processes
from lcrbench.bench.clock import Clocks
from lcrbench.bench.data.subset import load_data as load_data
from lcrbench.bench.evaluation import known as known_of
from lcrbench.bench.evaluation import run as evaluation
from lcrbench.bench.evaluation.cells import Cells
from lcrbench.bench.evaluation.engine import Choice
from lcrbench.bench.evaluation.known import Known
from lcrbench.bench.evaluation.networks import restored
from lcrbench.bench.evaluation.run import Looked
from lcrbench.bench.progress import Event
from lcrbench.bench.records import env, view
from lcrbench.bench.records.grid import Data
from lcrbench.bench.records.record import Asked, Failure, Provenance, Record, Training
from lcrbench.bench.records.source import stale_training
from lcrbench.bench.records.spec import RunSpec
from lcrbench.bench.records.store import WEIGHTS, Damaged, Store
from lcrbench.bench.training import group
from lcrbench.bench.training.checkpoint import Checkpoint
from lcrbench.bench.training.loop import Diverged, Stopped
from lcrbench.bench.training.run import made_by, scope, trained
from lcrbench.errors import UserError

Stale = Literal["refuse", "redo", "keep"]
BUSY, STOPPED, UNWRITABLE = 75, 76, 74


@dataclass(frozen=True)
class Job:
    """One cell of a grid as its process receives it: what to run, where the data lies, and what its records say of it.

    With `fresh` what is finished is made again, unless it was made after the job was planned. `shared` tells that other
    networks are shown the same cells. `processes` compute the training, each with `readers` that read streamed images ahead.
    """

    spec: RunSpec
    source: Data
    root: Path
    device: str
    provenance: Provenance
    fresh: bool = False
    stale: Stale = "refuse"
    save_every: float = 60.0
    shared: bool = False
    readers: int = 0
    processes: int = 1
    engine: Choice = "auto"

    @property
    def cells(self) -> Cells:
        """Return where corrupted images are kept."""
        return Cells(Store(self.root).cache() if self.shared else None)


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


def work(job: Job, events: Any) -> None:
    """Run one job in its own process, and end with the exit code 0, BUSY, STOPPED or UNWRITABLE.

    The parent handles Ctrl-C, and asks by SIGTERM for a save and an end.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Until the training listens there is nothing to save. (The server that forked this process ignores it.)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    processes.watch_parent()

    def tell(phase: str, done: int, total: int, **figures: float) -> None:
        # If nobody listens any more, the run still goes on to its record.
        with contextlib.suppress(OSError):
            events.send(Event(job.spec.run_id, phase, done, total, figures))

    try:
        attempt(job, tell)
    except Stopped:
        sys.exit(STOPPED)
    except Timeout:
        sys.exit(BUSY)
    except UserError:
        # A store that takes no lock or no record: the parent, which can tell somebody, will find so too.
        sys.exit(UNWRITABLE)


def attempt(job: Job, tell: Any = lambda *a, **k: None) -> Record:
    """Do one job in this process, under its locks, and return what it came to; what its code raises is a failed run.

    It is called in the main thread, and handles SIGTERM as long as it lasts. Raises `Stopped` where SIGTERM asked it to save
    and end, `Timeout` where another process works on the run, and `UserError` where the store takes no lock or no record.
    """
    target, before = Store(job.root), signal.getsignal(signal.SIGTERM) or signal.SIG_DFL
    with target.held(*locks(job.spec)):
        try:
            record = run_one(job, tell)
        except Stopped:
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


def locks(spec: RunSpec) -> tuple[str, str]:
    """Return the names of the locks that whoever works on a run holds: its training's and its evaluation's."""
    return spec.training.train_id, spec.evaluation_id


def _tell_if_kept(record: Record, target: Store) -> None:
    """Say why an attempt failed where its record cannot: the store keeps the finished run of before."""
    if record.failure and target.record(record.run_id).status == "finished":
        print(f"{record.spec.label} seed {record.spec.seed}: {record.failure.message}", file=sys.stderr)


def run_one(job: Job, tell: Any = lambda *a, **k: None) -> Record:
    """Train, evaluate, measure and store one run in this process, as far as the store lacks it.

    A training that diverges is recorded as a failed run (`fail`). Whoever calls this holds the run's locks.
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
    found = evaluation.evaluate(
        dataclasses.replace(looked, engine=job.engine),
        dataset,
        spec.protocol,
        spec.metrics,
        job.provenance,
        known=before,
        keep_stale=job.stale != "redo",
        device=job.device,
        cells=job.cells,
        watch=go_on,
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
    that is asked for) stays as it is, and the failure is returned but not stored. Whoever calls this holds the run's locks.
    """
    spec = job.spec
    try:
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
