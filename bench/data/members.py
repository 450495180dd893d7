"""Lists and reads the files in folders and archives (tar, tar.gz, tar.xz, tar.bz2, zip), without unpacking to disk.

An archive is read forward, in one pass; so is a tar inside of a tar. What is damaged, too large or points outside raises
`UserError`.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import stat
import tarfile
import unicodedata
import zipfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, nullcontext
from functools import lru_cache, partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO, Final, NamedTuple, NoReturn, Protocol, cast

from lcrbench import untrusted
from lcrbench.errors import UserError
from lcrbench.images import hides as hides
from lcrbench.images import why_passed as why_passed

ARCHIVE_SUFFIXES: Final = (".tar.xz", ".tar", ".tar.gz", ".zip", ".tar.bz2", ".txz", ".tgz", ".tbz2")

# The largest file in an archive: images of data sets are far smaller, and a larger one may be a bomb.
MAX_FILE_BYTES: Final = 1 << 26

# Zeros behind the last file of a tar: writers fill up a block of 10 kB, and tapes had larger ones.
_MAX_PADDING: Final = 1 << 22

# The deepest folder that is entered. Deeper ones come from links that lead back.
MAX_DEPTH: Final = 32

_OPENERS: Final[dict[bytes, Callable[[BinaryIO], Any]]] = {
    b"\xfd7zXZ\0": lzma.open,
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
}


class Readable(Protocol):
    """An open binary file, as far as it is used here."""

    def read(self, size: int, /) -> bytes:
        """Return at most so many bytes, none at the end."""
        ...


class Member(NamedTuple):
    """A file or folder of a tree; a file's `read` is to be called before the next member is asked for.

    `stream` opens a file of any size to be read forward; None where it cannot be. `offset` is where its bytes begin in the
    archive's file, as they are; -1 for a file of its own, None where the archive is compressed.
    """

    path: str
    where: str
    read: Callable[[], bytes] | None  # None: a folder
    stream: Callable[[], Readable] | None = None
    offset: int | None = None


def members(source: Path, largest: int = MAX_FILE_BYTES) -> Iterator[Member]:
    """Yield what a folder or an archive holds; a file of more than `largest` bytes is refused when it is read."""
    return _folder_members(source, largest) if source.is_dir() else _archive_members(source, largest)


def inside(member: Member, source: Path) -> Iterator[Member]:
    """Yield what a tar holds that is itself a member of a folder or a tar."""
    if member.stream is None:
        raise UserError(f"{member.where} is an archive within a zip: unpack the zip first")
    with damage_told(source):
        begin = None if member.offset == -1 else member.offset
        yield from _tar_members(source, _Stream(member.stream(), source, MAX_FILE_BYTES, None), begin)


def parts_of(member: Member, source: Path) -> tuple[str, ...]:
    """Return a member's path, part by part; raises `UserError` if it points outside of the archive, or a file has none.

    macOS writes an accented letter as two characters, others as one: the same name must be the same class.
    """
    path = member.path if member.path.isascii() else unicodedata.normalize("NFC", member.path)
    parts = tuple(part for part in path.split("/") if part not in ("", "."))
    if ".." in parts or member.path.startswith("/"):
        raise UserError(f"{member.where} points outside of the archive: make the archive again with plain paths")
    if not parts and member.read:
        raise UserError(f"{source} holds a file without a name: make the archive again")
    return parts


def files_of(place: Path, wanted: Collection[str], largest: int) -> dict[str, bytes]:
    """Return the wanted files by name: those that lie in a folder itself, or anywhere in an archive.

    What is not there is left out. Raises `UserError` for a name that is there twice, or a file of more than `largest` bytes.
    """
    if place.is_dir():
        return {name: _read_file(place / name, largest) for name in wanted if (place / name).is_file()}
    found: dict[str, bytes] = {}
    for member in members(place, largest):
        parts = parts_of(member, place)
        if member.read is None or parts[-1] not in wanted or hides(parts[:-1]):
            continue
        if parts[-1] in found:
            raise UserError(f"{member.where} is there twice: make the archive again")
        with damage_told(place):
            found[parts[-1]] = member.read()
    return found


def first_names(archive: Path, number: int = 4) -> list[str]:
    """Return the paths of the first members of an archive; fewer, or none, where it is damaged or no archive."""
    try:
        status = archive.stat()
    except OSError:
        return []
    return list(_first_names(archive, number, status.st_ino, status.st_size, status.st_mtime_ns))


@lru_cache(1)
def _first_names(archive: Path, number: int, *state: int) -> tuple[str, ...]:
    """Return the same of a file in the state that it has: each source asks, and a zip's whole index is read for it."""
    names: list[str] = []
    try:
        for member in members(archive):
            if not PurePosixPath(member.path).name.startswith("."):
                names.append(member.path.removeprefix("./"))
            if len(names) == number:
                break
    except (UserError, OSError):
        pass
    return tuple(names)


