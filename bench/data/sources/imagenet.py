"""ImageNet-1k as it is published: the official tars, or flat validation images with a table of their labels.

    ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar      with ILSVRC2012_devkit_t12.tar.gz, or another table, beside them
    train/<wnid>/, val/ (flat)                            with the devkit, or torchvision's meta.bin
    ILSVRC/Data/CLS-LOC/train/, val/                      Kaggle's, with LOC_val_solution.csv at the top

Class folders alone are read as any others. Classes are WordNet ids, sorted; images are sorted by class and name, so that one
set is the same in every layout.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path
from typing import Final

from lcrbench.bench.data import imagenet, listed, spaces
from lcrbench.bench.data.arrays import Dataset
from lcrbench.bench.data.keep import Keep, Kept
from lcrbench.bench.data.members import damage_told, inside, members, parts_of, why_passed
from lcrbench.bench.data.trees import Half, joined, ordered
from lcrbench.errors import UserError

ORDER = 20
STREAMS = True

TRAIN_TAR: Final = "ILSVRC2012_img_train.tar"
VAL_TAR: Final = "ILSVRC2012_img_val.tar"
_VAL: Final = "ILSVRC2012_val_"
_KAGGLE: Final = (Path("ILSVRC", "Data", "CLS-LOC"), Path("Data", "CLS-LOC"))


def detect(path: Path) -> bool:
    """Tell whether a folder holds an official tar, or train/ beside flat validation images."""
    if not path.is_dir():
        return path.name in (TRAIN_TAR, VAL_TAR)
    if any((path / tar).is_file() for tar in (TRAIN_TAR, VAL_TAR)):
        return True
    return any(_flat(path / inner / "val") for inner in (Path(), *_KAGGLE))


def _flat(folder: Path) -> bool:
    """Tell whether validation images lie in a folder itself."""
    if not folder.is_dir():
        return False
    return any(entry.name.startswith(_VAL) and entry.is_file() for entry in folder.iterdir())


def load(place: str, size: int, stream: bool = False) -> Dataset:
    """Load both splits. Raises `UserError` if a tar, a split or the labels are missing or damaged."""
    path = Path(place)
    if not path.is_dir():
        raise UserError(f"{path} is one of ImageNet's tars: name the folder with {TRAIN_TAR}, {VAL_TAR} and the devkit")
    root = next((path / inner for inner in _KAGGLE if (path / inner).is_dir()), path)
    train = next((p for p in (path / TRAIN_TAR, root / "train") if p.exists()), None)
    val = next((p for p in (path / VAL_TAR, root / "val") if p.exists()), None)
    if train is None or val is None:
        there = train or val
        what = f"is ImageNet-1k with {there.name} and without" if there else "holds no ImageNet-1k: it lacks"
        raise UserError(f"{path} {what} {VAL_TAR + ' or val/' if train else TRAIN_TAR + ' or train/'}: put it beside")
    tables = (path / name for name in (imagenet.DEVKIT, f"{imagenet.DEVKIT}.tar.gz", imagenet.CSV, imagenet.META))
    used = (train, val, *(table for table in tables if table.exists()))

    def make(keep: Keep) -> Dataset:
        passed: Counter[str] = Counter()
        halves = [_train(train, keep, passed), _val(path, val, keep, passed)]
        return joined(path.resolve().name, halves, [str(train), str(val)], keep, "imagenet", passed)

    return listed.through(path.resolve().name, used, size, "imagenet", stream, make)


def _train(source: Path, keep: Keep, passed: Counter[str]) -> Half:
    """Return the training images of a tar of tars, or of class folders; a name's id and its class must be the same."""
    found: list[tuple[str, tuple[str, ...], Kept]] = []
    for member in members(source):
        parts = parts_of(member, source)
        if member.read is None:
            continue
        if source.is_dir():
            if why := why_passed(parts):
                passed[why] += 1
                continue
            if len(parts) < 2:
                raise UserError(f"{member.where} lies in no class folder: train/ holds a folder for each WordNet id")
            with damage_told(source):
                content = member.read()
            wnid = _class(parts[0], member.where)
            found.append((wnid, parts[1:], keep.one(member, content, member.where, source)))
            continue
        if parts[-1].startswith("."):
            passed["hidden"] += 1
            continue
        wnid = _class(parts[-1].removesuffix(".tar"), member.where)
        for image in inside(member, source):
            where = f"{member.where}: {image.path if image.path.isprintable() else ascii(image.path)}"
            names = parts_of(image._replace(where=where), source)
            if image.read is None:
                continue
            if why := why_passed(names):
                passed[why] += 1
                continue
            if not names[-1].startswith(f"{wnid}_"):
                raise UserError(f"{where} lies in the tar of another class: get {source.name} again")
            with damage_told(source):
                content = image.read()
            found.append((wnid, names, keep.one(image, content, where, source)))
    if not found:
        raise UserError(f"{source} holds no images: get it again")
    return ordered(found)


def _class(name: str, where: str) -> str:
    if name not in _ids():
        raise UserError(f"{where} is none of the 1,000 WordNet ids of ImageNet-1k: remove it, or get the set again")
    return name


@cache
def _ids() -> frozenset[str]:
    return frozenset(spaces.ids(spaces.IMAGENET))


def _val(path: Path, source: Path, keep: Keep, passed: Counter[str]) -> Half:
    """Return the validation images, with the class that a table gives each, or that of its folder."""
    labels: dict[str, str] | None = None
    found: list[tuple[str, tuple[str, ...], Kept]] = []
    for member in members(source):
        parts = parts_of(member, source)
        if member.read is None:
            continue
        if why := why_passed(parts):
            passed[why] += 1
            continue
        if len(parts) >= 2 and spaces.is_wnid(parts[-2]):
            wnid = _class(parts[-2], member.where)
        else:
            labels = imagenet.labels_beside(path) if labels is None else labels
            stem = parts[-1].rpartition(".")[0]
            if stem not in labels:
                raise UserError(
                    f"{member.where} has no label among the {len(labels):,} that lie in {path}: get both again"
                )
            wnid = _class(labels[stem], member.where)
        with damage_told(source):
            content = member.read()
        found.append((wnid, parts[-1:], keep.one(member, content, member.where, source)))
    if not found:
        raise UserError(f"{source} holds no images: get it again")
    return ordered(found)
