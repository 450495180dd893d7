"""Reads the published corruption benchmarks, and what `lcrbench corrupt` writes in the same formats.

    folder or .tar with                     read as
    fog.npy ... labels.npy                  CIFAR-10-C, CIFAR-100-C: uint8 (5 n, H, W, 3), severity after severity
    fog/1/CLASS/*.JPEG ...                  ImageNet-C, Tiny-ImageNet-C
    weather/fog/1/CLASS/*.JPEG ...          the same with the group folders

One more folder around all may be there. C-bar's and 3DCC's corruptions are read in the same formats; where the folders of
the severities have other numbers, as C-bar's script calls them (fog/2.35/CLASS/), they count as 1 to 5 in their order.

Nothing is unpacked: a .tar is read in place, and of a .npy only the slice of one severity is mapped into memory. Files
are compared with the published md5, or with the sha256 in the manifest that `lcrbench corrupt` writes, when they are
first read; a file that is unchanged since (`digests`) is not read for that again. A file that is cut off, reordered or of
the wrong kind raises `UserError`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lcrbench.corruption_names import SEVERITIES
from lcrbench.corruptions import digests, places
from lcrbench.corruptions.engine import check_severity
from lcrbench.corruptions.members import Member, folder_names, in_tars, map_npy, read_manifest, whole
from lcrbench.errors import UserError, unknown
from lcrbench.images import decode, hides, natural, why_passed

MANIFEST = "manifest.json"

Progress = Callable[[int, int, str], None]
Layout = Literal["npy", "tree"]


@lru_cache(maxsize=1)
def published() -> dict[str, Any]:
    """Return what is known of the published archives: addresses, hashes, sizes."""
    loaded: dict[str, Any] = json.loads(Path(__file__).with_name("archives.json").read_text(encoding="utf-8"))
    return loaded


def check_download(path: str | Path, progress: Progress | None = None) -> str:
    """Compare a downloaded .tar with the published md5 of its name, and return the benchmark it belongs to.

    Raises `UserError` if no published archive has this name, or if the hash differs.
    """
    file = Path(path)
    known = {name: (benchmark, md5) for benchmark, entry in published().items() for name, md5 in entry["tars"].items()}
    if not file.is_file():
        raise UserError(f"there is no file '{file}'")
    if file.name not in known:
        raise unknown("published archive", file.name, known)
    benchmark, wanted = known[file.name]
    found = digests.of(whole(file), "md5")
    if progress:
        progress(1, 1, file.name)
    if found != wanted:
        raise UserError(
            f"'{file}' is damaged or not the published {benchmark}: its md5 is {found}, not {wanted}; download it again"
        )
    return str(benchmark)


def origin(archive: Archive, progress: Progress | None = None) -> tuple[str, bool, str]:
    """Return the benchmark that an archive is of, whether its files are the published ones, and why not where that is odd.

    Arrays are compared as they are read (`Archive.verified`), and the .tar files of a tree here. An unpacked tree cannot be:
    the published hashes are those of .tar files.
    """
    if archive.manifest is not None:
        return archive.name, False, ""
    if archive.layout == "npy":
        return archive.name, archive.verified and archive.name in published(), ""
    try:
        benchmarks = {check_download(tar, progress) for tar in archive.tars}
    except UserError as error:
        return archive.name, False, str(error)
    return (benchmarks.pop(), True, "") if len(benchmarks) == 1 else (archive.name, False, "")


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


def open_archive(path: str | Path) -> Archive:
    """Open a corruption benchmark: a folder, a .tar, or a folder with the .tar files of ImageNet-C.

    Raises `UserError` if there is nothing to read, or if the labels are not those of five equal severities.
    """
    root = Path(path)
    if not root.exists():
        raise UserError(f"there is no folder or file '{root}'")
    if not (root.is_file() or root.is_dir()):
        raise UserError(f"'{root}' is no folder and no file: a device or a pipe holds no benchmark")
    tars = [root] if root.is_file() else sorted(root.glob("*.tar"))
    if not tars and (packed := sorted(root.glob("*.tar.gz"))) and not places.in_folder(root):
        raise UserError(
            f"'{packed[0]}' is compressed, and cannot be read in place: unpack it (tar -xzf {packed[0].name})"
        )
    members = in_tars(tars, MANIFEST) if tars else {f.name: whole(f) for f in root.glob("*.npy")}
    if not members and not places.in_folder(root):
        inner = [entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
        if len(inner) == 1 and (inner[0] / "labels.npy").is_file():
            return replace(open_archive(inner[0]), path=root)
    manifest = read_manifest(root, members, MANIFEST)
    if any(name.endswith(".npy") for name in members):
        return _open_npy(root, members, manifest)
    return _open_tree(root, members, manifest)


def _expected(manifest: dict[str, Any] | None) -> list[str]:
    """Return the corruptions that an archive may hold: ours, 3DCC's, and those from outside that its manifest names."""
    written = [file.partition("/")[0].removesuffix(".npy") for file in (manifest or {"files": {}})["files"]]
    return list(dict.fromkeys([*places.KNOWN, *(name for name in written if name != "labels")]))


