"""A folder with train/ and test/ (or val/): one folder of image files a class, or an archive of such folders each.

test/ goes before val/. An archive (tar, tar.gz, tar.xz, tar.bz2, zip) in place of a folder is called train.tar.xz or the
like. Classes are in natural order, and so are the files of each.
"""

from __future__ import annotations

from pathlib import Path

from lcrbench.bench.data.arrays import Dataset
from lcrbench.bench.data.members import ARCHIVE_SUFFIXES
from lcrbench.bench.data.trees import load_trees
from lcrbench.errors import UserError

ORDER = 80
STREAMS = True


def detect(path: Path) -> bool:
    """Tell whether a folder has one of the two splits."""
    return path.is_dir() and any(_find(path, name) for name in ("train", "test", "val"))


def load(place: str, size: int, stream: bool = False) -> Dataset:
    """Load a training and a test tree. Raises `UserError` if one of the two is missing, or their classes differ."""
    path = Path(place)
    train, test = _find(path, "train"), _find(path, "test") or _find(path, "val")
    if train and test:
        return load_trees(path.resolve().name, (train, test), size, "class_folders", stream)
    lacking = "train/" if test else "test/ or val/"
    raise UserError(f"{path} has {(train or test or path).name} but no {lacking} (or archive of it) beside it")


def _find(folder: Path, name: str) -> Path | None:
    """Return the folder of this name, or else the archive, if `folder` has one."""
    candidates = [folder / name, *(folder / f"{name}{suffix}" for suffix in ARCHIVE_SUFFIXES)]
    return next((path for path in candidates if (path.is_dir() if path.name == name else path.is_file())), None)
