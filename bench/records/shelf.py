"""A shelf: a folder of entries, each a folder with a record and its files, written whole or not at all, checked when read.

    SHELF/<id>/record.json      the record
               record.sha256    its hash
               ...              its files, whose hashes the record holds
    SHELF/.<id>.<token>.new     an entry that is being written
    SHELF/.<id>.old             the one that it replaces

An entry is written into a hidden folder beside its place, flushed to the disk, and moved there in one rename, so that an
interrupted write leaves nothing that could be taken for a result. The entry that it replaces is moved to `.old` first:
where the place is empty, that one is the entry, for readers as for the next write.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import BaseModel

from lcrbench import untrusted
from lcrbench.bench.records.lease import Superseded
from lcrbench.disk import flush
from lcrbench.errors import UserError

RECORD, CHECKSUM = "record.json", "record.sha256"
CHECKSUM_BYTES = 1000
REDO = "`lcrbench run` with --redo sets it aside and makes it again"

R = TypeVar("R", bound=BaseModel)


class Damaged(UserError):
    """A file of the store is not what was written."""


def is_plain(file: str) -> bool:
    """Tell whether a name is that of a file beside a record: no path that leads elsewhere, and not the record itself."""
    return file.isprintable() and file == Path(file).name and file not in ("", "..", RECORD, CHECKSUM)


class Shelf(Generic[R]):
    """A folder of entries. Reading never writes; several processes may write entries at once, each under its lease.

    `read(content, path)` makes a record of JSON; it raises `ValueError`, `KeyError` or `TypeError` for what is no
    record, and `UserError` for one that another version must read. `own_id(record)` is the id that a record says it has.
    `fence(id)` is called before an entry is moved to its place, and raises in a process that has lost the right to it.
    """

    def __init__(
        self,
        root: Path,
        read: Callable[[bytes, str], R],
        own_id: Callable[[R], str],
        fence: Callable[[str], None] = lambda name: None,
    ) -> None:
        self.root, self._fence = root, fence
        self._parse, self._own_id = read, own_id
        self._known: dict[str, tuple[tuple[int, int], R]] = {}

    def ids(self) -> list[str]:
        """Return the ids of the entries, sorted."""
        found = {f.parent.name for f in self.root.glob(f"[!.]*/{RECORD}")}
        found |= {f.parent.name[1 : -len(".old")] for f in self.root.glob(f".*.old/{RECORD}")}
        # And again: an entry that was being replaced may have got back to its place between the two.
        return sorted(found | {f.parent.name for f in self.root.glob(f"[!.]*/{RECORD}")})

    def folder(self, name: str) -> Path:
        """Return where an entry lies: in its place, or at `.old` if a write that replaces it is, or was killed, midway."""
        final = self.root / name
        if final.exists():
            return final
        old = self.root / f".{name}.old"
        return old if old.exists() else final

    def __contains__(self, name: str) -> bool:
        return (self.folder(name) / RECORD).is_file()

    def restore(self, name: str) -> None:
        """Move an entry that a killed write left at `.old` back to its place. The caller holds the entry's lease."""
        if self.folder(name) != self.root / name:
            self.folder(name).rename(self.root / name)

    def record(self, name: str) -> R:
        """Read one record; raises `Damaged` if it is not what was written, `UserError` if a newer version wrote it."""
        with contextlib.suppress(Damaged):
            return self._record(name)
        # Damaged twice is damaged: once may be an entry that was replaced between two reads.
        return self._record(name)

    def _record(self, name: str) -> R:
        folder = self.folder(name)
        path = folder / RECORD
        try:
            stat = path.stat()
            state = (stat.st_mtime_ns, stat.st_size)
            if name in self._known and self._known[name][0] == state:
                return self._known[name][1]
            content = untrusted.bytes_of(path, untrusted.FILE_BYTES)
            checksum = untrusted.bytes_of(folder / CHECKSUM, CHECKSUM_BYTES).decode().strip()
        except OSError as error:
            raise Damaged(f"{error.filename} is damaged or missing ({error.strerror}): {REDO}") from error
        except UnicodeDecodeError as error:
            raise Damaged(f"{folder / CHECKSUM} is damaged: {REDO}") from error
        if hashlib.sha256(content).hexdigest() != checksum:
            raise Damaged(f"{path} is damaged: {REDO}")
        try:
            record = self._parse(content, str(path))
        except UserError:
            raise
        except (
            Exception
        ) as error:  # it may hold anything, also where a step from an older schema looks for something else
            raise Damaged(f"{path} is no record ({type(error).__name__}): {REDO}") from error
        if self._own_id(record) != name:
            raise Damaged(f"{path} is the record of another entry: {REDO}")
        if strange := [file for file in getattr(record, "files", ()) if not is_plain(file)]:
            raise Damaged(f"{path} names the file {strange[0]!a}, which cannot lie beside it: {REDO}")
        self._known[name] = state, record
        return record

    def read(self, name: str, file: str, sha256: str) -> bytes:
        """Return a file beside a record; raises `Damaged` if it is missing or has another hash."""
        path = self.folder(name) / file
        try:
            content = untrusted.bytes_of(path)
        except OSError as error:
            raise Damaged(f"{path} is damaged or missing ({error.strerror}): {REDO}") from error
        if hashlib.sha256(content).hexdigest() != sha256:
            raise Damaged(f"{path} is damaged: {REDO}")
        return content

    def write(self, name: str, record: R, files: Mapping[str, bytes]) -> R:
        """Write an entry whole, its files, then its record; raises `UserError` if the disk does not take it.

        Returns the record with the files' hashes filled in (`files`). An entry of the same id is replaced. Raises
        `Superseded` in a process whose lease of the entry was taken over.
        """
        final, old = self.root / name, self.root / f".{name}.old"
        # A draft of its own: a process that has lost its lease may still write.
        draft = self.root / f".{name}.{secrets.token_hex(4)}.new"
        hashes = {file: hashlib.sha256(content).hexdigest() for file, content in files.items()}
        record = record.model_copy(update={"files": hashes})
        try:
            draft.mkdir(parents=True)
            for file, content in files.items():
                (draft / file).write_bytes(content)
            text = record.model_dump_json(indent=1) + "\n"
            (draft / RECORD).write_text(text, encoding="utf-8")
            (draft / CHECKSUM).write_text(hashlib.sha256(text.encode()).hexdigest() + "\n", encoding="utf-8")
            for path in [*draft.iterdir(), draft]:
                flush(path)
            self._fence(name)
            if final.exists():
                shutil.rmtree(old, ignore_errors=True)
                final.rename(old)
            draft.rename(final)
            flush(self.root)
            shutil.rmtree(old, ignore_errors=True)
            # Of killed writes, or of a process that has lost the lease.
            for left in self.root.glob(f".{name}.*.new"):
                shutil.rmtree(left, ignore_errors=True)
        except OSError as error:
            shutil.rmtree(draft, ignore_errors=True)
            if old.exists() and not final.exists():
                with contextlib.suppress(OSError):
                    old.rename(final)
            raise UserError(f"cannot write {final}: {error.strerror or error}") from error
        except Superseded:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        return record
