"""Takes entries out of a store, and finds what nothing in it needs any more."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from lcrbench.bench.records import view
from lcrbench.bench.records.lease import Held
from lcrbench.bench.records.store import Store
from lcrbench.errors import UserError

HIDDEN = {
    ".damaged": "damaged",
    ".cache": "corrupted images, made again when needed",
    ".locks": "a lock of version 0.1",
}
"""Folders whose contents may be deleted at any time, and what lies in them."""


class Unneeded(NamedTuple):
    """A file or folder that nothing needs, why, its size in bytes, and the entry whose lease guards it, if one does."""

    path: Path
    why: str
    size: int
    entry: str = ""


def remove(store: Store, prefix: str) -> list[str]:
    """Remove the run or the training whose id begins with `prefix`, and return lines that say what went.

    With its last run goes an evaluation with its predictions; a training goes alone, when it is named and no evaluation is
    of it. Raises `UserError` if there is none, or a training is still evaluated, and `Held` if it is worked on.
    """
    trained = [name for name in store.trainings.ids() if prefix and name.startswith(prefix)]
    if len(trained) == 1:
        (name,) = trained
        users = [e for e in store.evaluations.ids() if store.evaluations.record(e).subject.training == name]
        if users:
            raise UserError(f"training {name} has evaluations ({', '.join(users)}): remove its runs first")
        with store.held(name):
            _delete(store.trainings.folder(name))
        return [f"training {name} removed"]
    run = store.find(prefix)
    evaluation = store.evaluation_of(run)
    if evaluation is None:
        _delete(store.old.shelf.folder(run))
        return [f"run {run} removed"]
    name = evaluation.evaluation_id
    with store.held(name):
        known = store.known(name)
        assert known is not None, "it was found"
        evaluation, answers, files = known
        gone = view.asked(evaluation, run).protocol.protocol_id
        left = tuple(a for a in evaluation.asked if a.protocol.protocol_id != gone)
        if left:
            store.evaluations.write(name, evaluation.model_copy(update={"asked": left}), files)
            return [f"run {run} removed; its predictions stay, because the network has {len(left)} other runs of them"]
        _delete(store.evaluations.folder(name))
    training = evaluation.subject.training
    stays = f"; its training {training} stays" if training and training in store.trainings else ""
    return [f"run {run} removed with {len(answers.cells)} cells of predictions{stays}"]


def unneeded(store: Store) -> Iterator[Unneeded]:
    """Yield what nothing in a store needs: drafts of writes that were killed, damaged entries, and corrupted images."""
    for folder in (store.trainings.root, store.evaluations.root):
        for path in sorted(folder.glob(".*.new")):
            yield Unneeded(path, "a write that did not end", size(path), path.name[1:].partition(".")[0])
        for path in sorted(folder.glob(".*.old")):
            if (folder / path.name[1 : -len(".old")]).exists():
                yield Unneeded(path, "replaced", size(path), path.name[1 : -len(".old")])
    for name in HIDDEN:
        for path in sorted((store.root / name).glob("*")):
            yield Unneeded(path, HIDDEN[name], size(path))
    done = set(store.trainings.ids())
    for path in sorted((store.root / ".unfinished").glob("*")):
        if path.name in done:
            yield Unneeded(path, "a save of a training that is finished", size(path))


def collect(store: Store, found: Unneeded) -> bool:
    """Delete what nothing needs, and tell whether that was done: what another process writes just now stays.

    Raises `UserError` where the disk refuses.
    """
    try:
        with store.held(*([found.entry] if found.entry else [])):
            _delete(found.path)
    except Held:
        return False
    return True


def size(path: Path) -> int:
    """Return the bytes in a file or a folder."""
    files = [path] if path.is_file() else [f for f in path.rglob("*") if f.is_file()]
    total = 0
    for file in files:
        with contextlib.suppress(OSError):
            total += file.stat().st_size
    return total


def _delete(path: Path) -> None:
    """Delete an entry: hidden first, in one rename, so that a reader never sees half of it."""
    try:
        aside = path if path.name.startswith(".") else path.with_name(f".{path.name}.gone.new")
        if aside != path:
            path.rename(aside)
        if aside.is_dir():
            shutil.rmtree(aside)
        else:
            aside.unlink()
    except OSError as error:
        raise UserError(f"cannot remove {path}: {error.strerror or error}") from error
