"""Runs a grid: plans its cells, keeps one-thread processes busy with them, and sees that each leaves a record.

What a process does with its cell is in worker.py.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Literal, NamedTuple

from filelock import Timeout

from lcrbench import corruptions, registry
from lcrbench.bench import worker
from lcrbench.bench.data import Dataset
from lcrbench.bench.progress import Progress
from lcrbench.bench.records import env
from lcrbench.bench.records.budget import AMOUNT
from lcrbench.bench.records.record import Failure, Record
from lcrbench.bench.records.spec import DataId, Grid, MethodId, Option, Options, RunSpec
from lcrbench.bench.records.store import Damaged, Store
from lcrbench.bench.training import parts
from lcrbench.bench.training.checkpoint import unseal
from lcrbench.bench.training.stream import held_out
from lcrbench.bench.worker import Job
from lcrbench.errors import UserError, unknown
from lcrbench.models import network

Stale = Literal["refuse", "redo", "keep"]

# One thread a process: two processes of one thread do twice the work of one process of two.
ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


class Kept(UserError):
    """Finished runs were to be made again, and that failed: the store keeps them as they were."""


def plan(grid: Grid, dataset: Dataset) -> list[RunSpec]:
    """Return the specs of a grid's runs, seeds outermost, every option written out.

    Raises `UserError` for any name, option or combination that does not exist or fit, before anything is trained.
    """
    identity = DataId(
        name=dataset.name,
        sha256=dataset.sha256,
        size=grid.data.size,
        classes=dataset.classes,
        train=len(dataset.train.labels),
        test=len(dataset.test.labels),
    )
    evaluation = grid.evaluation.model_copy(update={"corruptions": _expand(grid.evaluation.corruptions)})
    metrics = {name: _metric_options(name, given) for name, given in grid.metrics.items()}
    recipe = parts.settled(grid.recipe)
    held_out(dataset.train.labels, recipe.validation)
    chosen = {}
    for text in grid.methods:
        choice = network.choose(text)
        if choice.label in chosen:
            raise UserError(f"the method '{choice.label}' is named twice")
        chosen[choice.label] = choice
        made = network.body(choice, grid.backbone, len(dataset.classes), grid.data.size)
        try:
            terms = {name: regularizer.attach(made) for name, regularizer in choice.regularizers.items()}
        except ValueError as error:
            raise UserError(f"'{text}' does not fit the backbone '{grid.backbone}': {error}") from error
        for term in terms.values():
            term.detach()
        if sum(term.replaces for term in terms.values()) > 1:
            raise UserError(f"'{text}' takes more than the whole of the cross-entropy away: lower a weight")
        try:
            worker.allot(grid.budget, recipe, identity.train, choice, terms)
        except ValueError as error:
            raise UserError(f"budget.{AMOUNT[grid.budget.unit]}: '{text}' does not fit: {error}") from error
    if len(set(grid.seeds)) != len(grid.seeds):
        raise UserError(f"a seed is named twice: {', '.join(map(str, grid.seeds))}")
    return [
        RunSpec(
            data=identity,
            backbone=grid.backbone,
            method=MethodId(
                name=choice.name,
                options=dataclasses.asdict(choice.method),
                regularizers={k: dataclasses.asdict(r) for k, r in choice.regularizers.items()},
            ),
            label=label,
            seed=seed,
            budget=grid.budget,
            recipe=recipe,
            evaluation=evaluation,
            metrics=metrics,
        )
        for seed in grid.seeds
        for label, choice in chosen.items()
    ]


def run(
    grid: Grid,
    root: Path,
    *,
    workers: int,
    device: str,
    command: str,
    fresh: bool = False,
    stale: Stale = "refuse",
    redo: bool = False,
    save_every: float = 60.0,
    quiet: bool = False,
) -> list[str]:
    """Run every cell of a grid that is not finished yet; return the ids of all its runs, in the grid's order.

    A finished run is skipped (unless `fresh`), a failed one is tried again, an unfinished one goes on from its last save,
    made every `save_every` seconds. A cell that fails, diverges or is killed is recorded as failed with its reason, and the
    others go on. Runs that other source made are `stale`: refused with a `UserError`, run again ("redo") or left as they are
    ("keep"). A failure never replaces a finished run: where one is made again (`fresh` or stale) and that fails, the older
    one stays, and `Kept` is raised at the end. Damaged ones are refused too, or set aside and run again with `redo`.

    Several processes may work on one store: a run is locked by the process that works on it, and never trained twice.
    """
    dataset = worker.load_data(grid.data)
    specs = plan(grid, dataset)
    target = Store(root, create=True)
    kinds = corruptions.provenance(grid.data.size, grid.data.size)
    provenance = env.provenance(device, 1, command, kinds, deterministic=True)
    done = set() if fresh else _finished(target, [s.run_id for s in specs], provenance.source, stale, redo)
    jobs = [Job(s, grid.data, root, device, provenance, fresh, save_every) for s in specs if s.run_id not in done]
    with Progress([j.spec for j in jobs], len(specs) - len(jobs), quiet=quiet) as progress:
        ended = _schedule(jobs, max(1, workers), target, progress)
    if kept := [r for r in ended if r.failure and target.record(r.run_id).status == "finished"]:
        first = f"{kept[0].spec.label} seed {kept[0].spec.seed}: {kept[0].failure.message}" if kept[0].failure else ""
        raise Kept(f"{len(kept)} of {len(specs)} runs failed when made again; {root} keeps the older ones ({first})")
    return [s.run_id for s in specs]


def _finished(target: Store, wanted: Sequence[str], source: str, stale: Stale, redo: bool) -> set[str]:
    """Return the runs that need not be run; refuse what is stale or damaged unless told what to do with it."""
    done, old = set(), []
    for run_id in set(target.ids()) & set(wanted):
        if target.folder(run_id).name != run_id:
            with contextlib.suppress(Timeout), _held(target, run_id):
                target.restore(run_id)

    def check(run_id: str) -> Record:
        record = target.record(run_id)
        target.verify(run_id)
        return record

    for run_id in set(target.ids()) & set(wanted):
        try:
            record = check(run_id)
        except Damaged:
            if not redo:
                raise
            _set_aside(target, run_id, partial(check, run_id))
            continue
        if record.status == "finished":
            done.add(run_id)
            if record.provenance.source != source:
                old.append(run_id)
    if redo:
        for path in sorted([*target.unfinished("").glob("*"), *target.teacher("").glob("*")]):
            # A draft is a live process's, or nobody's: nothing reads it.
            if path.suffix != ".new":
                _set_aside(target, path.name, partial(unseal, path))
    if old and stale == "refuse":
        raise UserError(
            f"{len(old)} finished runs in {target.root} were made by other source than the present one: run them again with"
            " --stale redo, or report them as they are with --stale keep"
        )
    return done - set(old) if stale == "redo" else done


def _set_aside(target: Store, name: str, check: Callable[[], Any]) -> None:
    """Set aside what `check` finds damaged, under its lock; what another process holds, that process sees to."""
    with contextlib.suppress(Timeout), _held(target, name):
        try:
            check()
        except Damaged:
            target.set_aside(name)


@contextlib.contextmanager
def _held(target: Store, name: str) -> Iterator[None]:
    """Hold a lock that is free; raises `Timeout` at once if another process holds it."""
    lock = target.lock(name)
    lock.acquire(timeout=0)
    try:
        yield
    finally:
        lock.release()


class _Cell(NamedTuple):
    process: BaseProcess
    job: Job
    events: Connection


def _schedule(jobs: Sequence[Job], workers: int, target: Store, progress: Progress) -> list[Record]:
    """Keep `workers` processes busy until every job has ended; return what each came to, in the order they ended.

    Ctrl-C (or SIGTERM) asks them all to save and end, a second one ends them at once; what is stored stays.
    """
    context = _process_context()
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
                cell.process.kill()

    listening = threading.current_thread() is threading.main_thread()
    before = [signal.signal(s, ask) for s in (signal.SIGINT, signal.SIGTERM)] if listening else []
    try:
        while waiting or running:
            while waiting and len(running) < workers and not asked:
                job = waiting.popleft()
                reader, writer = context.Pipe(duplex=False)
                process = context.Process(target=worker.work, args=(job, writer), daemon=True)
                process.start()
                writer.close()
                running[job.spec.run_id] = _Cell(process, job, reader)
                progress.start(job.spec)
            ready = wait([c.events for c in running.values()] + [c.process.sentinel for c in running.values()], 0.5)
            if asked:
                # Who sent the signal may have sent it to all: those that have stopped did not fail.
                raise KeyboardInterrupt
            for run_id, cell in list(running.items()):
                if cell.events in ready:
                    try:
                        progress.update(cell.events.recv())
                        continue
                    except (EOFError, OSError):
                        cell.process.join()
                if cell.process.is_alive():
                    continue
                cell.process.join()
                cell.events.close()
                del running[run_id]
                if cell.process.exitcode == worker.BUSY:
                    # Another process works on it: come back to it, and find its record or its save.
                    progress.wait(cell.job.spec)
                    waiting.append(cell.job)
                    time.sleep(0.5)
                else:
                    ended.append(_record_of(target, cell))
                    progress.finish(ended[-1])
    finally:
        while alive := [cell.process for cell in running.values() if cell.process.is_alive()]:
            for process in alive:
                process.terminate()
            # And again: a process that has just been forked does not hear it yet.
            wait([process.sentinel for process in alive], 2)
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=False):
            signal.signal(number, handler)
    return ended


def _process_context() -> Any:
    """Return how processes are started: forked from a server that has imported torch already (Windows has none)."""
    os.environ |= dict.fromkeys(ONE_THREAD, "1")
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context: Any = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["lcrbench.bench.worker"])
    # The server must outlive Ctrl-C and a SIGTERM to all, as batch systems send it, also while it imports: the parent
    # decides what ends when, and learns from the server how its processes ended.
    ends = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    ours = {number: signal.signal(number, signal.SIG_IGN) for number in ends}
    forkserver.ensure_running()
    for number, handler in ours.items():
        signal.signal(number, handler)
    return context


def _record_of(target: Store, cell: _Cell) -> Record:
    """Return what a process's attempt came to: the record it left, or one that says why it left none (`worker.fail`)."""
    code, job = cell.process.exitcode, cell.job
    if code == 0:
        record = target.record(job.spec.run_id)
        if record.status == "failed" or worker.answers(record, job):
            return record
        return worker.failed(job, Failure(reason="error", step=0, message="its error stands above"))
    if code is not None and code < 0:
        message = f"the process was killed by {signal.Signals(-code).name} (out of memory?): run again to go on"
    elif code == worker.STOPPED:
        message = "the process was asked to stop, and saved: run again to go on"
    elif code == worker.UNWRITABLE:
        message = "the store took no record: make room, and run again to go on"
    else:
        message = f"the process ended with exit code {code}: its error stands above"
    with target.lock(job.spec.run_id):
        return worker.fail(target, job, Failure(reason="killed", step=0, message=message))


