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
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from lcrbench import untrusted
from lcrbench.corruption_names import SEVERITIES
from lcrbench.corruptions import digests, places
from lcrbench.corruptions.members import Member, folder_names, in_tars, map_npy, read_manifest, whole
from lcrbench.corruptions.opened import Archive, Progress
from lcrbench.errors import UserError, unknown
from lcrbench.images import hides, natural

MANIFEST = "manifest.json"


@lru_cache(maxsize=1)
def published() -> dict[str, Any]:
    """Return what is known of the published archives: addresses, hashes, sizes."""
    loaded: dict[str, Any] = json.loads(Path(__file__).with_name("archives.json").read_text(encoding="utf-8"))
    return loaded


def check_download(path: str | Path, progress: Progress | None = None) -> str:
    """Compare a downloaded .tar with the published md5 of its name, and return the benchmark it belongs to.

    Raises `UserError` if no published archive has this name, or if the hash differs.
    """
    file = untrusted.place(path)
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


def open_archive(path: str | Path) -> Archive:
    """Open a corruption benchmark: a folder, a .tar, or a folder with the .tar files of ImageNet-C.

    Raises `UserError` if there is nothing to read, or if the labels are not those of five equal severities.
    """
    root = untrusted.place(path)
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
