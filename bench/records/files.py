"""Files that are written whole or not at all, flushed to the disk, and arrays as bytes."""

from __future__ import annotations

import hashlib
import io
import math
import zipfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from lcrbench import disk, untrusted
from lcrbench.errors import UserError


def replace_file(path: Path, content: bytes, *, flushed: bool = True) -> None:
    """Write a file whole or not at all, flushed to the disk; raises `UserError` if the disk does not take it.

    A draft lies beside it for a moment, as NAME.<token>.new: readers see the old file or the new one.
    """
    try:
        with disk.replacing(path, flushed=flushed) as draft:
            draft.write_bytes(content)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror or error}") from error


def seal_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, its sha256 before its content; raises `UserError` as `replace_file` does."""
    replace_file(path, hashlib.sha256(content).digest() + content)


def sealed_bytes(path: Path) -> bytes | None:
    """Return what `seal_bytes` wrote; None if there is no such file, or it is not what was written."""
    try:
        content = untrusted.bytes_of(path)
    except OSError:
        return None
    size = hashlib.sha256().digest_size
    return content[size:] if hashlib.sha256(content[size:]).digest() == content[:size] else None


def pack(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return arrays as the bytes of an .npz; the same input gives the same bytes."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def unpack(content: bytes) -> dict[str, np.ndarray]:
    """Return the arrays in the bytes of an .npz.

    Raises `ValueError` for what is none, and for one that unpacks out of all proportion.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            size = sum(info.file_size for info in archive.infolist())
            if size > untrusted.FREE_BYTES + untrusted.MOST_RATIO * len(content):
                raise ValueError(f"it unpacks to {size:,} bytes")
            return {name[: -len(".npy")]: _array(archive.read(name)) for name in archive.namelist()}
    except Exception as error:  # zipfile, zlib and numpy have dozens between them, and an array may state any shape
        raise ValueError(f"it is no archive of arrays ({type(error).__name__})") from error


_PLAIN = b"\x93NUMPY\x01\x00"
"""How a file of the first version of numpy's format begins. The others are for long headers, and Unicode in them."""


def _array(content: bytes) -> np.ndarray:
    """Return the array in the bytes of an .npy; raises `ValueError` for anything else, and for one of Python's objects.

    numpy's reader parses every header as an expression, which of a small array is most of the work.
    """
    if content[: len(_PLAIN)] != _PLAIN:
        return np.asarray(np.lib.format.read_array(io.BytesIO(content), allow_pickle=False))
    start = 10 + int.from_bytes(content[8:10], "little")
    shape, columns_first, dtype = _header(content[8:start])
    if dtype.hasobject or min(shape, default=0) < 0:
        raise ValueError("it is no array of numbers or text")
    flat = np.frombuffer(bytearray(content), dtype, math.prod(shape), start)
    return flat.reshape(shape, order="F" if columns_first else "C")


@lru_cache(maxsize=1024)
def _header(content: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return the shape, whether columns come first, and the type in a header, its length included."""
    return np.lib.format.read_array_header_1_0(io.BytesIO(content))
