"""Keeps decoded images in the user's cache folder; each set is checked by its hash and safe to delete.

An archive is named by the hash of its bytes, a folder by the names, sizes and times of its files.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import PIL

from lcrbench import disk
from lcrbench.bench.data.arrays import Dataset, Images, Split, Streamed, TestImages
from lcrbench.errors import UserError
from lcrbench.untrusted import check_regular, json_of, opened, small_file

# Decoding this many small images takes a few seconds; below it, a cache is not worth its space on the disk.
WORTH: Final = 10_000

LARGE: Final = 100_000_000
"""Bytes from which the images of every data set are mapped from the cache, and not held by each process."""

_ARRAYS: Final = ("train-images", "train-labels", "test-images", "test-labels")
_CONTENT: Final = "content.json"

# A file that was written so short a time ago may be written again without another time stamp.
_SETTLED_NS: Final = 2_000_000_000

# Deeper folders come from links that lead back.
_MAX_DEPTH: Final = 32


_off = False


@contextmanager
def without() -> Iterator[None]:
    """Decode everything again, and keep nothing, for as long as this lasts."""
    global _off
    before, _off = _off, True
    try:
        yield
    finally:
        _off = before


def through(name: str, sources: Iterable[Path], size: int, layout: str, make: Callable[[], Dataset]) -> Dataset:
    """Return the data set of these files from the cache, or make it, and keep it if it is large."""
    place = None if _off else folder(tuple(sources), size, layout)
    if place and (kept := read(place, name)):
        return kept
    made = make()
    if place and len(made.train) + len(made.test) >= WORTH:
        write(place, made)
        # As another process will have it: mapped, not held.
        return read(place, name) or made
    return made


def folder(sources: tuple[Path, ...], size: int, layout: str) -> Path | None:
    """Return where the decoded content of these files is kept, under the user's cache folder; None: it cannot be.

    Files that are still being written, or cannot be listed, are not kept.
    """
    key = hashlib.sha256(f"2 {size} {layout} {PIL.__version__}".encode())
    for path in sources:
        if path.is_dir():
            if (found := listing([path])) is None:
                return None
            # Without the names above: a folder that is moved stays what it was.
            top = len(os.fspath(path))
            key.update(json.dumps([(str(name)[top:], *facts) for name, *facts in found]).encode())
        else:
            with opened(path) as file:
                key.update(hashlib.file_digest(file, "sha256").digest())
    return home() / key.hexdigest()[:32]


def home() -> Path:
    """Return the folder in the user's cache folder where all this is kept."""
    return disk.user_cache() / "data"


def mapped(stamp: str, make: Callable[[], Dataset]) -> Dataset:
    """Return a data set that is held in memory, and large, as a map of its file in the cache, so that processes share it.

    `stamp` names the files that it is made of. What `through` has mapped stays so. Without room or permission, only a set of
    `LARGE` bytes is worth a warning.
    """
    place = (
        None if _off else home() / f"held-{hashlib.sha256(f'1 {PIL.__version__} {stamp}'.encode()).hexdigest()[:32]}"
    )
    if place and (facts := told(place)) and (kept := read(place, str(facts.get("name", "")))):
        return kept
    made = make()
    images = (made.train.images, made.test.images)
    small = sum(one.nbytes for one in images) < LARGE
    few = len(made.train) + len(made.test) < WORTH
    if place is None or (small and few) or not all(_is_held(one) for one in images):
        return made
    write(place, made, tells=not small)
    return read(place, made.name) or made


def _is_held(images: Images | Streamed) -> bool:
    """Tell whether images lie in the memory of this process alone: no array beneath is a map."""
    while isinstance(images, np.ndarray) and not isinstance(images, np.memmap):
        if images.base is None:
            return True
        images = images.base
    return not isinstance(images, np.memmap | Streamed)


def lasting(roots: Iterable[Path]) -> str | None:
    """Return the `stamp` of some roots wherever they lie, to keep something by; None if nothing is to be (`without`)."""
    return None if _off else stamp(roots, moved=True)


def stamp(roots: Iterable[Path], *, moved: bool = False) -> str | None:
    """Return a hash of what `listing` lists, which a million files do not need memory for; None if one is still changing.

    With `moved` the paths of the roots themselves are no part of it: what is moved stays what it was.
    """
    newest = time.time_ns() - _SETTLED_NS
    digest = hashlib.sha256()
    for root in roots:
        top = len(os.fspath(root)) if moved else 0
        for path, status in _beneath([root]):
            if status.st_mtime_ns > newest:
                return None
            size = 0 if stat.S_ISDIR(status.st_mode) else status.st_size
            digest.update(json.dumps([path[top:], size, status.st_mtime_ns, status.st_ino]).encode())
        digest.update(b"\n")
    return digest.hexdigest()


