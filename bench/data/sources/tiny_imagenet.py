"""Tiny-ImageNet-200: the unpacked folder, or the downloaded tiny-imagenet-200.zip; val/ is the test split.

Classes are the ids in wnids.txt, sorted as in class folders (the file itself is not sorted). A validation image has its
class from val_annotations.txt, or from its folder where val/ was sorted into class folders. The images of test/ have no
labels.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Final

from lcrbench.bench.data import listed, spaces
from lcrbench.bench.data.arrays import Dataset
from lcrbench.bench.data.keep import Keep, Kept
from lcrbench.bench.data.members import damage_told, first_names, members, parts_of, why_passed
from lcrbench.bench.data.trees import joined, ordered
from lcrbench.errors import UserError

ORDER = 20
STREAMS = True

FOLDER: Final = "tiny-imagenet-200"
_WNIDS: Final = "wnids.txt"
_ANNOTATIONS: Final = "val_annotations.txt"
_Named = list[tuple[str, tuple[str, ...], Kept]]


def detect(path: Path) -> bool:
    """Tell whether a folder has wnids.txt and train/, or an archive begins with Tiny-ImageNet's folder."""
    return _place(path) is not None


def _place(path: Path) -> Path | None:
    if path.is_dir():
        for folder in (path, path / FOLDER):
            if (folder / _WNIDS).is_file() and ((folder / "train").is_dir() or (folder / "val").is_dir()):
                return folder
        return path / f"{FOLDER}.zip" if (path / f"{FOLDER}.zip").is_file() else None
    if not path.is_file():
        return None
    return path if any(name.split("/")[0] == FOLDER for name in first_names(path)) else None


def load(place: str, size: int, stream: bool = False) -> Dataset:
    """Load both splits. Raises `UserError` if wnids.txt or the labels of val/ are missing, or do not fit the images."""
    where = _place(Path(place))
    if where is None:
        raise UserError(f"{place} is no Tiny-ImageNet-200: it needs wnids.txt, train/ and val/ with {_ANNOTATIONS}")
    return listed.through(FOLDER, (where,), size, "tiny_imagenet", stream, lambda keep: _load(where, keep))


def _load(where: Path, keep: Keep) -> Dataset:
    texts: dict[str, bytes] = {}
    train: _Named = []
    labelled: _Named = []
    flat: dict[str, Kept] = {}
    passed: Counter[str] = Counter()
    for member in members(where):
        parts = parts_of(member, where)
        if parts[:1] == (FOLDER,):
            parts = parts[1:]
        if member.read is None or not parts:
            continue
        if parts in ((_WNIDS,), ("val", _ANNOTATIONS)):
            with damage_told(where):
                texts[parts[-1]] = member.read()
        elif parts == ("words.txt",) or parts[-1].endswith("_boxes.txt"):
            continue
        elif parts[0] == "test":
            passed["of test/, which has no labels"] += 1
        elif why := why_passed(parts):
            passed[why] += 1
        elif parts[0] not in ("train", "val") or len(parts) < 3:
            passed["images outside of train/ and val/"] += 1
        else:
            with damage_told(where):
                content = member.read()
            image = keep.one(member, content, member.where, where)
            if parts[0] == "train":
                train.append((parts[1], parts[2:], image))
            elif parts[1] == "images":
                flat[parts[-1]] = image
            else:
                labelled.append((parts[1], parts[2:], image))
    if _WNIDS not in texts:
        raise UserError(f"{where} is Tiny-ImageNet-200 without wnids.txt, which says its classes: unpack it again")
    ids = _ids(texts[_WNIDS], where)
    if flat:
        labelled += _annotated(flat, texts.get(_ANNOTATIONS), ids, where)
    wheres = [f"{where}: train", f"{where}: val"]
    for named, place in zip((train, labelled), wheres, strict=True):
        if not named:
            raise UserError(f"{place} holds no images: this is Tiny-ImageNet-200 without them, unpack it again")
        if strange := [label for label, _, _ in named if label not in ids]:
            raise UserError(f"{place} has the class '{strange[0]}', which wnids.txt does not name: unpack it again")
        if missing := ids - {label for label, _, _ in named}:
            raise UserError(
                f"{place} has no image of {len(missing)} classes of wnids.txt, such as {min(missing)}: unpack it again"
            )
    made = joined(FOLDER, [ordered(train), ordered(labelled)], wheres, keep, "tiny_imagenet", passed)
    return replace(made, space=spaces.TINY)


def _ids(text: bytes, where: Path) -> set[str]:
    words = text.decode("ascii", errors="replace").split()
    if wrong := [word for word in words if not spaces.is_wnid(word)]:
        raise UserError(f"{where}: wnids.txt holds {wrong[0]!a}, which is no WordNet id: unpack it again")
    if len(set(words)) < len(words) or len(words) < 2:
        raise UserError(f"{where}: wnids.txt names a class twice, or fewer than two: unpack it again")
    return set(words)


def _annotated(flat: dict[str, Kept], text: bytes | None, ids: set[str], where: Path) -> _Named:
    """Return the images of val/images/ with the classes that val_annotations.txt gives them."""
    if text is None:
        raise UserError(
            f"{where} is Tiny-ImageNet-200 without val/{_ANNOTATIONS}, which labels the images of val/: unpack it again"
        )
    labels: dict[str, str] = {}
    for number, line in enumerate(text.decode("ascii", errors="replace").splitlines(), 1):
        fields = line.split("\t")
        if len(fields) < 2 or fields[0] in labels:
            raise UserError(f"{where}: line {number} of {_ANNOTATIONS} is no new image and its class: unpack it again")
        labels[fields[0]] = fields[1]
    for lacks, what in ((flat.keys() - labels, "no class for"), (labels.keys() - flat, "a class for the missing")):
        if lacks:
            raise UserError(f"{where}: {_ANNOTATIONS} has {what} {min(lacks)}: unpack it again")
    return [(labels[name], (name,), image) for name, image in flat.items()]