def is_archive(path: Path) -> bool:
    """Tell whether a file is an archive that `members` reads: by its name, or else by its first bytes."""
    if not path.is_file():
        return False
    if path.name.endswith(ARCHIVE_SUFFIXES):
        return True
    with untrusted.opened(path) as file:
        head = file.read(512)
    return head.startswith((b"PK", *_OPENERS)) or head[257:262] == b"ustar"


def is_compressed(path: Path) -> bool:
    """Tell whether a file begins as an archive from which no file can be read where it lies: a zip or a compressed tar."""
    with untrusted.opened(path) as file:
        return file.read(8).startswith((b"PK", *_OPENERS))


def stem(archive: Path) -> str:
    """Return the name of an archive without the suffix of its format."""
    name = archive.resolve().name
    return next((name.removesuffix(suffix) for suffix in ARCHIVE_SUFFIXES if name.endswith(suffix)), name)


def not_an_archive(path: Path) -> UserError:
    """Return the error for a file that is no archive."""
    return UserError(f"{path} is neither a tar (plain, xz, gz, bz2) nor a zip archive")


def _folder_members(root: Path, largest: int) -> Iterator[Member]:
    """Yield what lies beneath a folder; links are followed."""

    def fail(error: OSError) -> NoReturn:
        raise error

    # Paths as text, because a Path for each of 50,000 files takes a second.
    top = os.fspath(root)
    for place, folders, files in os.walk(top, onerror=fail, followlinks=True):
        folders.sort()
        here = "" if place == top else os.path.relpath(place, top).replace(os.sep, "/")
        if here.count("/") >= MAX_DEPTH:
            raise UserError(f"{place} lies too deep: remove the link that leads back to a folder above it")
        if here:
            yield Member(here, place, None)
        for file in sorted(files):
            path = os.path.join(place, file)
            yield Member(
                f"{here}/{file}" if here else file, path, partial(_read_file, path, largest), partial(_open, path), -1
            )


def _open(path: str) -> BinaryIO:
    return untrusted.opened(path)


def _read_file(path: str | Path, largest: int) -> bytes:
    """Return the content of a file of ordinary size."""
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"{path} is no regular file: remove it")
    _check_size(str(path), status.st_size, largest)
    return untrusted.bytes_of(path)


def _inside(archive: Path, name: str) -> str:
    """Return what to call a member in an error: a strange name must not break the line or the terminal."""
    return f"{archive}: {name if name.isprintable() else ascii(name)}"


def _check_size(where: str, size: int, largest: int) -> None:
    if size > largest:
        raise UserError(f"{where} has {size:,} bytes, more than {largest >> 20} MiB: remove it")


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


def _archive_members(path: Path, largest: int) -> Iterator[Member]:
    """Yield the members of an archive, whose format is read from its first bytes, not from its name."""
    with damage_told(path):
        with untrusted.opened(path) as file:
            head = file.read(512)
        if not head:
            raise UserError(f"{path} is empty: get it again")
        if head.startswith(b"PK"):
            yield from _zip_members(path, largest)
            return
        unpack = next((opener for magic, opener in _OPENERS.items() if head.startswith(magic)), None)
        if unpack is None and head[257:262] != b"ustar":
            raise not_an_archive(path)
        most = untrusted.FREE_BYTES + untrusted.MOST_RATIO * path.stat().st_size if unpack else None
        with untrusted.opened(path) as plain, unpack(plain) if unpack else nullcontext(plain) as file:
            yield from _tar_members(path, _Stream(file, path, largest, most), None if unpack else 0)


