"""A test set of class folders without training images: ImageNet-V2, -A, -R, -Sketch, or any folder of class folders.

    0/ ... 999/            ImageNet-V2: a folder's number is its class; as text they would be sorted wrongly
    <wnid>/                ImageNet-A and -R (200 ids each), -Sketch (1,000), or other ids of ImageNet-1k
    <name>/                any other classes, by name

The folder may lie in one folder more, and be an archive. It is a test set alone: `--test-set imagenet-v2=PATH`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from lcrbench.bench.data import spaces
from lcrbench.bench.data.arrays import Dataset, TestImages
from lcrbench.bench.data.keep import Decoded, Keep, Located
from lcrbench.bench.data.members import ARCHIVE_SUFFIXES, first_names, is_archive, stem
from lcrbench.bench.data.trees import Half, by_class, read_tree, stack
from lcrbench.errors import UserError

ORDER = 95
STREAMS = True

TITLES: Final = {
    "imagenet-v2": "ImageNet-V2",
    "imagenet-a": "ImageNet-A",
    "imagenet-r": "ImageNet-R",
    "imagenet-sketch": "ImageNet-Sketch",
}


def detect(path: Path) -> bool:
    """Tell whether a folder holds at least two folders with files, or an archive begins with files in folders."""
    if path.is_file():
        return is_archive(path) and any(name.count("/") for name in first_names(path, 8))
    folders = _folders(path)
    if len(folders) == 1:
        folders = _folders(folders[0])
    return len(folders) > 1 and any(entry.is_file() for folder in folders[:3] for entry in folder.iterdir())


def _folders(path: Path) -> list[Path]:
    return sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def load(place: str, size: int, stream: bool = False) -> Dataset:
    """Raise `UserError`: it has no training images."""
    raise UserError(
        f"{place} holds class folders without train/ and test/ (or val/): to train on, it needs both; to test on, give"
        f" --test-set NAME={place}"
    )


def load_test(place: str, size: int, stream: bool = False) -> TestImages:
    """Load the test images. Raises `UserError` if they are no class folders, or some of a known set's are missing."""
    path = Path(place)
    if path.is_file() and not path.name.endswith(ARCHIVE_SUFFIXES) and not is_archive(path):
        raise UserError(f"{path} is no folder or archive of class folders")
    keep: Keep = Located(size, (path,), "test_folders") if stream else Decoded(size)
    tree = read_tree(path, keep)
    half = by_class(tree, str(path))
    name = path.resolve().name if path.is_dir() else stem(path)
    space, classes, half = _space(half, path)
    split = stack(classes, half, keep)
    return TestImages(name, classes, split, space, "test_folders", tuple(sorted(tree.passed.items())))


def _space(half: Half, path: Path) -> tuple[str, tuple[str, ...], Half]:
    """Return the label space, its classes, and the images by their ids."""
    names = tuple(half)
    every = spaces.ids(spaces.IMAGENET)
    if all(name.isascii() and name.isdigit() for name in names) and len(names) > 900:
        if missing := {str(k) for k in range(1000)} ^ set(names):
            raise UserError(
                f"{path} is ImageNet-V2, whose folders are 0 to 999, and differs in {min(missing)}: unpack it again"
            )
        return spaces.IMAGENET, every, {every[int(name)]: images for name, images in half.items()}
    for space in ("imagenet-a", "imagenet-r"):
        ids = set(spaces.ids(space))
        if set(names) == ids:
            return space, spaces.ids(space), half
        if set(names) < ids and len(names) > 190:
            raise UserError(f"{path} is {TITLES[space]} without {min(ids - set(names))}: unpack it again")
    return spaces.of_folders(names), names, half
