"""idx files, the format of MNIST: four arrays of bytes with a header each."""

from __future__ import annotations

import gzip
import hashlib
import math
from pathlib import Path
from typing import Final, Protocol

import numpy as np

from lcrbench import untrusted
from lcrbench.bench.data.arrays import Dataset, Images, Split
from lcrbench.bench.data.members import damage_told
from lcrbench.errors import UserError
from lcrbench.images import fit

# Enough for any set in this format; a small file that unpacks to more is refused before it fills the memory.
_MAX_IDX_BYTES: Final = 1 << 31

PARTS: Final = ("train-images", "train-labels", "test-images", "test-labels")

_NAMES: Final = {
    "train-images": "train-images-idx3-ubyte",
    "train-labels": "train-labels-idx1-ubyte",
    "test-images": "t10k-images-idx3-ubyte",
    "test-labels": "t10k-labels-idx1-ubyte",
}


class _Readable(Protocol):
    """An open binary file, as far as it is used here."""

    def read(self, size: int, /) -> bytes: ...


def find_idx(folder: Path) -> dict[str, Path]:
    """Return the four idx files of a folder by part ("train-images", ...), or nothing if it holds none.

    They may be gzipped, and lie in the folder itself, in `raw/`, `FashionMNIST/raw/` or `MNIST/raw/`. Raises `UserError`
    if some of the four are there and others are not.
    """
    for place in (folder, folder / "raw", folder / "FashionMNIST" / "raw", folder / "MNIST" / "raw"):
        found: dict[str, Path] = {}
        for part, name in _NAMES.items():
            for path in (place / name, place / f"{name}.gz"):
                if path.is_file():
                    found.setdefault(part, path)
        if found:
            for part, name in _NAMES.items():
                if part not in found:
                    raise UserError(f"{place / name} (or .gz) is missing: the set needs all four idx files")
            return found
    return {}


def read_idx(path: Path) -> tuple[Images, str]:
    """Return the uint8 array in an idx file, gzipped if its name ends in .gz, and the sha256 of its plain content.

    The array has the shape that the file states, such as (N, 28, 28) or (N,). Raises `UserError` if the file is empty,
    truncated, too long, damaged, or not an idx file of bytes.
    """
    with damage_told(path), untrusted.opened(path) as plain:
        if path.suffix != ".gz":
            return _parse(plain, path, _MAX_IDX_BYTES)
        most = untrusted.FREE_BYTES + untrusted.MOST_RATIO * path.stat().st_size
        with gzip.open(plain) as file:
            return _parse(file, path, min(_MAX_IDX_BYTES, most))


def _parse(file: _Readable, path: Path, most: int) -> tuple[Images, str]:
    """Return array and hash of an open idx file: zero, zero, 8 (bytes), number of axes, their lengths, the values."""
    head = file.read(4)
    if not head:
        raise UserError(f"{path} is empty: get it again")
    if len(head) < 4 or head[:3] != b"\0\0\x08" or head[3] not in (1, 3):
        raise UserError(f"{path} is not an idx file of bytes (it starts with {head.hex(' ')})")
    sizes = file.read(4 * head[3])
    if len(sizes) < 4 * head[3]:
        raise UserError(f"{path} is truncated within its header: get it again")
    shape = tuple(int(n) for n in np.frombuffer(sizes, ">u4"))
    expected = math.prod(shape)
    if expected > most:
        raise UserError(
            f"{path} states a shape of {shape}: more than {most >> 20:,} MiB, out of all proportion to it: get it again"
        )
    values = file.read(expected)
    if len(values) < expected:
        raise UserError(f"{path} is truncated: {len(values)} of {expected} values are there; get it again")
    if file.read(1):
        raise UserError(f"{path} is longer than the shape {shape} that it states: it is damaged, get it again")
    digest = hashlib.sha256(head + sizes)
    digest.update(values)
    return np.frombuffer(values, np.uint8).reshape(shape), digest.hexdigest()


def from_idx(name: str, classes: tuple[str, ...], arrays: list[Images], size: int) -> Dataset:
    """Return the data set of grey images (N, H, W) and labels (N,), given in the order of `PARTS`.

    Images of 28 px are padded with zeros to 32 px; grey becomes three equal channels.
    """
    from PIL import Image

    splits = []
    for images, labels in (arrays[:2], arrays[2:]):
        if images.shape[1:] == (28, 28):
            images = np.pad(images, ((0, 0), (2, 2), (2, 2)))
        if images.shape[1:] != (size, size):
            images = np.stack([np.asarray(fit(Image.fromarray(image), size)) for image in images])
        splits.append(Split(np.repeat(images[..., None], 3, axis=3), labels.astype(np.int64)))
    return Dataset(name, classes, splits[0], splits[1])
