"""A folder of parquet files as on Hugging Face: CIFAR-10, CIFAR-100, ImageNet-1k, Tiny-ImageNet, or another set.

Files are called train-*.parquet and test-*, validation-* or valid-*.parquet, in the folder itself or one or two below it,
or lie in folders of these names. The label's classes are told by the file. CIFAR keeps the order of its rows, which is the
published one; others are sorted by class and by the name that the image's file had, as class folders are, if each has one.
It needs pyarrow (the extra `parquet`). To be streamed, the files of the images are copied out of the tables (`copies.py`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from lcrbench.bench.data import listed, spaces
from lcrbench.bench.data.arrays import Dataset
from lcrbench.bench.data.keep import Keep, Kept
from lcrbench.bench.data.members import Member
from lcrbench.bench.data.parquet import Columns, Row, columns, rows
from lcrbench.errors import UserError
from lcrbench.images import natural

_Half = list[tuple[Row, Kept]]

ORDER = 30
STREAMS = True

_SPLITS: Final = {
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
}


def detect(path: Path) -> bool:
    """Tell whether a folder holds parquet files."""
    return path.is_dir() and bool(_found(path))


def load(place: str, size: int, stream: bool = False) -> Dataset:
    """Load both splits; of a test and a validation split the latter, because the test split of ImageNet has no labels.

    Raises `UserError` if a split is missing, its columns are of another kind, or labels and classes do not fit.
    """
    path = Path(place)
    found = _found(path)
    if not found:
        raise UserError(f"{path} holds no parquet files: it needs train-*.parquet and test-* or validation-*.parquet")
    halves: dict[str, list[Path]] = {}
    for file in found:
        if split := _split(file):
            halves.setdefault(split, []).append(file)
    test = halves.get("validation") or halves.get("test")
    if "train" not in halves or test is None:
        told = ", ".join(file.name for file in found[:3])
        raise UserError(
            f"{path} is a folder of parquet files ({told}{' ...' if found[3:] else ''}) without"
            f" {'test or validation' if 'train' in halves else 'train'}: names begin with train-, test- or validation-"
        )
    train = halves["train"]

    def make(keep: Keep) -> Dataset:
        return _load(path, train, test, keep)

    return listed.through(path.resolve().name, (*train, *test), size, "parquet_files", stream, make)


def _load(path: Path, train: list[Path], test: list[Path], keep: Keep) -> Dataset:
    told = [columns(file) for file in (*train, *test)]
    for file, one in zip((*train, *test), told, strict=True):
        if one != told[0]:
            raise UserError(f"{file} and {train[0]} differ in columns or classes: they are not one data set")
    space, ids = _space(told[0], train[0])
    halves = [_read(files, told[0], len(ids), space, keep) for files in (train, test)]
    if not ids:
        ids = tuple(map(str, range(1 + max(row.label for half in halves for row, _ in half))))
    name = space if space.startswith("cifar") else path.resolve().name
    splits = [
        keep.split([kept for _, kept in half], np.array([row.label for row, _ in half], np.int64)) for half in halves
    ]
    return Dataset(name, ids, splits[0], splits[1], space=space, layout="parquet_files")


def _space(told: Columns, file: Path) -> tuple[str, tuple[str, ...]]:
    """Return the label space of a table and its classes; none if the file tells no names."""
    names = told.names
    for space in ("cifar10", "cifar100"):
        if spaces.reordered(names, space):
            raise UserError(f"{file} names the classes of {space} in another order than was published: get it again")
    if told.label == "fine_label":
        return "cifar100", spaces.ids("cifar100")
    if names == spaces.ids("cifar10"):
        return "cifar10", names
    if names and all(map(spaces.is_wnid, names)):
        if list(names) != sorted(names):
            raise UserError(f"{file} names WordNet ids that are not sorted: its labels may stand for other classes")
        return (spaces.of_folders(names) if len(names) != 200 else spaces.TINY), names
    if len(names) == 1000 and names[0].startswith("tench"):
        return spaces.IMAGENET, spaces.ids(spaces.IMAGENET)
    if len(set(names)) < len(names):
        raise UserError(f"{file} names a class twice: its labels cannot be told apart")
    return spaces.OWN, names


def _read(files: list[Path], told: Columns, classes: int, space: str, keep: Keep) -> _Half:
    found: _Half = []
    for file in files:
        for row in rows(file, told):
            if row.label < 0 or (classes and row.label >= classes):
                why = "a test split without labels" if row.label == -1 else f"there are {classes} classes"
                raise UserError(f"{row.where} has the label {row.label}: {why}; name a split with labels")
            # Without a name an image has the number of its row, whatever shard that lies in.
            member = Member(row.name or str(len(found)), row.where, None)
            found.append((row._replace(content=b""), keep.one(member, row.content, row.where, file)))
    if not found:
        raise UserError(f"{files[0]} holds no rows: get it again")
    names = {row.name for row, _ in found}
    if not space.startswith("cifar") and "" not in names and len(names) == len(found):
        found.sort(key=lambda pair: (pair[0].label, natural((pair[0].name,))))
    return found


def _found(path: Path) -> list[Path]:
    """Return the parquet files of a folder, and of those one and two below it, in natural order."""
    files = [file for pattern in ("*", "*/*", "*/*/*") for file in path.glob(f"{pattern}.parquet")]
    shown = [f for f in files if not any(part.startswith(".") for part in f.relative_to(path).parts)]
    return sorted(shown, key=lambda file: natural(file.relative_to(path).parts))


def _split(file: Path) -> str | None:
    """Return the split that a file is of, by its name, or by that of its folder: train/0000.parquet."""
    return _SPLITS.get(file.name.split("-")[0].removesuffix(".parquet")) or _SPLITS.get(file.parent.name)
