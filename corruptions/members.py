"""Files on disk and inside .tar archives, read in place: their bytes, their hashes, and arrays mapped into memory."""

from __future__ import annotations

import hashlib
import math
import os
import re
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, BinaryIO, Final, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from lcrbench import untrusted
from lcrbench.errors import UserError
from lcrbench.untrusted import json_of

_LARGEST_HEADER: Final = 1 << 20
"""Bytes of the header of a member in a .tar: a name of a kB takes three blocks of 512."""


class Member(NamedTuple):
    """A file, or the part of a .tar that holds one."""

    path: Path
    offset: int
    size: int

    def read(self) -> bytes:
        """Return the bytes; raises `UserError` for more than a small file has."""
        if self.size > untrusted.FILE_BYTES:
            raise UserError(f"'{self.path}' holds a file of {self.size:,} bytes, more than an image has: get it again")
        with untrusted.opened(self.path) as file:
            file.seek(self.offset)
            return file.read(self.size)

    def digest(self, algorithm: str) -> str:
        """Return the hash of the bytes in hexadecimal, read in blocks."""
        digest = hashlib.new(algorithm, usedforsecurity=False)
        with untrusted.opened(self.path) as file:
            file.seek(self.offset)
            left = self.size
            while left and (block := file.read(min(left, 1 << 20))):
                digest.update(block)
                left -= len(block)
        return digest.hexdigest()


def folder_names(classes: Sequence[str]) -> list[str]:
    """Return the names of the class folders of a tree that `lcrbench corrupt` writes, in the order of the classes.

    None of them is hidden, and none has another meaning to a file system.

    >>> folder_names(["T-shirt/top", ".git"])
    ['T-shirt_top', '_.git']
    """
    folders = [re.sub(r"[^\w.-]+", "_", label) or "_" for label in classes]
    folders = [f"_{folder}" if folder.startswith(".") or folder == "__MACOSX" else folder for folder in folders]
    if len(set(folders)) < len(folders):
        folders = [f"{k:04d}-{folder}" for k, folder in enumerate(folders)]
    return folders


def whole(file: Path) -> Member:
    """Return a file as a member; raises `UserError` for what is no regular file, or cannot be opened."""
    try:
        with untrusted.opened(file) as found:
            return Member(file, 0, os.fstat(found.fileno()).st_size)
    except OSError as error:
        raise UserError(f"'{file}' cannot be read ({error.strerror or error})") from error


def in_tars(tars: list[Path], manifest: str) -> dict[str, Member]:
    """Return the files of .tar archives by their path; those of an archive of .npy files by their name alone."""
    found: dict[str, Member] = {}
    for tar in tars:
        try:
            with (
                untrusted.opened(tar) as plain,
                tarfile.open(fileobj=cast(IO[bytes], _Headers(plain)), mode="r:") as opened,
            ):
                end = -1
                for info in opened:
                    # A size below 0 would lead back to what was read before, for ever.
                    if info.size < 0 or info.offset <= end:
                        raise tarfile.ReadError("a header in it is wrong")
                    end = info.offset
                    if info.isfile():
                        found[info.name.removeprefix("./")] = Member(tar, info.offset_data, info.size)
        except UserError:
            raise
        except Exception as error:  # tarfile raises what its parsers raise
            if isinstance(error, OSError) and error.errno:
                raise UserError(f"'{tar}' cannot be read ({error.strerror or error})") from error
            if _begins(tar) == b"\x1f\x8b":
                raise UserError(
                    f"'{tar}' is compressed, and cannot be read in place: unpack it (tar -xzf {tar.name})"
                ) from error
            raise UserError(f"'{tar}' is not a readable .tar, or is cut off: {error}") from error
        size = tar.stat().st_size
        for name, member in found.items():
            if member.path == tar and member.offset + member.size > size:
                raise UserError(f"'{tar}' is cut off within '{name}': download it again")
    flat = {name.rpartition("/")[2]: member for name, member in found.items() if name.endswith((".npy", manifest))}
    return flat if any(name.endswith(".npy") for name in flat) else found


class _Headers:
    """An open .tar of which headers alone are read, and none so large that it must be a bomb."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.seek, self.tell = file, file.seek, file.tell

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _LARGEST_HEADER:
            raise tarfile.ReadError(f"a header in it states {size:,} bytes")
        content = self.file.read(size)
        untrusted.check_header(content if size > tarfile.BLOCKSIZE else b"")
        return content


def _begins(file: Path) -> bytes:
    with untrusted.opened(file) as opened:
        return opened.read(2)


def map_npy(member: Member, name: str, root: Path) -> NDArray[Any]:
    """Return a .npy file, or one inside a .tar, as a read-only memory map."""
    with untrusted.opened(member.path) as file:
        file.seek(member.offset)
        try:
            version = np.lib.format.read_magic(file)
            if not 0 < version[0] <= 3:
                raise ValueError(f"it is of version {version[0]}.{version[1]}")
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            stated, fortran, dtype = read(file)
            shape = tuple(map(int, stated))  # numpy takes True for a length
        except Exception as error:  # numpy has the header parsed as Python, which fails in any way
            reason = str(error).partition("\n")[0][:200] or type(error).__name__
            raise UserError(f"'{name}' in '{root}' is not a .npy file: {reason}") from error
        start = file.tell()
    if dtype.kind not in "biuf" or fortran or len(shape) > 8 or any(n < 0 for n in shape):
        raise UserError(f"'{name}' in '{root}' is not a plain array of images")
    # Not numpy's product, which goes round at 64 bits.
    size = math.prod(shape) * dtype.itemsize
    if start + size > member.offset + member.size:
        raise UserError(
            f"'{name}' in '{root}' is cut off: {member.size} bytes instead of {start - member.offset + size}"
        )
    if not size:
        return np.zeros(shape, dtype)
    return np.memmap(member.path, dtype, "r", start, shape)


def tree_digest(files: Iterator[tuple[str, bytes]]) -> str:
    """Return the sha256 of a cell's files: names and contents, in the given order."""
    digest = hashlib.sha256()
    for name, content in files:
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def read_manifest(root: Path, members: dict[str, Member], called: str) -> dict[str, Any] | None:
    """Return the manifest of a benchmark that `lcrbench corrupt` wrote; None if there is none."""
    inside = next((members[name] for name in members if name.rpartition("/")[2] == called), None)
    if inside is None:
        if root.is_file() or not (root / called).is_file():
            return None
        inside = whole(root / called)
    try:
        loaded: dict[str, Any] = json_of(inside.read(), f"the {called} of '{root}'")
        files, data = loaded["files"], loaded.get("data", {})
        if not isinstance(data, dict) or not all(isinstance(entry["sha256"], str) for entry in files.values()):
            raise ValueError("it is none that lcrbench corrupt wrote")
        if any(".." in name.split("/") or name.startswith("/") or not name.isprintable() for name in files):
            raise ValueError("it names files outside of the benchmark")
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise UserError(f"the {called} of '{root}' cannot be read: {error}") from error
    return loaded
