"""The stamp of a report: a hash of all that it is made from, so that what has not changed is not drawn again.

A report is made from its runs (each file of their trainings and evaluations: name, size and time, and the checksum of the
record), the modules that make reports and read records, those of tables and figures from outside, the packages that draw,
and the arguments. The stamp lies with the list of what was written (files.json), which is written last. A run that cannot be
read gives no stamp: its report is made each time.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import lcrbench
from lcrbench import registry
from lcrbench.bench.records import source
from lcrbench.bench.records.shelf import CHECKSUM, CHECKSUM_BYTES
from lcrbench.bench.records.store import Store
from lcrbench.errors import UserError
from lcrbench.untrusted import bytes_of, json_of, small_file
from lcrbench.versions import installed

PAGE = "index.html"
TERMINAL = "table.txt"
"""The main table as plain text, which a terminal prints."""
MANIFEST = "files.json"
"""What a report has written, so that the next one into the same folder leaves nothing behind that it does not show."""

PACKAGES = ("matplotlib", "seaborn", "numpy", "scipy", "pandas", "jinja2", "pyarrow")
"""Packages that decide what a report has in it."""

CODE = {
    "lcrbench.reports": "",
    "lcrbench.bench.records": "",
    "lcrbench.bench.stats": "",
    "lcrbench.models": "parse.py",
    "lcrbench": "corruption_names.py",
}
"""Our own packages that do, each whole or the one file of it."""


def ids(store: Store, runs: Sequence[str] | None = None) -> list[str]:
    """Return the ids of all runs of a store, or of those named by id or unique prefix; raises `UserError` as `find` does."""
    every = store.ids()
    if not runs:
        return every
    there = set(every)
    return list(dict.fromkeys(run if run in there else store.find(run) for run in runs))


def unfinished(store: Store) -> int:
    """Count the trainings that were begun and are not finished: the saves of unfinished ones."""
    saved = {f.name for f in (store.root / ".unfinished").glob("[!.]*") if f.suffix != ".new"}
    return len(saved - set(store.trainings.ids())) if saved else 0


def of(store: Store, run_ids: Sequence[str], arguments: Mapping[str, Any]) -> str:
    """Return the stamp of a report on these runs with these arguments; "" where a run cannot be read."""
    try:
        entries = [list(_files_of(folder)) for folder in _folders(store, run_ids)]
        outside = source.closure(_outside(arguments["also"])).modules
    except (OSError, UserError):
        return ""
    facts = {
        "arguments": dict(arguments),
        "runs": list(run_ids),
        "entries": entries,
        "unfinished": unfinished(store),
        "code": _code(),
        "outside": outside,
        "packages": {name: installed(name) for name in PACKAGES},
        "lcrbench": lcrbench.__version__,
        "python": platform.python_version(),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def stands(out: Path, stamp: str) -> bool:
    """Tell whether a folder holds a report under this stamp, with every file that was written."""
    try:
        manifest = json_of(small_file(out / MANIFEST), MANIFEST)
        return bool(stamp) and manifest["stamp"] == stamp and all((out / name).is_file() for name in manifest["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _folders(store: Store, run_ids: Sequence[str]) -> list[Path]:
    """Return the folders of the runs' trainings and evaluations; of runs of an older schema theirs, and all searches'."""
    found: dict[Path, None] = {}
    older = False
    for run_id in run_ids:
        evaluation = store.evaluation_of(run_id)
        if evaluation is None:
            older = True
            found[store.old.shelf.folder(run_id)] = None
            continue
        found[store.evaluations.folder(evaluation.evaluation_id)] = None
        if (training := evaluation.subject.training) in store.trainings:
            found[store.trainings.folder(training)] = None
    searched = store.old.searched
    return [*found, *(searched.folder(name) for name in searched.ids() if older)]


def _files_of(folder: Path) -> Iterator[list[Any]]:
    """Yield what identifies each file in a folder without reading it; of the record its checksum too."""
    for file in sorted(folder.iterdir()):
        state = file.stat()
        checksum = bytes_of(file, CHECKSUM_BYTES).decode(errors="replace") if file.name == CHECKSUM else ""
        yield [file.name, state.st_size, state.st_mtime_ns, checksum]


def _outside(also: Sequence[str]) -> list[str]:
    """Return the modules of the tables and figures that come from outside."""
    found = [registry.module_name(kind, n) for kind in ("table", "figure") for n in registry.names(kind)]
    return [name for name in found if not name.startswith("lcrbench.")] + list(also)


@cache
def _code() -> str:
    """Return a hash of the files of our own modules that a report depends on."""
    found = hashlib.sha256()
    for package, name in CODE.items():
        for file in _files(files(package) / name if name else files(package)):
            found.update(f"{file.name} ".encode())
            found.update(hashlib.sha256(file.read_bytes()).digest())
    return found.hexdigest()


def _files(place: Traversable) -> Iterator[Traversable]:
    if place.is_file():
        yield place
        return
    for inner in sorted(place.iterdir(), key=lambda f: f.name):
        if inner.name != "__pycache__":
            yield from _files(inner)
