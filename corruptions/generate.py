"""Writes a corruption benchmark from any data set, in the formats of CIFAR-10-C and of ImageNet-C.

Work goes block by block, so that memory stays bounded; each finished file is renamed into place and noted with its
sha256 in `manifest.json`, so that an interrupted run goes on where it stopped and a finished one is not repeated.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, get_args

import numpy as np
from numpy.typing import NDArray

from lcrbench import disk, untrusted
from lcrbench.corruption_names import SEVERITIES
from lcrbench.corruptions.archive import MANIFEST
from lcrbench.corruptions.engine import MACHINE_DEPENDENT, corrupt, provenance
from lcrbench.corruptions.members import folder_names, tree_digest
from lcrbench.corruptions.opened import Layout, Progress
from lcrbench.corruptions.registered import find
from lcrbench.errors import UserError
from lcrbench.untrusted import json_of, small_file, whole

FORMAT = 1
BLOCK_BYTES = 8 << 20


def write(
    out: str | Path,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    names: Sequence[str],
    *,
    layout: Layout = "npy",
    classes: Sequence[str] = (),
    data: dict[str, Any] | None = None,
    seed: int = 0,
    stream: str = "",
    constants: str | None = None,
    threads: int = 1,
    frost_pictures: str | Path | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write the corruptions of (N, H, W, 3) images at all five severities, and return the path of the manifest.

    Args:
        out: the folder, new, empty, or begun by an earlier call with the same arguments.
        layout: "npy" (CORRUPTION.npy with 5 N images, severity after severity, and labels.npy) or "tree"
            (CORRUPTION/SEVERITY/CLASS/NUMBER.JPEG, of quality 85 as ImageNet-C).
        classes: (tree) the name of each label.
        data: what the manifest says of the data set, such as its name and hash.
        stream: the data set's name in the random numbers; see `corrupt`.
        frost_pictures: a folder with the official frost pictures, in place of the installed ones.
        progress: called with (images done, images in all, what is being written).

    Raises:
        UserError: if the folder holds something else, or was begun with other arguments.
    """
    folder, seed, threads = (
        untrusted.place(out),
        whole(seed, "seed"),
        whole(threads, "threads", 1, untrusted.MOST_THREADS),
    )
    untrusted.chosen(layout, "layout", get_args(Layout))
    names, classes = untrusted.words(names, "names"), untrusted.words(list(classes), "classes")
    for name in names:
        find(name)
    if not names:
        raise UserError("no corruption is named: name some, or a group such as 'common'")
    if layout == "tree" and len(classes) <= int(labels.max(initial=-1)):
        raise UserError(f"the labels go up to {int(labels.max())}, but there are {len(classes)} class names")
    height, width = images.shape[1:3]
    source = hashlib.sha256(np.ascontiguousarray(images).data).hexdigest()
    spec = {
        "format": FORMAT,
        "layout": layout,
        "data": {**(data or {}), "images": len(images), "height": height, "width": width, "images_sha256": source},
        "seed": seed,
        "stream": stream,
        "provenance": provenance(height, width, constants, names),
    }
    manifest = _begin(folder, spec)
    total = len(names) * 5 * len(images)
    done = 0

    def report(count: int, what: str) -> None:
        nonlocal done
        done += count
        if progress:
            progress(done, total, what)

    options: dict[str, Any] = {"seed": seed, "stream": stream, "constants": constants, "threads": threads}
    special = {"frost": {"pictures": frost_pictures}} if frost_pictures is not None else {}
    if layout == "npy":
        with _whole(folder / "labels.npy") as file:
            narrow = np.uint8 if labels.max(initial=0) < 256 else np.int64
            np.save(file, np.tile(labels.astype(narrow), 5))
        _note(folder, manifest, "labels.npy", hashlib.sha256(untrusted.bytes_of(folder / "labels.npy")).hexdigest())
    for name in names:
        settings = {**options, **special.get(name, {})}
        if layout == "npy":
            if _is_done(folder / f"{name}.npy", manifest):
                report(5 * len(images), name)
            else:
                digest = _write_npy(folder / f"{name}.npy", images, name, settings, report)
                _note(folder, manifest, f"{name}.npy", digest)
            continue
        for severity in SEVERITIES:
            cell = f"{name}/{severity}"
            if cell in manifest["files"] and (folder / cell).is_dir():
                report(len(images), cell)
            else:
                digest = _write_cell(folder / cell, images, labels, classes, name, severity, settings, report)
                _note(folder, manifest, cell, digest)
    return folder / MANIFEST


