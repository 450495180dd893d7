"""Hashes of files and of parts of archives, each computed once and kept in the user's cache folder.

    $XDG_CACHE_HOME/lcrbench/digests/<key>     one hash; ~/.cache/lcrbench where that is not set

The key holds device, inode, size and time of the file, the part, and the algorithm: a file that was written or replaced
since is read again. The folder may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from lcrbench import disk, untrusted
from lcrbench.corruptions.members import Member, tree_digest

WORTH = 1 << 20  # bytes: less is read again
SETTLED_NS = 2_000_000_000  # a file that was written so short a time ago may be written again at the same time stamp

_off = False


@contextlib.contextmanager
def anew() -> Iterator[None]:
    """Read every file for as long as this lasts, and trust nothing that is kept."""
    global _off
    before, _off = _off, True
    try:
        yield
    finally:
        _off = before


def of(member: Member, algorithm: str) -> str:
    """Return the hash of a file or a part of one, in hexadecimal. Raises `OSError` if it cannot be read."""
    key = None if member.size < WORTH else _key([(member.path, f"{member.offset} {member.size}")], algorithm)
    if (kept := _read(key)) is not None:
        return kept
    found = member.digest(algorithm)
    _write(key, found)
    return found


def of_tree(files: Sequence[tuple[str, Member]]) -> str:
    """Return the sha256 of a cell's files, names and contents, as `members.tree_digest` does."""
    parts = [(member.path, f"{name} {member.offset} {member.size}") for name, member in files]
    key = None if sum(member.size for _, member in files) < WORTH else _key(parts, "tree")
    if (kept := _read(key)) is not None:
        return kept
    found = tree_digest((name, member.read()) for name, member in files)
    _write(key, found)
    return found


def _key(parts: Sequence[tuple[Path, str]], algorithm: str) -> str | None:
    """Return what names these files as they are now; None if one may still be written, or nothing is to be kept."""
    digest = hashlib.sha256(algorithm.encode())
    newest = time.time_ns() - SETTLED_NS
    seen: dict[Path, os.stat_result] = {}
    for path, part in parts:
        facts = seen[path] if path in seen else seen.setdefault(path, path.stat())
        if facts.st_mtime_ns > newest or facts.st_ctime_ns > newest:
            return None
        told = (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)
        digest.update(f"{told} {part}\0".encode())
    return digest.hexdigest()[:40]


def _folder() -> Path:
    return disk.user_cache() / "digests"


def _read(key: str | None) -> str | None:
    if key is None or _off:
        return None
    try:
        kept = untrusted.bytes_of(_folder() / key, 64).decode("ascii")
    except (OSError, ValueError):
        return None
    return kept if len(kept) in (32, 64) and set(kept) <= set("0123456789abcdef") else None


def _write(key: str | None, found: str) -> None:
    if key is None:
        return
    # A cache that cannot be written costs time alone.
    with contextlib.suppress(OSError), disk.replacing(_folder() / key) as draft:
        draft.write_text(found, encoding="ascii")
