"""A corruption benchmark that lies open: its images and labels, read where they are, and the hashes of its files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lcrbench.corruption_names import SEVERITIES
from lcrbench.corruptions import digests
from lcrbench.corruptions.engine import check_severity
from lcrbench.corruptions.members import Member, map_npy, whole
from lcrbench.errors import UserError, unknown
from lcrbench.images import decode, natural, why_passed

Progress = Callable[[int, int, str], None]
Layout = Literal["npy", "tree"]


@dataclass
class Archive:
    """A corruption benchmark on disk.

    `name` is that of the published benchmark, or of the data set in the manifest; `verified` says whether there are
    hashes to compare with. `corruptions` lists what it holds, in the order of the paper. `classes` are the class
    folders of a tree: in the order of the manifest, which is that of the data set, else in natural order ("2" before
    "10"), as data sources number them. `passed_over` are the files met so far that are no images.
    """

    path: Path
    layout: Layout
    name: str
    corruptions: tuple[str, ...]
    classes: tuple[str, ...]
    verified: bool
    manifest: dict[str, Any] | None = field(repr=False)
    _members: dict[str, Member] = field(repr=False)
    _hashes: dict[str, tuple[str, str]] = field(repr=False)
    _checked: set[str] = field(default_factory=set, repr=False)
    _folders: dict[str, str] = field(default_factory=dict, repr=False)
    _labels: NDArray[np.int64] | None = field(default=None, repr=False)
    _listed: tuple[object, tuple[list[tuple[str, Member]], NDArray[np.int64]]] | None = field(default=None, repr=False)
    passed_over: set[str] = field(default_factory=set, repr=False)
    _folder_of: dict[str, str] = field(default_factory=dict, repr=False)

    def load(
        self, name: str, severity: int, indices: ArrayLike | None = None, *, classes: tuple[str, ...] | None = None
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Return the images (n, H, W, 3), uint8, and the labels (n,), int64, of one corruption and severity.

        `indices` selects images by their number; `classes` keeps those of a tree's class folders, numbered in the given
        order. A .npy slice is a read-only memory map unless `indices` are given. Raises `UserError` for what is missing
        or damaged.
        """
        check_severity(severity)
        if name not in self.corruptions:
            raise unknown(f"corruption in {self.path.name}", name, self.corruptions)
        if self.layout == "npy":
            if classes is not None:
                raise UserError(f"'{self.path}' holds no class folders: 'classes' is for trees")
            return self._load_npy(name, severity, indices)
        return self._load_tree(name, severity, indices, classes or self.classes)

    @property
    def labels(self) -> NDArray[np.int64]:
        """The labels of a .npy archive's base images, (n,)."""
        if self._labels is None:
            raise UserError(f"'{self.path}' is a tree: its labels come with `load`")
        return self._labels

    @property
    def tars(self) -> list[Path]:
        """The .tar files that are read in place; none where files lie unpacked."""
        return sorted({m.path for m in self._members.values() if m.path.suffix != ".npy"})

    def labels_of(self, name: str, severity: int, classes: tuple[str, ...] | None = None) -> NDArray[np.int64]:
        """Return the labels (n,) that `load` gives, without reading an image. Raises `UserError` as `load` does."""
        if self.layout == "npy":
            return self.labels
        return self._tree_files(name, severity, classes or self.classes)[1]

    def check(self, progress: Progress | None = None) -> None:
        """Compare every file with its hash now. Raises `UserError` at the first that differs, or if no hashes are known."""
        if not self.verified:
            raise UserError(
                f"no hashes are known for '{self.path}': it is neither published nor written by lcrbench corrupt"
            )
        with digests.anew():
            for done, member in enumerate(self._hashes):
                self._verify(member)
                if progress:
                    progress(done + 1, len(self._hashes), member)

    def hashes(self) -> dict[str, str]:
        """Return a hash of each file or cell: the known one, which is compared when it is read, or that of its bytes.

        Of a published tree the hashes of its .tar files are known, which `check_download` compares: those stand for all.
        """
        if self._hashes:
            return {name: f"{algorithm} {wanted}" for name, (algorithm, wanted) in self._hashes.items()}
        if self.layout == "npy":
            return {name: digests.of(member, "sha256") for name, member in self._members.items()}
        if self._members:
            return {
                path.name: digests.of(whole(path), "md5") for path in sorted({m.path for m in self._members.values()})
            }
        cells = [f"{name}/{severity}" for name in self.corruptions for severity in SEVERITIES]
        return {cell: digests.of_tree(self._cell(cell)) for cell in cells}

    def _verify(self, name: str) -> None:
        if name in self._checked or name not in self._hashes:
            return
        algorithm, wanted = self._hashes[name]
        if name in self._members:
            found = digests.of(self._members[name], algorithm)
        else:
            found = digests.of_tree(self._cell(name))
        if found != wanted:
            raise UserError(
                f"'{name}' in '{self.path}' is damaged or reordered: its {algorithm} is {found}, not {wanted}"
            )
        self._checked.add(name)

    def _load_npy(
        self, name: str, severity: int, indices: ArrayLike | None
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        self._verify(f"{name}.npy")
        array = map_npy(self._members[f"{name}.npy"], f"{name}.npy", self.path)
        count = len(self.labels)
        if array.dtype != np.uint8 or array.ndim not in (3, 4):
            raise UserError(f"'{name}.npy' in '{self.path}' holds {array.dtype} {array.shape}, not uint8 images")
        if len(array) != 5 * count:
            raise UserError(
                f"'{name}.npy' in '{self.path}' holds {len(array)} images, not 5 x {count} as labels.npy tells"
            )
        part = array[(severity - 1) * count : severity * count]
        if indices is None:
            return part, self.labels
        chosen = np.asarray(indices)
        return np.ascontiguousarray(part[chosen]), self.labels[chosen]

    def _cell(self, cell: str) -> list[tuple[str, Member]]:
        """Return the image files of a cell "corruption/severity", in the order of their hash: as plain text."""
        prefix = self._folders.get(cell, f"{cell}/")
        if self._members:
            found = {key[len(prefix) :]: member for key, member in self._members.items() if key.startswith(prefix)}
        else:
            folder = self.path / prefix
            files = [f for f in folder.glob("*/*") if f.is_file()] if folder.is_dir() else []
            found = {f"{f.parent.name}/{f.name}": Member(f, 0, f.stat().st_size) for f in files}
        # What a system left there (.DS_Store, Thumbs.db, ._1.JPEG) is no image, and has no part in the hash either.
        strays = {key for key in found if why_passed(tuple(key.split("/")))}
        self.passed_over.update(f"{prefix}{key}" for key in strays)
        return sorted((key, member) for key, member in found.items() if key not in strays)

    def _tree_files(
        self, name: str, severity: int, classes: tuple[str, ...]
    ) -> tuple[list[tuple[str, Member]], NDArray[np.int64]]:
        """Return the files of a cell in the order in which data sources return class folders, and their labels."""
        cell = f"{name}/{severity}"
        if self._listed and self._listed[0] == (cell, classes):
            return self._listed[1]
        number = {self._folder_of.get(label, label): k for k, label in enumerate(classes)}
        # Ours are numbered through all classes, as the data set's images are.
        order = (lambda parts: natural(parts[1:])) if self._folder_of else natural
        cell_files = sorted(self._cell(cell), key=lambda entry: order(tuple(entry[0].split("/"))))
        files = [(key, member) for key, member in cell_files if key.partition("/")[0] in number]
        missing = number.keys() - {key.partition("/")[0] for key, _ in files}
        if missing:
            raise UserError(
                f"'{cell}' in '{self.path}' lacks {len(missing)} of {len(classes)} classes, such as '{min(missing)}': "
                "the archive is incomplete"
            )
        found = files, np.array([number[key.partition("/")[0]] for key, _ in files], np.int64)
        self._listed = (cell, classes), found  # images are asked for in parts
        return found

    def _load_tree(
        self, name: str, severity: int, indices: ArrayLike | None, classes: tuple[str, ...]
    ) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        cell = f"{name}/{severity}"
        self._verify(cell)
        files, labels = self._tree_files(name, severity, classes)
        if indices is not None:
            chosen = np.asarray(indices)
            files, labels = [files[k] for k in chosen.tolist()], labels[chosen]
        images = np.empty((0, 0, 0, 3), np.uint8)
        for k, (key, member) in enumerate(files):
            image = decode(member.read(), f"'{cell}/{key}' in '{self.path}'")
            if k == 0:
                images = np.empty((len(files), *image.shape), np.uint8)
            elif image.shape != images.shape[1:]:
                shapes = sorted({image.shape, images.shape[1:]})
                raise UserError(f"'{cell}' in '{self.path}' holds images of different sizes: {shapes}")
            images[k] = image
        return images, labels
