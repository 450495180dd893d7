"""Keeps the tables of streamed data sets in the user's cache folder, so that every file is read for its hash once.

A table is named by names, sizes and times of the files beneath the sources, and by neither the sources' own names nor where
they lie: a folder that is moved stays what it was.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcrbench.bench.data import copies, disk_cache
from lcrbench.bench.data.arrays import Dataset, Split
from lcrbench.bench.data.files import ROW, Files
from lcrbench.bench.data.keep import Decoded, Keep, Located

_VERSION = 1
_CONTENT = "content.json"
_PARTS = ("rows", "text", "labels")
_HALVES = ("train", "test")


def through(
    name: str, sources: tuple[Path, ...], size: int, layout: str, stream: bool, make: Callable[[Keep], Dataset]
) -> Dataset:
    """Return the data set of these files, from what the cache keeps or as `make` makes it: streamed, or held in memory."""
    if not stream:
        return disk_cache.through(name, sources, size, layout, lambda: make(Decoded(size)))
    place = _place(sources, layout)

    def kept(place: Path) -> Dataset | None:
        return _read(place, name, sources, size, layout)

    if place and (found := kept(place)):
        return found
    made = make(Located(size, sources, layout))
    if place:
        # Without room or permission it is made again the next time.
        with contextlib.suppress(OSError):
            _write(place, made, lambda: kept(place) is not None)
            return kept(place) or made
    return made


def _place(sources: tuple[Path, ...], layout: str) -> Path | None:
    """Return where the tables of these files are kept; None while one of them is still being written."""
    stamp = disk_cache.lasting(sources)
    if stamp is None:
        return None
    key = hashlib.sha256(f"listed {_VERSION} {layout} {stamp}".encode())
    return disk_cache.home() / f"listed-{key.hexdigest()[:32]}"


def _write(place: Path, dataset: Dataset, is_whole: Callable[[], bool]) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, ignore_cleanup_errors=True) as unfinished:
        new = Path(unfinished, "new")
        new.mkdir()
        hashes = {}
        copied: Path | None = None
        for half in _HALVES:
            split: Split = getattr(dataset, half)
            if not isinstance(split.images, Files):
                return
            copied = copies.of(split.images)
            arrays: tuple[NDArray[Any], ...] = split.images.rows, split.images.text, split.labels
            for part, array in zip(_PARTS, arrays, strict=True):
                np.save(new / f"{half}-{part}.npy", array)
                hashes[f"{half}-{part}"] = _hash(array)
        facts = disk_cache.declared(dataset) | {"skipped": dataset.skipped, "hashes": hashes}
        facts["copied"] = copied.stat().st_size if copied else 0
        (new / _CONTENT).write_text(json.dumps(facts), encoding="utf-8")
        disk_cache.put(new, place, is_whole)


def _hash(array: NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).view(np.uint8).data).hexdigest()


def _read(place: Path, name: str, sources: tuple[Path, ...], size: int, layout: str) -> Dataset | None:
    """Return the data set of kept tables, mapped; None if there are none, or they are not what was written."""
    try:
        if (facts := disk_cache.told(place)) is None:
            return None
        if size_of := facts.get("copied"):
            copied = copies.place(sources, layout)
            if copied is None or copied.stat().st_size != size_of:
                return None
            sources = (*sources, copied)
        splits = []
        for half in _HALVES:
            arrays = [disk_cache.kept_array(place / f"{half}-{part}.npy") for part in _PARTS]
            for part, array in zip(_PARTS, arrays, strict=True):
                if _hash(array) != facts["hashes"][f"{half}-{part}"]:
                    return None
            rows, text, labels = arrays
            if rows.dtype != ROW:
                return None
            splits.append(Split(Files(rows, text, sources, size), labels))
        found = Dataset(name, tuple(facts["classes"]), splits[0], splits[1], facts["skipped"])
        return replace(
            found,
            space=facts["space"],
            layout=facts["layout"],
            reasons=tuple((str(why), int(n)) for why, n in facts["reasons"]),
            published=facts["published"],
        )
    except (OSError, ValueError, EOFError, KeyError, TypeError):
        return None
