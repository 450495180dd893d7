"""Lists and reads the files in folders and archives (tar, tar.gz, tar.xz, tar.bz2, zip), without unpacking to disk.

An archive is read forward, in one pass. What is damaged, too large or points outside raises `UserError`.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, NoReturn, Protocol, cast

from lcrbench.errors import UserError

ARCHIVE_SUFFIXES: Final = (".tar.xz", ".tar", ".tar.gz", ".zip", ".tar.bz2", ".txz", ".tgz", ".tbz2")

# The largest file in an archive: images of data sets are far smaller, and a larger one may be a bomb.
MAX_FILE_BYTES: Final = 1 << 26

# The deepest folder that is entered. Deeper ones come from links that lead back.
MAX_DEPTH: Final = 32

_OPENERS: Final[dict[bytes, Callable[[Path], Any]]] = {
    b"\xfd7zXZ\0": lzma.open,
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
}


class Member(NamedTuple):
    """A file or folder of a tree; a file's `read` is to be called before the next member is asked for."""

    path: str
    where: str
    read: Callable[[], bytes] | None  # None: a folder


class _Readable(Protocol):
    """An open binary file, as far as it is used here."""

    def read(self, size: int, /) -> bytes: ...


def members(source: Path) -> Iterator[Member]:
    """Yield what a folder or an archive holds."""
    return _folder_members(source) if source.is_dir() else _archive_members(source)


def is_archive(path: Path) -> bool:
    """Tell whether a file is an archive that `members` reads: by its name, or else by its first bytes."""
    if not path.is_file():
        return False
    if path.name.endswith(ARCHIVE_SUFFIXES):
        return True
    with path.open("rb") as file:
        head = file.read(512)
    return head.startswith((b"PK", *_OPENERS)) or head[257:262] == b"ustar"


def stem(archive: Path) -> str:
    """Return the name of an archive without the suffix of its format."""
    name = archive.resolve().name
    return next((name.removesuffix(suffix) for suffix in ARCHIVE_SUFFIXES if name.endswith(suffix)), name)


def not_an_archive(path: Path) -> UserError:
    """Return the error for a file that is no archive."""
    return UserError(f"{path} is neither a tar (plain, xz, gz, bz2) nor a zip archive")


def _folder_members(root: Path) -> Iterator[Member]:
    """Yield what lies beneath a folder; links are followed."""

    def fail(error: OSError) -> NoReturn:
        raise error

    for place, folders, files in os.walk(root, onerror=fail, followlinks=True):
        folders.sort()
        here = Path(place)
        depth = len(here.relative_to(root).parts)
        if depth > MAX_DEPTH:
            raise UserError(f"{place} lies too deep: remove the link that leads back to a folder above it")
        if depth:
            yield Member(here.relative_to(root).as_posix(), place, None)
        for file in sorted(files):
            yield Member((here / file).relative_to(root).as_posix(), str(here / file), partial(_read_file, here / file))


def _read_file(path: Path) -> bytes:
    """Return the content of an image file of ordinary size."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"{path} is no regular file: remove it")
    _check_size(str(path), status.st_size)
    return path.read_bytes()


def _inside(archive: Path, name: str) -> str:
    """Return what to call a member in an error: a strange name must not break the line or the terminal."""
    return f"{archive}: {name if name.isprintable() else ascii(name)}"


def _check_size(where: str, size: int) -> None:
    if size > MAX_FILE_BYTES:
        raise UserError(f"{where} has {size:,} bytes, more than {MAX_FILE_BYTES >> 20} MiB: remove it")


@contextmanager
def damage_told(path: Path) -> Iterator[None]:
    """Turn what goes wrong while `path` is read into the error that tells the user."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # gzip, lzma, tarfile and zipfile have dozens between them
        if isinstance(error, OSError) and error.errno:
            raise  # no permission, no such file ...: `load` reports it
        raise UserError(f"{path} is truncated or damaged ({error or type(error).__name__}): get it again") from error


def _archive_members(path: Path) -> Iterator[Member]:
    """Yield the members of an archive, whose format is read from its first bytes, not from its name."""
    with damage_told(path):
        with path.open("rb") as file:
            head = file.read(512)
        if not head:
            raise UserError(f"{path} is empty: get it again")
        if head.startswith(b"PK"):
            yield from _zip_members(path)
            return
        unpack = next((opener for magic, opener in _OPENERS.items() if head.startswith(magic)), None)
        if unpack is None and head[257:262] != b"ustar":
            raise not_an_archive(path)
        with unpack(path) if unpack else path.open("rb") as file:
            yield from _tar_members(path, _Stream(file, path))


class _Stream:
    """An unpacked tar: read forward only, and never a block so large that it must be a bomb."""

    def __init__(self, file: _Readable, path: Path) -> None:
        self.file = file
        self.path = path
        self.position = 0

    def read(self, size: int) -> bytes:
        # tarfile reads the headers of long names at once, as large as they say that they are.
        _check_size(f"{self.path}: a member or its header", size - tarfile.BLOCKSIZE)
        data = self.file.read(size)
        self.position += len(data)
        return data

    def tell(self) -> int:
        return self.position

    def seek(self, position: int) -> None:
        while self.position < position and self.read(min(position - self.position, 1 << 20)):
            pass

    def read_exactly(self, size: int) -> bytes:
        data = self.read(size)
        if len(data) < size:
            raise EOFError("it ends within a file")
        return data


def _tar_members(path: Path, stream: _Stream) -> Iterator[Member]:
    """Yield the members of an unpacked tar. What tarfile takes for the end of an archive is checked."""
    with tarfile.open(fileobj=cast(IO[bytes], stream), mode="r:", errorlevel=2) as tar:
        for member in tar:
            where = _inside(path, member.name)
            if member.isdir():
                yield Member(member.name, where, None)
            elif member.islnk() or member.issym() or member.issparse():
                raise UserError(f"{where} is a link or a sparse file: make the archive again with plain files")
            else:
                _check_size(where, member.size)
                yield Member(member.name, where, partial(stream.read_exactly, member.size))
        # tarfile stops without a word at a damaged header, and where the file just ends; a whole archive goes on with
        # nothing but zeros. Reading them also checks the checksum of the compressed file.
        if stream.tell() < tar.offset + tarfile.BLOCKSIZE:
            raise EOFError("its end is missing")
    while rest := stream.read(1 << 20):
        if rest.strip(b"\0"):
            raise EOFError("a header in it is wrong")


def _zip_members(path: Path) -> Iterator[Member]:
    """Yield the members of a zip archive; each is checked against its CRC when it is read."""

    def read(info: zipfile.ZipInfo) -> bytes:
        with archive.open(info) as file:
            return file.read(info.file_size + 1)  # with a bound, since the stated size may be a lie

    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            where = _inside(path, info.filename)
            if info.is_dir():
                yield Member(info.filename, where, None)
            else:
                _check_size(where, info.file_size)
                yield Member(info.filename, where, partial(read, info))
