"""One run, in a process of its own: train, evaluate, measure, store."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import safetensors.torch
import torch
from filelock import Timeout

from lcrbench import registry
from lcrbench.bench import data, device
from lcrbench.bench.clock import Clocks
from lcrbench.bench.evaluation import inference as evaluate
from lcrbench.bench.evaluation.describe import describe
from lcrbench.bench.progress import Event
from lcrbench.bench.records import budget as budgets
from lcrbench.bench.records import env, store
from lcrbench.bench.records.budget import Budget, Recipe
from lcrbench.bench.records.record import Failure, Ledger, Phase, Provenance, Record, Seconds, Stage
from lcrbench.bench.records.spec import Data, RunSpec
from lcrbench.bench.records.store import Damaged, Store
from lcrbench.bench.seeds import derive
from lcrbench.bench.training import teacher
from lcrbench.bench.training.checkpoint import Checkpoint
from lcrbench.bench.training.loop import Diverged, Stopped, train
from lcrbench.bench.training.spent import relative_cost
from lcrbench.errors import UserError
from lcrbench.models import network as networks
from lcrbench.models import packed, parse

BUSY, STOPPED, UNWRITABLE = 75, 76, 74
# Beside the other files of a run with binary layers: one bit a weight, scales, and all else that inference needs.
PACKED = "packed.safetensors"


@dataclass(frozen=True)
class Job:
    """One cell of a grid as its process receives it: what to run, where the data lies, and what the record says of it."""

    spec: RunSpec
    source: Data
    root: Path
    device: str
    provenance: Provenance
    fresh: bool = False
    save_every: float = 60.0


def load_data(choice: Data) -> data.Dataset:
    """Load the data set that a spec or grid names, cut down to the size it asks for."""
    dataset = data.load(choice.source, size=choice.size)
    if choice.train or choice.test:
        dataset = data.take(dataset, choice.train, choice.test, seed=0)
    return dataset


def finished(store: Store, job: Job) -> bool:
    """Tell whether a run is in the store already, finished, and made by the present source."""
    if job.spec.run_id not in store.ids():
        return False
    record = store.record(job.spec.run_id)
    return record.status == "finished" and record.provenance.source == job.provenance.source


def answers(record: Record, job: Job) -> bool:
    """Tell whether a record is what a job was to make: finished, by the present source, and with `fresh` not from before."""
    made = record.provenance
    late = not job.fresh or made.created >= job.provenance.created
    return record.status == "finished" and made.source == job.provenance.source and late


def fail(store: Store, job: Job, failure: Failure) -> Record:
    """Record that an attempt at a run failed, unless the run is finished already; return what the attempt came to.

    A failure never replaces a finished run. One that answers the job (this attempt's own, of a process killed after it had
    stored, or another process's) is returned. One that does not (made before a `fresh` attempt, or by other source) stays
    as it is, and the failure is returned but not stored. Whoever calls this holds the run's lock.
    """
    try:
        stored = store.record(job.spec.run_id)
    except Damaged:
        # Also where there is none.
        return store.write(failed(job, failure), {})
    if stored.status == "failed":
        return store.write(failed(job, failure), {})
    if not answers(stored, job):
        return failed(job, failure)
    # Killed after it had stored the run, a process has not forgotten its save.
    store.unfinished(job.spec.run_id).unlink(missing_ok=True)
    return stored


def failed(job: Job, failure: Failure) -> Record:
    """Return the record of a run that did not finish; whose machine it was on is cut out of the message."""
    message = failure.message
    places = [os.path.expanduser(job.source.source), str(job.root), str(job.root.resolve()), os.path.expanduser("~")]
    for place in places:
        if Path(place).is_absolute() and len(Path(place).parts) > 1:
            message = message.replace(place, f".../{Path(place).name}")
    failure = failure.model_copy(update={"message": env.pathless(message)})
    return Record(run_id=job.spec.run_id, status="failed", spec=job.spec, failure=failure, provenance=job.provenance)


def work(job: Job, events: Any) -> None:
    """Run one job in its own process, and end with the exit code 0, BUSY, STOPPED or UNWRITABLE.

    The parent handles Ctrl-C, and asks by SIGTERM for a save and an end.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Until the training listens there is nothing to save. (The server that forked this process ignores it.)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    target = Store(job.root)
    try:
        lock = target.lock(job.spec.run_id)
        lock.acquire(timeout=0)
    except Timeout:
        sys.exit(BUSY)
    except UserError:
        sys.exit(UNWRITABLE)

    def tell(phase: str, done: int, total: int, **figures: float) -> None:
        # If nobody listens any more, the run still goes on to its record.
        with contextlib.suppress(OSError):
            events.send(Event(job.spec.run_id, phase, done, total, figures))

    try:
        if not job.fresh and finished(target, job):
            target.unfinished(job.spec.run_id).unlink(missing_ok=True)
            return
        _tell_if_kept(run_one(job, tell), target)
    except Stopped:
        sys.exit(STOPPED)
    except Exception as error:
        if isinstance(error, UserError):
            message = str(error)
        else:
            traceback.print_exc()
            message = f"{type(error).__name__}: {error}".partition("\n")[0]
        try:
            _tell_if_kept(fail(target, job, Failure(reason="error", step=0, message=message)), target)
        except UserError:
            # A store that takes no record: the parent, which can tell somebody, will find so too.
            sys.exit(UNWRITABLE)
    finally:
        lock.release()


def _tell_if_kept(record: Record, target: Store) -> None:
    """Say why an attempt failed where its record cannot: the store keeps the finished run of before."""
    if record.failure and target.record(record.run_id).status == "finished":
        print(f"{record.spec.label} seed {record.spec.seed}: {record.failure.message}", file=sys.stderr)


def stages_of(method: Any) -> tuple[str, ...]:
    """Return the names of the stages of a method's training; none for a training in one."""
    return tuple(method.stages)


def allot(
    budget: Budget, recipe: Recipe, n_train: int, choice: networks.Choice, terms: dict[str, Any]
) -> tuple[Budget, Budget]:
    """Return what each teacher's training may spend, and the network's own; raises `ValueError` if it is too little."""
    teachers = teacher.needed(choice.regularizers.values())
    stages = max(1, len(stages_of(choice.method)))
    return budgets.allot(
        budget, recipe, n_train, cost=relative_cost(terms.values()), teachers=len(teachers), stages=stages
    )


def budget_class(stages: Sequence[str], teachers: Sequence[str]) -> str:
    """Return what the budget of a run went to, in words: the class within which equal budgets are equal in kind."""
    own = f"{len(stages)} stages ({', then '.join(stages)})" if stages else "one training"
    return f"{own}, taught by {' and '.join(teachers)}" if teachers else own


def run_one(job: Job, tell: Any = lambda *a, **k: None) -> Record:
    """Train, evaluate, measure and store one run in this process; a diverged training is recorded as failed (`fail`)."""
    spec, clocks = job.spec, Clocks(lambda: device.wait(job.device))
    device.prepare(job.device)
    job = dataclasses.replace(job, provenance=device.describe(job.device, job.provenance))
    target = Store(job.root)
    # Begun on one kind of device and ended on another, a run would repeat on neither.
    made_by = job.provenance.source + ("" if job.device == "cpu" else f" on {job.provenance.device_name}")
    checkpoint = Checkpoint(target, spec.run_id, made_by, job.save_every)
    checkpoint.listen()

    def go_on(phase: str, done: int, total: int, **figures: float) -> None:
        tell(phase, done, total, **figures)
        if checkpoint.stopping():
            raise Stopped

    with clocks.phase("data"):
        dataset = load_data(job.source)
    if dataset.sha256 != spec.data.sha256:
        raise UserError(f"the data at {job.source.source} changed while the grid was running: run it again")

    choice = networks.choose(choice_text(spec))

    def weights_generator(name: str) -> torch.Generator:
        return torch.Generator().manual_seed(derive(spec.seed, "initial weights", name))

    mean, std = dataset.mean.tolist(), dataset.std.tolist()
    network = networks.build(
        choice, spec.backbone, len(dataset.classes), spec.data.size, mean, std, weights_generator
    ).to(memory_format=torch.channels_last)
    initial = networks.weights_hash(network)

    terms = {name: r.attach(network) for name, r in choice.regularizers.items()}
    for term in terms.values():
        term.detach()
    allotted = allot(spec.budget, spec.recipe, spec.data.train, choice, terms)
    stages = stages_of(choice.method)
    macs = networks.cost(network, spec.data.size).macs
    seconds: dict[Phase, Seconds] = {}
    teachers, learned, compute = {}, [], 0.0
    try:
        for text in teacher.needed(choice.regularizers.values()):
            teachers[text], one, took = teacher.taught(
                text,
                spec,
                allotted[0],
                dataset,
                checkpoint,
                job.device,
                # While another process trains it, nothing here saves itself and stops.
                lambda done, total, figures: (tell if total else go_on)("teacher", done, total, **figures),
            )
            learned.append(one)
            compute += one.images * networks.cost(teachers[text], spec.data.size).macs / macs
            before = seconds.get("teacher", Seconds(cpu=0.0, wall=0.0))
            seconds["teacher"] = Seconds(cpu=before.cpu + took.cpu, wall=before.wall + took.wall)
        spent = train(
            network,
            dataset.train,
            allotted[1],
            spec.recipe,
            derive(spec.seed, "training"),
            on_progress=choice.method.on_progress,
            stages=max(1, len(stages)),
            on_stage=choice.method.on_stage,
            regularizers=teacher.guide(choice.regularizers, teachers),
            device=job.device,
            watch=lambda row, done: tell(
                "training", int(row["step"]), round(row["step"] / done), loss=row["loss"], accuracy=row["accuracy"]
            ),
            checkpoint=checkpoint,
        )
        seconds["training"] = Seconds(cpu=round(spent.cpu, 3), wall=round(spent.wall, 3))
    except Diverged as error:
        failure = Failure(reason="diverged", step=error.step, message=str(error))
        checkpoint.remove()
        return fail(target, job, failure)

    for one in learned:
        spent.forward[f"training {one.method} as a teacher"] = one.images
        spent.backward[f"training {one.method} as a teacher"] = one.images
        if one.validation:
            spent.forward["validation"] = spent.forward.get("validation", 0) + one.validation
    with clocks.phase("evaluation"):
        model = describe(network, choice.method, spec, dataset.test)

    outcomes = evaluate.outcomes(
        network, dataset, spec, clocks, job.device, lambda done, total: go_on("evaluation", done, total)
    )
    subject = evaluate.Subject(network, dataset.test, outcomes, spec, job.device)
    forward = {"evaluation": len(outcomes) * len(dataset.test.labels)}
    measurements, infos = [], {}
    for name, options in spec.metrics.items():
        metric = registry.load("metric", name)
        go_on(name, 0, 1)
        earlier = subject.passes
        with clocks.phase(metric.PHASE):
            measurements += list(metric.measure(subject, metric.Options(**options)))
        forward[metric.PHASE] = forward.get(metric.PHASE, 0) + subject.passes - earlier
        infos[name] = metric.INFO

    record = Record(
        run_id=spec.run_id,
        status="finished",
        spec=spec,
        model=model,
        ledger=Ledger(
            images=spent.images,
            steps=spent.steps,
            unit=spec.budget.unit,
            budget_class=budget_class(stages, [one.method for one in learned]),
            stages=tuple(
                Stage(name=name, images=n * spec.recipe.batch, steps=n)
                for name, n in zip(stages, spent.stages, strict=True)
            )
            if stages
            else (),
            teachers=tuple(learned),
            compute=round(spent.compute + compute, 6),
            forward=spent.forward,
            backward=spent.backward,
            evaluation_forward=forward,
            data_order_sha256=spent.data_order.hexdigest(),
            augmentation_sha256=spent.augmentation.hexdigest(),
            initial_weights_sha256=initial,
            selection=spec.recipe.selection,
            seconds=clocks.seconds() | seconds,
            clock=device.clock_of(job.device) if spec.budget.unit == "seconds" else "",
        ),
        metrics=infos,
        left_out=subject.left_out,
        measurements=tuple(measurements),
        provenance=job.provenance,
    )
    files: dict[str, bytes] = {}
    if model.binary_layers:
        files[PACKED] = safetensors.torch.save(packed.export(network))
    if subject.by_image:
        files[store.BY_IMAGE] = store.pack(subject.by_image)
    weights = {k: v.detach().cpu().contiguous() for k, v in network.state_dict().items()}
    log = pd.DataFrame(spent.log).to_json(orient="records", lines=True, double_precision=15)
    tell("storing", 0, 1)
    record = target.write(
        record,
        {
            store.OUTCOMES: store.pack_outcomes(outcomes),
            store.LOG: log.encode(),
            store.WEIGHTS: safetensors.torch.save(weights),
            **files,
        },
    )
    checkpoint.remove()
    return record


def choice_text(spec: RunSpec) -> str:
    """Return a spec's method as the text that `choose` reads, every option written out."""
    parts = [parse.Part(spec.method.name, spec.method.options)]
    return parse.write([*parts, *(parse.Part(*regularizer) for regularizer in spec.method.regularizers.items())])
