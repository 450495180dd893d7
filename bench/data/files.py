"""Images that stay in their files: a table of where each lies, and what reads, decodes and fits one when it is asked for.

A row of the table is one image: the source (a folder, a plain tar, or a copy of what is compressed) and the place in it, the
size, and a digest of name, size and the hash of the bytes. The table may be mapped from a file (`listed.py`), so that
processes share it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lcrbench.bench.data.arrays import Images, Moments, Split, Streamed, moments_of
from lcrbench.errors import UserError
from lcrbench.images import decode

ROW: Final = np.dtype(
    [
        ("source", "<i4"),
        ("offset", "<i8"),  # -1: a file of its own, beneath the source
        ("size", "<i8"),
        ("name", "<i8"),  # where its path begins in the text of all paths
        ("length", "<i4"),
        ("digest", "u1", 32),
    ]
)

# A pipe in a file's place is not waited for.
_FLAGS: Final = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)

SAMPLE: Final = 10_000
"""Training images that mean and standard deviation are taken of, where none are declared."""

DECLARED: Final = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "imagenet1k": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}
"""Mean and standard deviation that everybody uses, by label space."""


class Place(NamedTuple):
    """Where one image lies: the number of its source, its path there, its bytes, and its digest (see `ROW`)."""

    source: int
    path: str
    offset: int
    size: int
    digest: bytes


def digest_of(name: str, content: bytes) -> bytes:
    """Return the 32 bytes that a manifest has for a file: sha256 over its name, its size and the sha256 of its bytes."""
    text = json.dumps([name, len(content), hashlib.sha256(content).hexdigest()])
    return hashlib.sha256(text.encode()).digest()


def table_of(places: Iterable[Place]) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    """Return the rows (N,) of places, and the text of all paths."""
    found = list(places)
    rows = np.zeros(len(found), ROW)
    text = bytearray()
    for k, place in enumerate(found):
        path = os.fsencode(place.path)
        rows[k] = (
            place.source,
            place.offset,
            place.size,
            len(text),
            len(path),
            np.frombuffer(place.digest, np.uint8),
        )
        text += path
    return rows, np.frombuffer(bytes(text), np.uint8)


class Files(Streamed):
    """The images of a table `rows`, with the text of their paths, in these sources, fitted to size x size pixels."""

    def __init__(self, rows: NDArray[Any], text: NDArray[np.uint8], sources: tuple[Path, ...], size: int) -> None:
        self.rows, self.text, self.sources, self.size = rows, text, sources, size

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: Any, /) -> Images:
        if isinstance(key, int | np.integer):
            return self._fitted(range(len(self))[int(key)])
        where = np.arange(len(self))[key]
        found = np.empty((len(where), self.size, self.size, 3), np.uint8)
        for k, number in enumerate(where.tolist()):
            found[k] = self._fitted(number)
        return found

    def _fitted(self, number: int) -> Images:
        return decode(*self._read(number), self.size)

    def original(self, number: int) -> Images:
        """Return one image as its file has it, (H, W, 3)."""
        return decode(*self._read(number))

    def content(self, number: int) -> bytes:
        """Return the bytes of one image's file."""
        return self._read(number)[0]

    def part(self, where: NDArray[Any]) -> Files:
        """Return some of the images, by their numbers or a boolean mask, without reading any."""
        return Files(self.rows[where], self.text, self.sources, self.size)

    def manifest(self) -> bytes:
        """Return the digests of all files, in order."""
        return np.ascontiguousarray(self.rows["digest"]).tobytes()

    def _read(self, number: int) -> tuple[bytes, str]:
        """Return the bytes of an image's file, and what to call it in an error."""
        row = self.rows[number]
        begin, length = int(row["name"]), int(row["length"])
        path = os.fsdecode(self.text[begin : begin + length].tobytes())
        source, offset, size = self.sources[int(row["source"])], int(row["offset"]), int(row["size"])
        inside = offset >= 0
        where = f"{source}: {path if path.isprintable() else ascii(path)}" if inside else os.path.join(source, path)
        try:
            file = os.open(source if inside else where, _FLAGS)
            try:
                if inside:
                    os.lseek(file, offset, os.SEEK_SET)
                # One byte more, because a file that has grown is another file.
                content = _whole(file, size if inside else size + 1)
            finally:
                os.close(file)
        except OSError as error:
            raise UserError(f"{where} cannot be read ({error.strerror}): put it back, or run it again") from error
        if len(content) != size:
            raise UserError(f"{where} has changed since the images were listed: run it again")
        return content, where


def _whole(file: int, size: int) -> bytes:
    """Return the next bytes of an open file: `size` of them, or fewer at its end."""
    parts = []
    while size > 0 and (part := os.read(file, size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def moments(space: str, train: Split, sha256: str) -> Moments:
    """Return mean and standard deviation of streamed training images: those declared for their label space.

    Else they are of 10,000 images, drawn by their positions alone (of all where there are no more), and kept in the user's
    cache by the hash of the split.
    """
    if space in DECLARED:
        mean, std = DECLARED[space]
        return Moments(np.array(mean), np.array(std), f"declared for {space}")
    from lcrbench.bench.data import disk_cache

    place = disk_cache.home() / f"moments-{sha256[:32]}.json"
    if kept := disk_cache.told(place.parent, place.name):
        return Moments(np.array(kept["mean"]), np.array(kept["std"]), kept["of"])
    chosen = np.arange(len(train))
    of = "all training images"
    if len(train) > SAMPLE:
        rank = np.random.PCG64(SAMPLE).random_raw(len(train))
        chosen = np.sort(np.argsort(rank, kind="stable")[:SAMPLE])
        of = f"{SAMPLE:,} training images, drawn by seed"
    found = moments_of(train.part(chosen).images, of)
    with contextlib.suppress(OSError):
        disk_cache.keep_facts(place, {"mean": found.mean.tolist(), "std": found.std.tolist(), "of": of})
    return found
