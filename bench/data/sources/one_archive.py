"""One archive with train/ and test/ (or val/) of class folders (tar, tar.gz, tar.xz, tar.bz2, zip).

Either the archive itself is named, or a folder that holds no other archive.
"""

from __future__ import annotations

from pathlib import Path

from lcrbench.bench.data.arrays import Dataset
from lcrbench.bench.data.members import ARCHIVE_SUFFIXES, first_names, is_archive, not_an_archive, stem, why_passed
from lcrbench.bench.data.trees import load_trees

ORDER = 90
STREAMS = True
FIRST = 8
HALVES = frozenset(("train", "test", "val", "valid", "validation"))


def detect(path: Path) -> bool:
    """Tell whether the path is an archive, or a folder with one."""
    return is_archive(path) and not _test_alone(path) if path.is_file() else _only(path) is not None


def load(place: str, size: int, stream: bool = False) -> Dataset:
    """Load both splits from the archive. Raises `UserError` if it lacks one, or their classes differ."""
    path = Path(place)
    archive = _only(path) if path.is_dir() else path
    if archive is None:
        raise not_an_archive(path)
    return load_trees(path.resolve().name if path.is_dir() else stem(path), (archive,), size, "one_archive", stream)


def _only(folder: Path) -> Path | None:
    """Return the one archive in a folder; None if there is none, or several."""
    archives = [entry for entry in folder.iterdir() if entry.name.endswith(ARCHIVE_SUFFIXES)]
    return archives[0] if len(archives) == 1 else None


def _test_alone(archive: Path) -> bool:
    """Tell whether an archive begins with images in class folders, none of which is train/, test/ or val/."""
    names = [Path(name) for name in first_names(archive, FIRST)]
    halves = {part.partition(".")[0].lower() for name in names for part in name.parts} & HALVES
    return not halves and any(len(name.parts) > 1 and not why_passed(name.parts) for name in names)
