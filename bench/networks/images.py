"""The test images that a network from outside is shown: at their own size, or read as its configuration reads photos."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from lcrbench import registry, untrusted
from lcrbench.bench import data
from lcrbench.bench.data.arrays import Dataset, Split
from lcrbench.bench.data.loading import find
from lcrbench.bench.data.members import is_archive, members
from lcrbench.bench.data.middle import middle
from lcrbench.bench.records.external import Preprocess
from lcrbench.errors import UserError
from lcrbench.images import side_of

SIZE = 32
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
LOOKED = 64
"""Members of a folder or archive, one of which is an image that tells the size of all."""


class Images(NamedTuple):
    """Test images `size` px square, the hash that names them, and how they were read."""

    dataset: Dataset
    size: int
    sha256: str
    notes: tuple[str, ...] = ()


def load_images(
    source: str, how: Preprocess, *, size: int | None = None, resize: int | None = None, test: int | None = None
) -> Images:
    """Return the test images that `source` names for a network of this preparation.

    Without `size`: photographs at least as large as the network takes are read as its configuration says (the shorter side
    to `how.resize` px, the centre of `how.size` px); others at their own size, 32 px where that is not known. `resize` with
    `size` does so in any case. Raises `UserError` as `load` does.
    """
    side, told = (None if size else shorter_side(source)), False
    if size is None and how.size and side is not None and side >= how.size:
        size, resize = how.size, resize or how.resize
        told = resize is None
    size = size or side or SIZE
    if resize is not None and resize < size:
        raise UserError(
            f"--resize {resize} is less than --size {size}: photographs are resized first, and cropped then"
        )
    read_at = resize or size
    notes = []
    if read_at != size:
        notes.append(f"photographs: shorter side resized to {read_at} px (bilinear, antialiased), centre of {size} px")
        if how.interpolation != "bilinear" and how.origin not in ("", "declared"):
            notes.append(f"{how.origin}'s configuration resizes by {how.interpolation} interpolation")
    elif told and side != size:
        notes.append(
            f"photographs: shorter side resized to {size} px (bilinear, antialiased), centre of {size} px: the network's "
            "configuration says no more; --resize 256 --size 224 reads them as ImageNet's networks usually do"
        )
    entry, _ = find(source)
    alone = "load_test" in vars(registry.load("source", entry))
    if alone:
        found = data.load_test(source, size=read_at)
        split = _centre(found.split, size)
        nothing = Split(split.images[:0], split.labels[:0])
        dataset = Dataset(found.name, found.classes, nothing, split, space=found.space, layout=found.layout)
        sha256 = replace(found, split=split).sha256
    else:
        whole = data.load(source, size=read_at)
        if read_at != size:
            whole = replace(whole, train=_centre(whole.train, size), test=_centre(whole.test, size))
        dataset, sha256 = whole, whole.whole_sha256
    if test is not None and test != len(dataset.test):
        dataset = data.take(dataset, None, test, seed=0)
    return Images(dataset, size, sha256, tuple(notes))


def shorter_side(source: str) -> int | None:
    """Return the shorter side in pixels of the first image in a folder or an archive; None where there is no such image."""
    if source in data.names():
        return None
    path = untrusted.place(source)
    if not path.exists() or (path.is_file() and not is_archive(path)):
        return None
    archives = [f for f in sorted(path.iterdir()) if f.is_file() and is_archive(f)] if path.is_dir() else []
    for place in (*archives, path):
        for member in islice(members(place), LOOKED):
            if member.read is None or Path(member.path).suffix.lower() not in SUFFIXES:
                continue
            if (side := side_of(member.read())) is not None:
                return side
    return None


def _centre(split: Split, size: int) -> Split:
    return split if split.images.shape[1] == size else middle(split, size)
