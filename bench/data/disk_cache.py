"""Keeps the decoded content of archives in the user's cache folder; each is checked by its hash and safe to delete."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Final

import numpy as np
import PIL

from lcrbench.bench.data.arrays import Dataset, Split

# Decoding this many small images takes a few seconds; below it, a cache is not worth its space on the disk.
WORTH: Final = 10_000

_ARRAYS: Final = ("train-images", "train-labels", "test-images", "test-labels")


def folder(archives: tuple[Path, ...], size: int) -> Path:
    """Return where the decoded content of these archives is kept, under the user's cache folder."""
    key = hashlib.sha256(f"1 {size} {PIL.__version__}".encode())
    for path in archives:
        with path.open("rb") as file:
            key.update(hashlib.file_digest(file, "sha256").digest())
    base = os.environ.get("XDG_CACHE_HOME", "")
    home = Path(base) if os.path.isabs(base) else Path(os.path.expanduser("~"), ".cache")
    return home / "lcrbench" / "data" / key.hexdigest()[:32]


def read(place: Path, name: str) -> Dataset | None:
    """Return the data set kept in the cache, or None if there is none or it is not what was written."""
    try:
        told = json.loads((place / "content.json").read_text(encoding="utf-8"))
        arrays = [np.load(place / f"{part}.npy", allow_pickle=False) for part in _ARRAYS]
        train, test = Split(arrays[0], arrays[1]), Split(arrays[2], arrays[3])
        dataset = Dataset(name, tuple(told["classes"]), train, test, told["skipped"])
        return dataset if dataset.sha256 == told["sha256"] else None
    except (OSError, ValueError, EOFError, KeyError, TypeError):
        return None


def write(place: Path, dataset: Dataset) -> None:
    """Keep a data set in the cache; without room or permission for it, warn and go on."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent, ignore_cleanup_errors=True) as unfinished:
            new = Path(unfinished, "new")
            new.mkdir()
            for part, split in (("train", dataset.train), ("test", dataset.test)):
                np.save(new / f"{part}-images.npy", split.images)
                np.save(new / f"{part}-labels.npy", split.labels)
            told = {"classes": dataset.classes, "skipped": dataset.skipped, "sha256": dataset.sha256}
            (new / "content.json").write_text(json.dumps(told), encoding="utf-8")
            # Whole or not at all. What lies there by now was damaged, or another process has just written the same.
            shutil.rmtree(place, ignore_errors=True)
            new.rename(place)
    except OSError as error:
        if not place.exists():
            warnings.warn(f"the decoded images could not be cached in {place.parent}: {error}", stacklevel=2)