def _begin(folder: Path, spec: dict[str, Any]) -> dict[str, Any]:
    """Return the folder's manifest, an empty one at first. Raises `UserError` unless it tells of the same work."""
    place = folder / MANIFEST
    if place.is_file():
        try:
            manifest: dict[str, Any] = json_of(small_file(place, "manifest"), str(place))
        except ValueError as error:
            raise UserError(f"'{place}' cannot be read ({error}): remove the folder to begin again") from error
        differing = [key for key in spec if manifest.get(key) != json.loads(json.dumps(spec[key]))]
        if differing:
            raise UserError(
                f"'{folder}' was begun with another {', '.join(differing)}: choose another folder, or remove this one"
            )
        return manifest
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"'{folder}' is not empty and holds no {MANIFEST}: choose another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to '{folder}': {error.strerror}") from error
    return {**spec, "files": {}}


def _note(folder: Path, manifest: dict[str, Any], name: str, digest: str) -> None:
    kind = name.partition("/")[0].removesuffix(".npy")
    entry: dict[str, Any] = {"sha256": digest}
    if (folder / name).is_file():
        entry["bytes"] = (folder / name).stat().st_size
    if manifest["layout"] == "tree" or kind in MACHINE_DEPENDENT:
        entry["depends_on"] = MACHINE_DEPENDENT.get(kind, "the JPEG encoder of Pillow")
    elif kind in manifest["provenance"].get("outside", {}):
        entry["depends_on"] = "the versions of its libraries"
    manifest["files"][name] = entry
    with _whole(folder / MANIFEST) as file:
        file.write((json.dumps(manifest, indent=1) + "\n").encode())


def _is_done(file: Path, manifest: dict[str, Any]) -> bool:
    entry = manifest["files"].get(file.name)
    return entry is not None and file.is_file() and file.stat().st_size == entry["bytes"]


@contextlib.contextmanager
def _whole(place: Path) -> Iterator[BinaryIO]:
    """Open a file that takes its name only when it is whole; the part that a killed process left is written over."""
    with disk.replacing(place, draft=_part(place)) as part, part.open("wb") as file:
        yield file


def _part(place: Path) -> Path:
    return place.with_name(f"{place.name}.part")


def _blocks(images: NDArray[np.uint8]) -> Iterator[NDArray[np.int64]]:
    step = max(16, BLOCK_BYTES // max(images[0].nbytes, 1)) if len(images) else 1
    for first in range(0, len(images), step):
        yield np.arange(first, min(first + step, len(images)))


def _write_npy(place: Path, images: NDArray[np.uint8], name: str, options: dict[str, Any], report: Any) -> str:
    digest = hashlib.sha256()
    with _whole(place) as file:
        header = io.BytesIO()
        shape = (5 * len(images), *images.shape[1:])
        np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
        file.write(header.getvalue())
        digest.update(header.getvalue())
        for severity in SEVERITIES:
            for block in _blocks(images):
                result = corrupt(images[block], name, severity, indices=block, **options)
                file.write(result.data)
                digest.update(result.data)
                report(len(block), name)
    return digest.hexdigest()


def _write_cell(
    place: Path,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    classes: Sequence[str],
    name: str,
    severity: int,
    options: dict[str, Any],
    report: Any,
) -> str:
    from PIL import Image

    part = _part(place)
    shutil.rmtree(part, ignore_errors=True)
    folders = folder_names(classes)
    for folder in folders:
        (part / folder).mkdir(parents=True, exist_ok=True)
    for block in _blocks(images):
        result = corrupt(images[block], name, severity, indices=block, **options)
        for k, image in zip(block.tolist(), result, strict=True):
            Image.fromarray(image).save(part / folders[labels[k]] / f"{k:08d}.JPEG", quality=85, optimize=True)
        report(len(block), f"{name}/{severity}")
    shutil.rmtree(place, ignore_errors=True)
    part.replace(place)
    files = sorted(place.glob("*/*"), key=lambda f: f"{f.parent.name}/{f.name}")
    return tree_digest((f"{f.parent.name}/{f.name}", untrusted.bytes_of(f)) for f in files)
