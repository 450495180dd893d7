"""The checks of `lcrbench doctor`: each says what it found, and what to do where something is wrong."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from importlib.metadata import requires
from pathlib import Path
from typing import NamedTuple

from lcrbench.errors import UserError
from lcrbench.versions import installed


class Check(NamedTuple):
    """One finding."""

    good: bool
    what: str


def checks(store: str) -> Iterator[Check]:
    """Yield the findings about the environment, the embedded data and the store, each as soon as it is known."""
    from lcrbench.bench import env

    yield Check(True, ", ".join(f"{k} {v}" for k, v in env.versions().items()))
    missing = []
    for requirement in requires("lcrbench") or []:
        name, _, condition = requirement.partition(";")
        name = name.replace(">", "=").replace("<", "=").partition("=")[0].strip()
        if "extra" not in condition and installed(name) is None:
            missing.append(name)
    yield Check(
        not missing, f"missing packages: pip install {' '.join(missing)}" if missing else "all packages are there"
    )

    import torch

    yield Check(True, f"devices: cpu{', cuda' if torch.cuda.is_available() else ''}; {torch.get_num_threads()} threads")
    yield _data()
    yield _corruptions()
    yield from _store(store)


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
    from lcrbench.bench import env
    from lcrbench.bench.store import Store

    path = Path(store)
    if not path.exists():
        yield Check(True, f"no store at {store} yet: `lcrbench run` makes it")
        return
    found = Store(path)
    counts = {"finished": 0, "failed": 0, "stale": 0}
    for run_id in found.ids():
        try:
            record = found.record(run_id)
            found.verify(run_id)
            counts[record.status] += 1
            counts["stale"] += record.provenance.source != env.source_hash()
        except UserError as error:
            yield Check(False, str(error))
    unfinished = len([p for p in (path / ".unfinished").glob("*") if p.suffix != ".new"])
    told = ", ".join(f"{n} {what}" for what, n in counts.items())
    yield Check(True, f"store {store}: {told}; {unfinished} unfinished, which the same `lcrbench run` goes on with")
    if counts["stale"]:
        yield Check(True, "stale runs were made by other source: `lcrbench run --stale redo` runs them again")
    free = shutil.disk_usage(path).free / 1e9
    yield Check(free > 1, f"{free:.1f} GB free for the store")
