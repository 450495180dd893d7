"""What the layouts of CIFAR-10 and CIFAR-100 share: where their files lie, and rows of 3,072 bytes as images."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lcrbench.bench.data import spaces
from lcrbench.bench.data.arrays import Dataset, Images, Split
from lcrbench.bench.data.members import first_names
from lcrbench.errors import UserError
from lcrbench.images import fit

SIDE: Final = 32
ROW: Final = 3 * SIDE * SIDE

# The training half of CIFAR-100 is one file of 155 MB.
LARGEST: Final = 1 << 28


class Layout(NamedTuple):
    """One published form of one of the two sets: its folder, its archive, and its files by split."""

    space: str
    title: str
    folder: str
    archive: str
    train: tuple[str, ...]
    test: str
    meta: str

    @property
    def files(self) -> tuple[str, ...]:
        """Return the files with images: those of training, then those of testing."""
        return (*self.train, self.test)


def place_of(path: Path, layouts: Iterable[Layout]) -> tuple[Layout, Path] | None:
    """Return the layout that lies at a path, and the folder or archive that holds its files; None if none of them does.

    The path is the folder with the files, or a folder with that folder or with the downloaded archive, or the archive.
    """
    for layout in layouts:
        if path.is_dir():
            for folder in (path, path / layout.folder):
                if any((folder / name).is_file() for name in layout.files):
                    return layout, folder
            if (path / layout.archive).is_file():
                return layout, path / layout.archive
        elif path.is_file():
            if path.name == layout.archive:
                return layout, path
            # "train" and "test" of CIFAR-100 may lie in any archive: there the folder tells.
            known = {name for name in layout.files if "." in name or "_" in name}
            parts = [name.split("/") for name in first_names(path)]
            if any(part[0] == layout.folder or part[-1] in known for part in parts):
                return layout, path
    return None


def lacking(layout: Layout, place: Path, found: Iterable[str]) -> None:
    """Raise `UserError` if a file with images is missing, and say which layout was met."""
    if missing := [name for name in layout.files if name not in set(found)]:
        raise UserError(
            f"{place} is {layout.title} without {', '.join(missing[:3])}{' ...' if len(missing) > 3 else ''}: unpack"
            f" {layout.archive} again, or give that file itself"
        )


def check_names(layout: Layout, place: Path, found: list[str]) -> None:
    """Raise `UserError` if the names of the classes are those of the set in another order."""
    if spaces.reordered(found, layout.space):
        raise UserError(
            f"{place}: {layout.meta} names the classes of {layout.space} in another order than was published, so that labels"
            " would stand for other classes: get it again"
        )


def images_of(rows: NDArray[np.uint8], size: int) -> Images:
    """Return rows (N, 3072), red, green and blue planes of 32 x 32 each, as images (N, size, size, 3)."""
    planes = rows.reshape(-1, 3, SIDE, SIDE)
    return sized(np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), size)


def sized(images: Images, size: int) -> Images:
    """Return images (N, H, W, 3) fitted to (N, size, size, 3) as files are (`lcrbench.images.fit`)."""
    from PIL import Image

    if images.shape[1:3] == (size, size):
        return images
    fitted = np.empty((len(images), size, size, 3), np.uint8)
    for k, image in enumerate(images):
        fitted[k] = np.asarray(fit(Image.fromarray(image), size))
    return fitted


def checked_labels(labels: NDArray[np.int64], classes: int, where: str) -> NDArray[np.int64]:
    """Return labels (N,); raises `UserError` if one is not in 0..classes-1."""
    if not len(labels):
        raise UserError(f"{where} holds no images: get it again")
    if labels.min() < 0 or labels.max() >= classes:
        wrong = int(labels.min()) if labels.min() < 0 else int(labels.max())
        raise UserError(f"{where} has the label {wrong}, and there are {classes} classes: it is damaged, get it again")
    return labels


def dataset(layout: Layout, source: str, train: Split, test: Split, published: bool | None) -> Dataset:
    """Return the data set, whose classes are the space's in its own order."""
    ids = spaces.ids(layout.space)
    return Dataset(layout.space, ids, train, test, space=layout.space, layout=source, published=published)