def _open_npy(root: Path, members: dict[str, Member], manifest: dict[str, Any] | None) -> Archive:
    if "labels.npy" not in members:
        raise UserError(f"'{root}' lacks labels.npy: it is incomplete, or not in the format of CIFAR-10-C")
    md5 = members["labels.npy"].digest("md5")
    official = {entry["md5"]["labels.npy"]: name for name, entry in published().items() if "md5" in entry}
    hashes: dict[str, tuple[str, str]] = {}
    name = root.stem
    if manifest is not None:
        name = str(manifest.get("data", {}).get("name", name))
        hashes = {file: ("sha256", str(entry["sha256"])) for file, entry in manifest["files"].items()}
    elif md5 in official:
        name = official[md5]
        hashes = {file: ("md5", wanted) for file, wanted in published()[name]["md5"].items() if file in members}
    elif name in published():
        raise UserError(
            f"labels.npy in '{root}' is not that of the published {name}: its md5 is {md5}; download it again, or call a"
            " benchmark of your own by another name"
        )
    labels = map_npy(members["labels.npy"], "labels.npy", root)
    if labels.ndim != 1 or len(labels) % 5 or not np.issubdtype(labels.dtype, np.integer) or not len(labels):
        raise UserError(
            f"labels.npy in '{root}' holds {labels.dtype} {labels.shape}, not the labels of five severities"
        )
    blocks = labels.reshape(5, -1)
    if (blocks != blocks[0]).any():
        raise UserError(
            f"the labels in '{root}' differ between severities: the files are reordered, or not in CIFAR-10-C's format"
        )
    found = tuple(corruption for corruption in _expected(manifest) if f"{corruption}.npy" in members)
    if not found:
        raise UserError(f"'{root}' holds no corruption: expected files such as fog.npy")
    archive = Archive(root, "npy", name, found, (), bool(hashes), manifest, members, hashes)
    archive._labels = blocks[0].astype(np.int64)
    archive._verify("labels.npy")
    return archive


def _open_tree(root: Path, members: dict[str, Member], manifest: dict[str, Any] | None) -> Archive:
    wanted = tuple(_expected(manifest))
    where = places.in_members(members, wanted) if members else places.in_folder(root, wanted)
    found = tuple(name for name in wanted if name in where)
    if not found:
        raise UserError(
            f"'{root}' holds no corruption benchmark: expected fog.npy ... labels.npy, or folders such as fog/1/CLASS/ or "
            "weather/fog/1/CLASS/"
        )
    folders: dict[str, str] = {}
    cells: dict[str, set[str]] = {}
    for name in found:
        prefix, severities = where[name]
        for severity, folder in places.numbered(root, name, list(severities)).items():
            folders[f"{name}/{severity}"] = f"{prefix}{name}/{folder}/"
            cells[f"{name}/{severity}"] = severities[folder]
    lacking = [f"{name}/{severity}" for name in found for severity in SEVERITIES if not cells.get(f"{name}/{severity}")]
    if lacking and manifest is None:
        raise UserError(
            f"'{root}' is incomplete: it lacks {', '.join(lacking[:4])}{' ...' if len(lacking) > 4 else ''}"
        )
    # The frost of the first Tiny-ImageNet-C has 1,000 class folders where all others have 200: what all share is what
    # counts.
    found_in_all = {label for label in set.intersection(*(c for c in cells.values() if c)) if not hides((label,))}
    folder_of = _folders_of(manifest, found_in_all)
    classes = list(folder_of) or sorted(found_in_all, key=lambda label: natural((label,)))
    hashes = {cell: ("sha256", str(e["sha256"])) for cell, e in manifest["files"].items()} if manifest else {}
    name = str(manifest.get("data", {}).get("name", root.stem)) if manifest else root.stem
    return Archive(
        root,
        "tree",
        name,
        found,
        tuple(classes),
        bool(hashes),
        manifest,
        members,
        hashes,
        _folders=folders,
        _folder_of=folder_of,
    )


def _folders_of(manifest: dict[str, Any] | None, found: set[str]) -> dict[str, str]:
    """Return the folder of each class of a manifest, in its order; none unless these are the folders there are."""
    data = (manifest or {}).get("data")
    named = data.get("classes") if isinstance(data, dict) else None
    if not isinstance(named, list) or not all(isinstance(label, str) for label in named):
        return {}
    folders = dict(zip(named, folder_names(named), strict=True))
    return folders if set(folders.values()) >= found and len(folders) == len(named) else {}
