"""The checks of `lcrbench doctor`: each says what it found, and what to do where something is wrong."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from importlib.metadata import requires
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lcrbench import kernels
from lcrbench.errors import UserError
from lcrbench.versions import installed

if TYPE_CHECKING:
    from lcrbench.bench.networks.foreign import Declared


class Check(NamedTuple):
    """One finding."""

    good: bool
    what: str


def checks(store: str) -> Iterator[Check]:
    """Yield the findings about the environment, the embedded data and the store, each as soon as it is known."""
    from lcrbench.bench.records import env

    yield Check(True, ", ".join(f"{k} {v}" for k, v in env.versions().items()))
    missing, optional = [], []
    for requirement in requires("lcrbench") or []:
        name, _, condition = requirement.partition(";")
        name = name.replace(">", "=").replace("<", "=").partition("=")[0].strip()
        if installed(name) is None:
            extra = condition.partition("extra ==")[2].strip(" \"'")
            if extra:
                optional.append(f"{name} (pip install 'lcrbench[{extra}]')")
            else:
                missing.append(name)
    yield Check(
        not missing, f"missing packages: pip install {' '.join(missing)}" if missing else "all packages are there"
    )
    if optional:
        yield Check(True, f"optional and not installed: {', '.join(optional)}")

    import torch

    yield Check(True, f"devices: cpu{', cuda' if torch.cuda.is_available() else ''}; {torch.get_num_threads()} threads")
    yield _data()
    yield _corruptions()
    yield from _store(store)


def data_checks(source: str, size: int) -> Iterator[Check]:
    """Yield the findings about a data set, a test set or a corruption benchmark, of which every file is read."""
    from lcrbench.bench.data import about

    try:
        yield from (Check(good, what) for good, what in about.checks(source, size))
    except UserError as error:
        yield Check(False, str(error))


def network_checks(
    model: str, declared: Declared, source: str | None, size: int | None, resize: int | None
) -> Iterator[Check]:
    """Yield the findings about a network from outside, on test images of a data set."""
    from lcrbench.bench.networks import checks as of_networks
    from lcrbench.bench.networks import evaluate
    from lcrbench.bench.networks.foreign import wnids_of

    asked = evaluate.Asked(None, {}, source or evaluate.DATA, size=size, resize=resize)
    try:
        found = evaluate.prepare(model, declared, asked)
        yield Check(True, f"{found.ready.foreign.name} takes {found.ready.foreign.how.text}")
        yield from (Check(True, note) for note in found.images.notes)
        files = wnids_of(asked.data)
        for finding in of_networks.checks(found.ready, found.images.dataset, files=files):
            yield Check(finding.good, finding.what)
    except UserError as error:
        yield Check(False, str(error))


def clear_caches() -> list[str]:
    """Delete what is kept in the user's cache folders, compiled kernels and decoded data sets; return the folders."""
    from lcrbench.bench.data import disk_cache

    gone = kernels.clear()
    if disk_cache.home().is_dir():
        shutil.rmtree(disk_cache.home(), ignore_errors=True)
        gone.append(str(disk_cache.home()))
    return gone


def _data() -> Check:
    from lcrbench.bench import data

    try:
        loaded = data.load()
    except UserError as error:
        return Check(False, str(error))
    return Check(
        True, f"embedded data {loaded.name}: {len(loaded.train)} + {len(loaded.test)} images, hash as published"
    )


def _corruptions() -> Check:
    import numpy as np

    from lcrbench import corruptions

    failed = []
    for name in corruptions.names("all"):
        try:
            corruptions.corrupt(np.full((1, 32, 32, 3), 128, np.uint8), name, 3)
        except UserError as error:
            failed.append(f"{name}: {error}")
    return Check(not failed, "; ".join(failed) or f"all {len(corruptions.names('all'))} corruptions work")


def _store(store: str) -> Iterator[Check]:
    from lcrbench.bench.records import source
    from lcrbench.bench.records.store import Store
    from lcrbench.bench.training.checkpoint import unseal

    path = Path(store)
    if not path.exists():
        yield Check(True, f"no store at {store} yet: `lcrbench run` makes it")
        return
    try:
        found = Store(path)
    except UserError as error:
        yield Check(False, str(error))
        return
    counts = {"finished": 0, "failed": 0, "stale": 0, "of an older schema": 0}
    for run_id in found.ids():
        try:
            record = found.record(run_id)
            found.verify(run_id)
            counts[record.status] += 1
            counts["stale"] += record.status == "finished" and bool(source.stale(record))
            counts["of an older schema"] += found.evaluation_of(run_id) is None
        except UserError as error:
            yield Check(False, str(error))
    sealed = {k: [p for p in (path / k).glob("*") if p.suffix != ".new"] for k in (".unfinished", ".teachers")}
    for file in [p for files in sealed.values() for p in files]:
        try:
            unseal(file)
        except UserError as error:
            yield Check(False, str(error))
    unfinished = len(sealed[".unfinished"])
    told = ", ".join(f"{n} {what}" for what, n in counts.items())
    yield Check(True, f"store {store}: {told}; {unfinished} unfinished, which the same `lcrbench run` goes on with")
    if counts["failed"]:
        yield Check(
            True, "failed runs are tried again by the same `lcrbench run`; `lcrbench show run ID` says why they failed"
        )
    if sealed[".teachers"]:
        size = sum(p.stat().st_size for p in sealed[".teachers"]) / 1e6
        yield Check(
            True,
            f"{len(sealed['.teachers'])} trained teachers kept, {size:.1f} MB; {path / '.teachers'} may be deleted",
        )
    if aside := len(list((path / ".damaged").glob("*"))):
        yield Check(
            True, f"{aside} damaged runs were set aside: nothing reads {path / '.damaged'}, delete it when you like"
        )
    if not os.access(path, os.W_OK):
        yield Check(False, f"the store {store} cannot be written: change its permissions, or name another with --store")
    if counts["stale"]:
        yield Check(
            True, "stale runs were made by a different version of the code: `lcrbench run --stale redo` runs them again"
        )
    free = shutil.disk_usage(path).free / 1e9
    yield Check(free > 1, f"{free:.1f} GB free for the store")