def _expand(named: Sequence[str]) -> tuple[str, ...]:
    """Replace groups such as "common" or "noise" by their corruptions; order and first mention are kept."""
    out: dict[str, None] = {}
    for name in named:
        known, groups = corruptions.names("all"), ["common", "all", *corruptions.groups()]
        if name not in known and name not in groups:
            raise unknown("corruption", name, [*known, *groups])
        out |= dict.fromkeys([name] if name in known else corruptions.names(name))
    return tuple(out)


def _metric_options(name: str, given: Options) -> Options:
    metric = registry.load("metric", name)
    defaults: dict[str, Any] = {f.name: f.default for f in dataclasses.fields(metric.Options)}
    for key, value in given.items():
        if key not in defaults:
            raise unknown(f"option of {name}", key, defaults)
        if not _alike(value, defaults[key]):
            raise UserError(f"metrics.{name}.{key}: give a value such as {_shown(defaults[key])}, not {_shown(value)}")
    try:
        return dataclasses.asdict(metric.Options(**given))
    except (TypeError, ValueError) as error:
        raise UserError(f"metrics.{name}: {error}") from error


def _alike(value: Option, default: Option) -> bool:
    """Tell whether an option's value is of its default's kind; a whole number will do for any other."""
    if isinstance(default, tuple):
        return isinstance(value, tuple) and all(_alike(v, default[0] if default else 0.0) for v in value)
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(default, bool) and isinstance(value, bool)
    return default is None or isinstance(value, (int, float) if isinstance(default, float) else type(default))


def _shown(value: Option) -> str:
    return json.dumps(value)
