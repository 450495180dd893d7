"""Runs a grid: plans its cells, takes over runs of older schemas, has what is missing done, and sees what each run came to.

What a process does with its cell is in worker.py; who starts the processes, in executors/.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from lcrbench import corruptions, registry
from lcrbench.bench import dispatch, finished
from lcrbench.bench.data import loading
from lcrbench.bench.data.about import passed_over
from lcrbench.bench.data.arrays import Dataset
from lcrbench.bench.data.subset import load_data
from lcrbench.bench.evaluation.cells import Cells
from lcrbench.bench.evaluation.engine import Choice
from lcrbench.bench.evaluation.takeover import take_over
from lcrbench.bench.executors import Resources
from lcrbench.bench.job import Job, Stale
from lcrbench.bench.lipschitz.options import Options
from lcrbench.bench.planning import Lacking, lacking, outside, plan
from lcrbench.bench.progress import Progress, Work
from lcrbench.bench.records import env, source
from lcrbench.bench.records.grid import Grid
from lcrbench.bench.records.lease import Held
from lcrbench.bench.records.leftovers import sweep
from lcrbench.bench.records.spec import RunSpec
from lcrbench.bench.records.store import Damaged, Store
from lcrbench.bench.training.checkpoint import unseal
from lcrbench.bench.training.run import priced
from lcrbench.errors import UserError
from lcrbench.testing import raised


class Kept(UserError):
    """Finished runs were to be made again, and that failed: the store keeps them as they were."""


class Left(UserError):
    """Other processes work on what is left of a grid, and this command is not to wait for them."""


def planned(
    grid: Grid,
    root: Path,
    *,
    device: str = "cpu",
    command: str = "",
    fresh: bool = False,
    stale: Stale = "refuse",
    save_every: float = 60.0,
    readers: int = 0,
    processes: int = 1,
    engine: Choice = "auto",
) -> tuple[list[Job], Dataset]:
    """Return the jobs of a grid, finished ones included, and the data set; raises `UserError` as `plan` does."""
    try:
        dataset = load_data(grid.data)
        specs = plan(grid, dataset)
    except UserError:
        raise
    except (Exception, SystemExit) as error:  # code of somebody else may raise anything
        if not (named := outside(grid)):
            raise
        who = " or ".join(f"the {kind} '{name}'" for kind, name in named)
        raise UserError(f"{raised(error)}, raised by {who}: check with `lcrbench conform`") from error
    kinds = corruptions.provenance(grid.data.size, grid.data.size)
    provenance = env.provenance(device, 1, command, kinds, deterministic=True)
    shared = len(specs) > 1
    # What is planned here may be done on a machine with more memory, or with less.
    streams = loading.as_hashed(grid.data.source, dataset.hash_kind)
    data = grid.data.model_copy(update={"stream": streams})
    for s in specs:
        if (slices := s.training.recipe.shards) % processes:
            raise UserError(
                f"{processes} processes cannot share the {slices} slices of a batch of {s.label}: give --procs-per-run a "
                f"divisor of recipe.shards = {slices}, or set that, which changes the result"
            )
    jobs = [Job(s, data, root, device, provenance, fresh, stale, save_every, shared, readers, processes) for s in specs]
    return [replace(job, engine=engine) for job in jobs], dataset


def run(
    grid: Grid,
    root: Path,
    *,
    workers: int | None,
    device: str,
    command: str,
    fresh: bool = False,
    stale: Stale = "refuse",
    redo: bool = False,
    save_every: float = 60.0,
    quiet: bool = False,
    executor: str = "local",
    need: Resources | None = None,
    wait: bool = True,
    readers: int = 0,
    processes: int = 1,
    engine: Choice = "auto",
) -> list[str]:
    """Do what a store lacks of a grid's runs; return the ids of all of them, in the grid's order.

    What is trained, evaluated or measured already is not repeated (unless `fresh`); a failed run is tried again, an
    unfinished training goes on from its last save, made every `save_every` seconds. Each run has `processes` that compute
    its training, each with `readers` that read streamed images ahead. A run that fails, diverges or is killed is recorded as
    failed with its reason, and the others go on. What a different version of the code made is `stale`:
    refused with a `UserError`, made again ("redo") or left as it is ("keep"). A failure never replaces a finished run: where
    one is made again (`fresh` or stale) and that fails, the older one stays, and `Kept` is raised at the end. What is
    damaged is refused too, or set aside and made again with `redo`.

    `executor` names who starts the runs, with its address after a colon ("ray:10.0.0.1:6379"), `workers` of them at once
    (None: as many as it has room for); `need` is what each needs. Raises `UserError` where no machine has that, before any
    is started.

    Several commands may work on one store: a training, or an evaluation, is leased to the process that works on it. At the
    end each waits for the others, or without `wait` raises `Left`.
    """
    source.look_again()
    jobs, dataset = planned(
        grid,
        root,
        device=device,
        command=command,
        fresh=fresh,
        stale=stale,
        save_every=save_every,
        readers=readers,
        processes=processes,
        engine=engine,
    )
    if dataset.reasons and not quiet:
        print(f"lcrbench: {dataset.name}: {passed_over(dataset.reasons)}", file=sys.stderr)
    target = Store(root, create=True)
    sweep(target)
    _mend(target, jobs, redo)
    for job in jobs:
        take_over(target, job.spec, dataset)
    found = [lacking(target, job, dataset) for job in jobs]
    if stale == "refuse":
        _refuse_stale(target, found)
    todo = [job for job, part in zip(jobs, found, strict=True) if not part.nothing]
    # Where there is one training alone, nothing hangs on what a step costs beside another's.
    several = sum(part.training for part in found) > 1
    packable = engine != "torch" and device == "cpu"
    work = [Work(part.spec) if quiet else _work(part, several, packable=packable) for part in found if not part.nothing]
    ended: list[dispatch.Ended] = []
    try:
        with Progress(work, len(jobs) - len(todo), quiet=quiet) as progress:
            ended = dispatch.work_on(todo, executor, workers, need or Resources(), target, progress, wait=wait)
    finally:
        # Not under those who still read it: a network file system takes the pages away with the file.
        if not target.busy():
            Cells(target.cache()).clear()
    kept = [r for r in ended if r.failure and target.record(r.run_id).status == "finished"]
    if kept:
        first = f"{kept[0].name}: {kept[0].failure.message}" if kept[0].failure else ""
        raise Kept(f"{len(kept)} of {len(jobs)} runs failed when made again; {root} keeps the older ones ({first})")
    if left := len(todo) - len(ended):
        raise Left(
            f"other processes work on the last {left} of {len(jobs)} runs: they write the report, or this command again"
        )
    # Not before: until then the plan is of no use.
    if grid.budget.unit != "compute" and not outside(grid):
        finished.keep(grid, root, [job.spec for job in jobs])
    return [job.spec.run_id for job in jobs]


def _work(part: Lacking, counted: bool, *, packable: bool) -> Work:
    """Return what is to be done for a run, with what foretells how long it takes: a step's price where it is `counted`.

    `packable` tells whether packed bits give the logits of networks that have nothing but signs between their ends.
    """
    spec, passes = part.spec, 0
    for name in part.metrics:
        metric = registry.load("metric", name)
        options = metric.Options(**spec.metrics.get(name, {}))
        # The metrics of one search share it.
        if metric.INFO.searched and isinstance(options, Options):
            passes = max(passes, options.passes)
    price = 1.0
    if part.training and counted:
        # Code of somebody else may raise anything: its training says so, where it is recorded.
        with contextlib.suppress(Exception):
            price = priced(spec.training.label, spec.training).step(0, False, 0.0) / spec.recipe.batch
    method = registry.load("method", spec.training.method.name).Method
    packed = packable and method.weight_bits == method.activation_bits == 1
    return Work(spec, part.training, len(part.cells), price, passes, packed)


def _refuse_stale(target: Store, found: Sequence[Lacking]) -> None:
    """Raise `UserError` if anything that the runs build on was made by a different version of the code."""
    stale = [(f.spec, part, why) for f in found for part, why in f.stale]
    if not stale:
        return
    runs = {spec.run_id for spec, _, _ in stale}
    spec, part, why = stale[0]
    raise UserError(
        f"{len(runs)} of {len(found)} runs in {target.root} were made by a different version of the code "
        f"({spec.label} seed {spec.seed}, {part}: {why}): make what is stale again with --stale redo, or go on with it as "
        "it is with --stale keep"
    )


def _mend(target: Store, jobs: Sequence[Job], redo: bool) -> None:
    """Put back what a killed write left midway, and refuse what is damaged, or with `redo` set it aside."""
    for job in jobs:
        spec = job.spec
        for shelf, name in ((target.trainings, spec.training.train_id), (target.evaluations, spec.evaluation_id)):
            if name not in shelf:
                continue
            if shelf.folder(name).name != name:
                with contextlib.suppress(Held), target.held(name):
                    shelf.restore(name)
            check = partial(_check, target, spec, name)
            try:
                check()
            except Damaged:
                if not redo:
                    raise
                _set_aside(target, shelf.root / name, check)
    if redo:
        for path in sorted(
            [*target.unfinished("").glob("*"), *target.teacher("").glob("*"), *target.trial("").glob("*")]
        ):
            # A draft belongs to a live process or to none: nothing reads it.
            if path.suffix != ".new":
                _set_aside(target, path, partial(unseal, path))
        for name in target.old.searched.ids():
            _set_aside(target, target.old.searched.root / name, partial(target.old.verify_searched, name))
        for name in target.old.shelf.ids():
            _set_aside(target, target.old.shelf.root / name, partial(target.old.verify, name))


def _check(target: Store, spec: RunSpec, name: str) -> None:
    """Raise `Damaged` if a training or an evaluation is not what was written."""
    if name == spec.training.train_id:
        for file in target.trainings.record(name).files:
            target.training_file(name, file)
    else:
        found = target.evaluations.record(name)
        for file in found.files:
            target.evaluation_file(found, file)


def _set_aside(target: Store, path: Path, check: Callable[[], Any]) -> None:
    """Set aside what `check` finds damaged, under its lease; what another process holds is left to it."""
    with contextlib.suppress(Held), target.held(path.name):
        try:
            check()
        except Damaged:
            target.set_aside(path)