def listing(roots: Iterable[Path]) -> list[tuple[object, ...]] | None:
    """Return paths, sizes and times of the roots and of all beneath them, in one order; None if one is still changing."""
    newest = time.time_ns() - _SETTLED_NS
    found: list[tuple[object, ...]] = []
    for path, status in _beneath(roots):
        if status.st_mtime_ns > newest:
            return None
        size = 0 if stat.S_ISDIR(status.st_mode) else status.st_size
        found.append((path, size, status.st_mtime_ns, status.st_ino))
    return found


def _beneath(roots: Iterable[Path]) -> Iterator[tuple[str, os.stat_result]]:
    todo = [(os.fspath(root), 0) for root in roots][::-1]
    while todo:
        path, depth = todo.pop()
        status = os.stat(path)
        yield path, status
        if depth > _MAX_DEPTH:
            # Two links that lead back would be gone through in 2 to the 32 ways.
            raise UserError(f"{path} lies too deep: remove the link that leads back to a folder above it")
        if stat.S_ISDIR(status.st_mode):
            with os.scandir(path) as entries:
                inner = sorted(entries, key=lambda entry: entry.name, reverse=True)
            todo += [(entry.path, depth + 1) for entry in inner if entry.is_dir()]
            yield from ((entry.path, entry.stat()) for entry in reversed(inner) if not entry.is_dir())


def told(place: Path, name: str = _CONTENT) -> dict[str, Any] | None:
    """Return the facts in a kept file; None if there is none."""
    try:
        loaded: dict[str, Any] = json_of(small_file(place / name), name)
        return loaded
    except (OSError, ValueError):
        return None


def keep_facts(place: Path, facts: Mapping[str, Any]) -> None:
    """Write facts as JSON, whole or not at all. Raises `OSError` where the disk does not take it."""
    with disk.replacing(place) as draft:
        draft.write_text(json.dumps(facts), encoding="utf-8")


def kept_array(path: Path) -> np.ndarray:
    """Return the array in a file of the cache, mapped. Raises `OSError` or `ValueError` for what is none."""
    check_regular(path)
    found: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    return found


def read(place: Path, name: str) -> Dataset | None:
    """Return the data set kept in the cache, or None if there is none or it is not what was written.

    Its images are mapped from their file, so that processes share them.
    """
    try:
        facts = told(place) or {}
        arrays = [kept_array(place / f"{part}.npy") for part in _ARRAYS]
        train, test = Split(arrays[0], arrays[1]), Split(arrays[2], arrays[3])
        dataset = Dataset(
            name,
            tuple(facts["classes"]),
            train,
            test,
            facts["skipped"],
            space=facts["space"],
            layout=facts["layout"],
            reasons=tuple((str(why), int(n)) for why, n in facts["reasons"]),
            published=facts["published"],
        )
        return dataset if dataset.sha256 == facts["sha256"] else None
    except (OSError, ValueError, EOFError, KeyError, TypeError):
        return None


def put(new: Path, place: Path, is_whole: Callable[[], bool]) -> None:
    """Give a finished folder its place, whole or not at all. Raises `OSError` where the disk does not let it."""
    try:
        new.rename(place)
    except OSError:
        # Another process has just written the same, which may be mapped already; or what lies there is damaged.
        if not is_whole():
            shutil.rmtree(place, ignore_errors=True)
            new.rename(place)


def write(place: Path, dataset: Dataset, *, tells: bool = True) -> None:
    """Keep a data set in the cache; without room or permission for it, warn if it `tells`, and go on."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent, ignore_cleanup_errors=True) as unfinished:
            new = Path(unfinished, "new")
            new.mkdir()
            for part, split in (("train", dataset.train), ("test", dataset.test)):
                np.save(new / f"{part}-images.npy", split.images[:])
                np.save(new / f"{part}-labels.npy", split.labels)
            (new / _CONTENT).write_text(json.dumps(facts_of(dataset)), encoding="utf-8")
            put(new, place, lambda: read(place, dataset.name) is not None)
    except OSError as error:
        if tells and not place.exists():
            warnings.warn(f"the decoded images could not be cached in {place.parent}: {error}", stacklevel=2)


def declared(found: Dataset | TestImages) -> dict[str, Any]:
    """Return what a data set and a test set alone both say of themselves."""
    return {
        "classes": found.classes,
        "space": found.space,
        "layout": found.layout,
        "published": found.published,
        "reasons": found.reasons,
    }


def facts_of(dataset: Dataset) -> dict[str, Any]:
    """Return what is told of a data set besides its name: classes, counts, hashes, and what was passed over."""
    return declared(dataset) | {
        "name": dataset.name,
        "skipped": dataset.skipped,
        "hash_kind": dataset.hash_kind,
        "size": int(dataset.train.images.shape[1]),
        "train": [int(n) for n in np.bincount(dataset.train.labels, minlength=len(dataset.classes))],
        "test": [int(n) for n in np.bincount(dataset.test.labels, minlength=len(dataset.classes))],
        "sha256": dataset.sha256,
        "train_sha256": dataset.train_sha256,
        "test_sha256": dataset.test_sha256,
    }
