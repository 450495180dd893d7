"""Corrupted test images, made once and shared by the networks of a grid.

    FOLDER/<key>.cell      the images of one cell (N, H, W, 3) uint8, after the sha256 of these bytes

The first process that needs a file makes it, under a lease; each maps it into memory and checks its hash. The folder is
bounded: cells that would make it larger than `limit` bytes are not kept. It may be deleted at any time.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lcrbench import corruptions, disk, registry, untrusted
from lcrbench.bench.records import source
from lcrbench.bench.records.ids import canonical
from lcrbench.bench.records.lease import Held, Lease
from lcrbench.bench.records.spec import Cell
from lcrbench.corruptions.registered import Name, is_ours
from lcrbench.errors import UserError

LIMIT = 1 << 30
_HASH = hashlib.sha256().digest_size


class Shows(Protocol):
    """Gives the images of a cell: made here (`Cells`), or read from a published benchmark."""

    def images(
        self, clean: NDArray[np.uint8], cell: Cell, indices: NDArray[np.int64], *, seed: int, stream: str
    ) -> NDArray[np.uint8]:
        """Return images (N, H, W, 3) of a cell; the clean ones for the clean cell."""
        ...


@dataclass(frozen=True)
class Cells:
    """Where corrupted images are kept: `folder`, None to keep none, and at most how many bytes."""

    folder: Path | None = None
    limit: int = LIMIT

    def images(
        self, clean: NDArray[np.uint8], cell: Cell, indices: NDArray[np.int64], *, seed: int, stream: str
    ) -> NDArray[np.uint8]:
        """Return images (N, H, W, 3) under a corruption; the clean ones for the clean cell.

        Randomness depends on (seed, stream, corruption, severity, the image's position in `indices`) alone. Where the disk
        takes no file, the images are made all the same.
        """
        if not cell.corruption:
            return clean

        def make() -> NDArray[np.uint8]:
            made: NDArray[np.uint8] = corruptions.corrupt(
                clean, cell.corruption, cell.severity, seed=seed, stream=stream, indices=indices
            )
            return made

        if self.folder is None:
            return make()
        size = clean.shape[1]
        facts = {
            "stream": stream,
            "seed": seed,
            "cell": list(cell),
            "shape": clean.shape,
            "indices": hashlib.sha256(indices.tobytes()).hexdigest(),
            "engine": corruptions.provenance(size, size, names=[cell.corruption]),
        }
        if not is_ours(cell.corruption):
            # A command that was killed leaves its cache, and the code of a plug-in may change before the next one.
            module = registry.module_name("corruption", Name.read(cell.corruption).module)
            facts["code"] = source.closure([module]).sha256
        path = self.folder / f"{hashlib.sha256(canonical(facts).encode()).hexdigest()[:24]}.cell"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # The holder makes the cell meanwhile. A holder that was killed does not block the others for ever.
            with Lease(path.with_suffix(".lease"), fences=False):
                if (kept := _read(path, clean.shape)) is None and self._has_room(clean.nbytes):
                    _write(path, make())
                    kept = _read(path, clean.shape)
        except (OSError, UserError, Held):
            kept = None
        return make() if kept is None else kept

    def _has_room(self, size: int) -> bool:
        """Tell whether a cell of so many bytes may be kept.

        What is there stays: networks ask for the same cells in the same order, so that to give up the oldest would give up
        each just before it is asked for again.
        """
        assert self.folder is not None
        return sum(f.stat().st_size for f in self.folder.glob("*.cell")) + size + _HASH <= self.limit

    def clear(self) -> None:
        """Delete what is kept; maps of it that are open stay readable."""
        if self.folder is not None and self.folder.is_dir():
            shutil.rmtree(self.folder, ignore_errors=True)


def _read(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
    """Return the images in a file; None if there is none, or it is not what was written."""
    try:
        with untrusted.opened(path) as file:
            whole = np.memmap(file, np.uint8, "r")
    except (OSError, ValueError):
        return None
    body = whole[_HASH:]
    if len(body) != int(np.prod(shape)) or hashlib.sha256(body.data).digest() != whole[:_HASH].tobytes():
        return None
    images: NDArray[np.uint8] = body.reshape(shape)
    return images


def _write(path: Path, images: NDArray[np.uint8]) -> None:
    body = np.ascontiguousarray(images).data
    with disk.replacing(path) as draft, draft.open("wb") as file:
        file.write(hashlib.sha256(body).digest())
        file.write(body)
