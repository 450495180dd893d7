"""Copies of files out of compressed archives and tables, one after the other in one file of the user's cache.

What is compressed cannot be read from the middle. So where its images are to be streamed, their files are copied, once. The
copy is named by the names, sizes and times of the sources, and by the layout, whose order it has. It takes as much disk as
the unpacked files, and may be deleted while nothing runs on it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import sys
import time
from multiprocessing import util
from pathlib import Path
from typing import BinaryIO, Final

from lcrbench import untrusted
from lcrbench.bench.data import disk_cache
from lcrbench.errors import UserError

SUFFIX: Final = ".copied"
_UNFINISHED: Final = ".unfinished"

_LEFT: Final = 1 << 28
"""Bytes of a disk that a copy leaves free."""

_LOOK: Final = 1 << 26
"""Bytes between two looks at how much is free."""

_DEAD: Final = 3600.0
"""Seconds without a write after which an unfinished copy that no process has open is one that a killed process has left."""


class Copies:
    """The copy of the files out of some sources: written by `add`, complete with `finish`, or there from before.

    Sources that are still changing, or a cache that is turned off, have a copy that ends with the process.
    """

    def __init__(self, sources: tuple[Path, ...], layout: str) -> None:
        self._source, self._size, self._looked = sources[0], 0, 0
        self._file: BinaryIO | None = None
        found = place(sources, layout)
        self._lasts, self._finished = found is not None, False
        self.path = found or disk_cache.home() / f"passing{SUFFIX}"
        self._there: BinaryIO | None = None
        self._equal = True
        if self._lasts and self.path.is_file():
            try:
                self._there = untrusted.opened(self.path)
            except OSError as error:
                raise self._unable(error.strerror or str(error)) from error
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            _clear(self.path.parent)
            self._unfinished = self.path.with_name(f"{self.path.stem}.{secrets.token_hex(4)}{_UNFINISHED}")
            # Readable for whom the other files of the cache are.
            self._file = open(self._unfinished, "xb")  # noqa: SIM115
        except OSError as error:
            raise self._unable(error.strerror or str(error)) from error
        with contextlib.suppress(OSError):
            _lock(self._file)
        # Also where the archive turns out to be damaged, at the end of the process of a run, and not of one forked here.
        self._ends = util.Finalize(self, _end, args=(self._file, self._unfinished), exitpriority=0)
        if not self._lasts:
            self.path = self._unfinished

    def add(self, content: bytes) -> int:
        """Append a file, and return where it begins. Raises `UserError` where the disk has no room."""
        begin = self._size
        self._size += len(content)
        if self._there is not None:
            self._equal = self._equal and self._there.read(len(content)) == content
        elif self._file is not None:
            try:
                if self._size - self._looked > _LOOK:
                    self._looked = self._size
                    if shutil.disk_usage(self.path.parent).free < _LEFT:
                        raise self._unable("the disk is nearly full")
                self._file.write(content)
            except OSError as error:
                raise self._unable(error.strerror or str(error)) from error
        return begin

    def finish(self) -> None:
        """Complete the copy, which is there whole or not. Raises `UserError` if the disk fails, or it is another one."""
        if self._finished:
            return
        self._finished = True
        try:
            if self._there is not None:
                # Nothing more is there, and it has the order in which this version of the code reads.
                self._equal = self._equal and not self._there.read(1)
                self._there.close()
                if not self._equal:
                    self.path.unlink()
                    raise UserError(f"{self.path} was no copy of what {self._source} holds: run it again")
                return
            assert self._file is not None
            self._file.flush()
            if self._lasts:
                # Its content is not looked at again.
                os.fsync(self._file.fileno())
                self._file.close()
                self._unfinished.replace(self.path)
                self._ends.cancel()
            else:
                _KEPT.append(self)
        except OSError as error:
            raise self._unable(error.strerror or str(error)) from error

    def _unable(self, why: str) -> UserError:
        return UserError(
            f"{self._source} is compressed, and its images cannot be copied to {self.path.parent} to be streamed ({why}): "
            "make room there, name another folder by XDG_CACHE_HOME, or unpack it and give the folder or a plain .tar"
        )


_KEPT: Final[list[Copies]] = []
"""Copies that end with the process."""


def place(sources: tuple[Path, ...], layout: str) -> Path | None:
    """Return where the copy for these sources lies, or would; None if none lasts."""
    stamp = disk_cache.lasting(sources)
    if stamp is None:
        return None
    return disk_cache.home() / f"{hashlib.sha256(f'copied 1 {layout} {stamp}'.encode()).hexdigest()[:32]}{SUFFIX}"


def of(images: object) -> Path | None:
    """Return the copy that holds some streamed images; None where they lie in the sources themselves."""
    return next((s for s in getattr(images, "sources", ()) if s.name.endswith((SUFFIX, _UNFINISHED))), None)


def _end(file: BinaryIO, path: Path) -> None:
    with contextlib.suppress(OSError):
        file.close()
    with contextlib.suppress(OSError):
        path.unlink()


def _lock(file: BinaryIO) -> None:
    """Lock a file for as long as this process has it open, or one forked from it. Raises `OSError` where it is locked."""
    if sys.platform != "win32":  # there, an open file cannot be deleted
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _clear(folder: Path) -> None:
    """Delete what processes that were killed have left."""
    for path in folder.glob(f"*{_UNFINISHED}"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _DEAD:
                # One that does not last is read for hours after it was written.
                with open(path, "r+b") as file:
                    _lock(file)
                path.unlink()
