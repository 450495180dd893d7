"""What killed processes leave in a store, and nothing reads: drafts of what they wrote. `sweep` removes it."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from lcrbench.bench.records.lease import Held
from lcrbench.bench.records.store import Store
from lcrbench.errors import UserError

SEALED = (".unfinished", ".teachers", ".trials")
OLD = 3600.0
VERY_OLD = 60 * 24 * OLD
"""Seconds after which a draft that no lease guards is removed, and a job, which may wait for a cluster's nodes."""


def sweep(store: Store) -> int:
    """Remove the leftovers whose lease is free; return how many there were. What the disk does not let go stays."""
    removed = 0
    for name, path in _guarded(store.root):
        # A lease that only seems dead would have to be watched: the next process that takes it over does that.
        if store.lease(name).state() != "free":
            continue
        with contextlib.suppress(Held, OSError, UserError), store.held(name):
            removed += _remove(path)
    for folder, pattern, old in ((".plans", "*.new", OLD), (".cache", "*.new", OLD), (".jobs", "*", VERY_OLD)):
        for path in (store.root / folder).glob(pattern):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > old:
                    removed += _remove(path)
    return removed


def _guarded(root: Path) -> Iterator[tuple[str, Path]]:
    """Yield leftovers, each with the name of the lease under which it was written."""
    for folder in SEALED:
        yield from ((path.name.partition(".")[0], path) for path in (root / folder).glob("*.new"))
    for shelf in ("trainings", "evaluations"):
        yield from ((path.name[1:].partition(".")[0], path) for path in (root / shelf).glob(".*.new"))


def _remove(path: Path) -> int:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
    return int(not path.exists())
