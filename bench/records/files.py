"""Files that are written whole or not at all, flushed to the disk, and arrays as bytes."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

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
        with np.load(io.BytesIO(content), allow_pickle=False) as packed:
            found = {name: packed[name] for name in packed.files}
    except Exception as error:  # zipfile, zlib and numpy have dozens between them, and an array may state any shape
        raise ValueError(f"it is no archive of arrays ({type(error).__name__})") from error
    if strange := [name for name, array in found.items() if not isinstance(array, np.ndarray)]:
        raise ValueError(f"it holds {strange[0]!a}, which is no array")
    return found
