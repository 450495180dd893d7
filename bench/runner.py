"""Runs a grid: plans its cells, keeps one-thread processes busy with them, and sees that each leaves a record.

What a process does with its cell is in worker.py.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import queue
import signal
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from lcrbench import corruptions, registry
from lcrbench.bench import env, worker
from lcrbench.bench.data import Dataset
from lcrbench.bench.progress import Progress
from lcrbench.bench.schema import Failure, Record
from lcrbench.bench.spec import DataId, Grid, MethodId, Options, RunSpec
from lcrbench.bench.store import Store
from lcrbench.bench.worker import Job
from lcrbench.errors import UserError, unknown
from lcrbench.models import network

# One thread a process: two processes of one thread do twice the work of one process of two.
ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


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
    chosen = {}
    for text in grid.methods:
        choice = network.choose(text)
        if choice.label in chosen:
            raise UserError(f"the method '{choice.label}' is named twice")
        chosen[choice.label] = choice
        try:
            body = registry.load("backbone", grid.backbone).build(choice.method, len(dataset.classes), grid.data.size)
            for regularizer in choice.regularizers.values():
                regularizer.attach(body).detach()
        except ValueError as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"'{text}' does not fit the backbone '{grid.backbone}': {error}") from error
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
            evaluation=evaluation,
            metrics=metrics,
        )
        for seed in grid.seeds
        for label, choice in chosen.items()
    ]


def run(
    grid: Grid, root: Path, *, workers: int, device: str, command: str, fresh: bool = False, quiet: bool = False
) -> list[str]:
    """Run every cell of a grid that is not finished yet; return the ids of all its runs, in the grid's order.

    A finished run is skipped (unless `fresh`), a failed one is tried again. A cell that fails, diverges or is killed is
    recorded as failed with its reason, and the others go on.
    """
    dataset = worker.load_data(grid.data)
    specs = plan(grid, dataset)
    target = Store(root, create=True)
    kinds = corruptions.provenance(grid.data.size, grid.data.size)
    provenance = env.provenance(device, 1, command, kinds, deterministic=True)
    done = set() if fresh else {i for i in target.ids() if target.record(i).status == "finished"}
    jobs = [Job(s, grid.data, root, device, provenance) for s in specs if s.run_id not in done]
    with Progress(len(specs), len(specs) - len(jobs), quiet=quiet) as progress:
        _schedule(jobs, max(1, workers), target, progress)
    return [s.run_id for s in specs]


def _schedule(jobs: Sequence[Job], workers: int, target: Store, progress: Progress) -> None:
    """Keep `workers` processes busy until every job has a record. Ctrl-C ends them all; what is stored stays."""
    # A process forked from a server that has imported torch already starts at once; Windows has none.
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context: Any = multiprocessing.get_context(method)
    if method == "forkserver":
        context.set_forkserver_preload(["lcrbench.bench.worker"])
    os.environ |= dict.fromkeys(ONE_THREAD, "1")
    events: Any = context.Queue()
    waiting = list(jobs)[::-1]
    running: dict[str, tuple[BaseProcess, Job]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                job = waiting.pop()
                process = context.Process(target=worker.work, args=(job, events), daemon=True)
                process.start()
                running[job.spec.run_id] = (process, job)
                progress.start(job.spec)
            try:
                progress.update(events.get(timeout=0.1))
                continue  # drain the queue before looking at the processes
            except queue.Empty:
                pass
            for run_id, (process, job) in list(running.items()):
                if process.is_alive():
                    continue
                process.join()
                del running[run_id]
                record = _record_of(target, job, process.exitcode)
                progress.finish(record)
    finally:
        for process, _ in running.values():
            process.terminate()
        for process, _ in running.values():
            process.join()


def _record_of(target: Store, job: Job, exitcode: int | None) -> Record:
    """Return the record that a process left, or store one that says why it left none."""
    if exitcode == 0:
        return target.record(job.spec.run_id)
    if exitcode is not None and exitcode < 0:
        message = f"the process was killed by {signal.Signals(-exitcode).name} (out of memory?): run again to redo it"
    else:
        message = f"the process ended with exit code {exitcode}: its error stands above"
    return target.write(worker.failed(job, Failure(reason="killed", step=0, message=message)), {})


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
    known = [f.name for f in dataclasses.fields(metric.Options)]
    for key in given:
        if key not in known:
            raise unknown(f"option of {name}", key, known)
    try:
        return dataclasses.asdict(metric.Options(**given))
    except (TypeError, ValueError) as error:
        raise UserError(f"metric {name}: {error}") from error