class _Stream:
    """An unpacked tar: read forward only, and never a block so large that it must be a bomb, nor `most` bytes in all."""

    def __init__(self, file: Readable, path: Path, largest: int, most: int | None) -> None:
        self.file = file
        self.path = path
        self.largest = largest
        self.most = most
        self.position = 0

    def read(self, size: int) -> bytes:
        # tarfile reads the headers of long names at once, as large as they say that they are.
        if size < 0:
            raise EOFError("a header in it is wrong")
        _check_size(f"{self.path}: a member or its header", size - tarfile.BLOCKSIZE, self.largest)
        data = self.next(size)
        if size > tarfile.BLOCKSIZE:
            untrusted.check_header(data)
        return data

    def next(self, size: int) -> bytes:
        """Return the next bytes, at most so many, without a look at what they are."""
        data = self.file.read(size)
        self.position += len(data)
        if self.most is not None and self.position > self.most:
            raise UserError(
                f"{self.path} unpacks to more than {self.most >> 20:,} MiB, over {untrusted.MOST_RATIO} times its "
                "size: get it again"
            )
        return data

    def tell(self) -> int:
        return self.position

    def seek(self, position: int) -> None:
        while self.position < position and self.next(min(position - self.position, 1 << 20)):
            pass

    def read_exactly(self, where: str, size: int) -> bytes:
        _check_size(where, size, self.largest)
        data = self.next(size)
        if len(data) < size:
            raise EOFError("it ends within a file")
        return data

    def window(self, size: int) -> Readable:
        return _Window(self, size)


class _Window:
    """The next `size` bytes of a stream, as a file of their own."""

    def __init__(self, stream: _Stream, size: int) -> None:
        self.stream = stream
        self.left = size

    def read(self, size: int) -> bytes:
        data = self.stream.next(min(size, self.left))
        self.left -= len(data)
        return data


def _tar_members(path: Path, stream: _Stream, begin: int | None) -> Iterator[Member]:
    """Yield the members of an unpacked tar that begins at a byte of a file; what tarfile takes for its end is checked."""
    with tarfile.open(fileobj=cast(IO[bytes], stream), mode="r:", errorlevel=2) as tar:
        for member in tar:
            # tarfile keeps all that it has read: a kB for each of a million members.
            vars(tar)["members"].clear()
            where = _inside(path, member.name)
            if member.size < 0:
                raise EOFError("a header in it is wrong")
            if member.isdir():
                yield Member(member.name, where, None)
            elif member.islnk() or member.issym() or member.issparse():
                raise UserError(f"{where} is a link or a sparse file: make the archive again with plain files")
            else:
                read, opened = partial(stream.read_exactly, where, member.size), partial(stream.window, member.size)
                place = None if begin is None else begin + member.offset_data
                yield Member(member.name, where, read, opened, place)
        # tarfile stops without a word at a damaged header, and where the file just ends; a whole archive goes on with
        # nothing but zeros. Reading them also checks the checksum of the compressed file.
        if stream.tell() < tar.offset + tarfile.BLOCKSIZE:
            raise EOFError("its end is missing")
    padded = stream.tell()
    while rest := stream.next(1 << 20):
        if stream.tell() - padded > _MAX_PADDING:
            raise UserError(f"{path} goes on with more than {_MAX_PADDING >> 20} MiB of zeros after its last file")
        if rest.strip(b"\0"):
            raise EOFError("a header in it is wrong")


def _zip_members(path: Path, largest: int) -> Iterator[Member]:
    """Yield the members of a zip archive; each is checked against its CRC when it is read."""

    def read(info: zipfile.ZipInfo, where: str) -> bytes:
        _check_size(where, info.file_size, largest)
        with archive.open(info) as file:
            return file.read(info.file_size + 1)  # with a bound, since the stated size may be a lie

    with untrusted.opened(path) as plain, zipfile.ZipFile(plain) as archive:
        most = untrusted.FREE_BYTES + untrusted.MOST_RATIO * path.stat().st_size
        if sum(info.file_size for info in archive.infolist()) > most:
            raise UserError(
                f"{path} unpacks to more than {most >> 20:,} MiB, over {untrusted.MOST_RATIO} times its size: get it again"
            )
        for info in archive.infolist():
            where = _inside(path, info.filename)
            yield Member(info.filename, where, None if info.is_dir() else partial(read, info, where))
