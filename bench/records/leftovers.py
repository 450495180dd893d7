"""What killed processes leave in a store, and nothing reads: drafts, and leases without a holder. `sweep` removes it."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import Timeout

from lcrbench.bench.records.lock import machine
from lcrbench.bench.records.store import Store

SEALED = (".unfinished", ".teachers", ".trials")
OLD = 3600.0
"""Seconds after which a draft that no lock guards is nobody's."""


def sweep(store: Store) -> int:
    """Remove the leftovers whose lock is free; return how many there were. What the disk does not let go stays."""
    removed = 0
    for name, path in _guarded(store.root):
        if _elsewhere(store.root / ".locks" / f"{name}.lease"):
            continue
        with contextlib.suppress(Timeout, OSError, ValueError), store.held(name):
            removed += _remove(path)
    for path in [*(store.root / ".plans").glob("*.new"), *(store.root / ".cache").glob("*.[0-9]*")]:
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > OLD:
                removed += _remove(path)
    return removed


def _guarded(root: Path) -> Iterator[tuple[str, Path]]:
    """Yield leftovers, each with the name of the lock under which it was written."""
    for folder in SEALED:
        yield from ((path.stem, path) for path in (root / folder).glob("*.new"))
    for shelf in ("trainings", "evaluations"):
        yield from ((path.name[1 : -len(".new")], path) for path in (root / shelf).glob(".*.new"))
    for path in (root / ".locks").glob("*.lease*"):
        yield path.name.partition(".lease")[0], path


def _elsewhere(lease: Path) -> bool:
    """Tell whether a lease is of another machine: whether its holder lives is told by watching it, not here."""
    try:
        found = lease.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return False
    return bool(found) and not found.startswith(machine())


def _remove(path: Path) -> int:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
    return int(not path.exists())
