"""Whether a data set is held in memory or streamed: held where its decoded images take at most a quarter of the memory."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from lcrbench import untrusted
from lcrbench.bench.data import disk_cache, parquet
from lcrbench.bench.data.members import ARCHIVE_SUFFIXES, MAX_DEPTH, is_compressed, members
from lcrbench.errors import UserError
from lcrbench.images import SUFFIXES

SHARE: Final = 4
"""Images that would take more than one part in so many of the memory stay in their files."""

_LEAST: Final = 128
"""Bytes that an image takes in a compressed archive at least; one of 32 px takes six times as many."""

_BLOCK: Final = 512
_LIMITS: Final = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def memory() -> int:
    """Return the bytes of memory of this machine, or of the container that it is shared by."""
    try:
        found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):  # Windows tells it in no such way
        found = 1 << 34
    for name in _LIMITS:
        try:
            text = Path(name).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            continue
        if text.isdigit() and int(text) > 0:
            found = min(found, int(text))
    return found


def too_large(roots: Iterable[Path], size: int) -> bool:
    """Tell whether the images beneath some folders, and in archives and tables, would take more than their share of memory.

    It counts files by their ending, and no further than the share. A compressed archive is gone through only where its size
    leaves the question open, and what was counted is kept in the user's cache.
    """
    places = list(roots)
    most = memory() // SHARE // (3 * size * size)
    # Enough for most: sets that would fit even if their archives held tiny images alone.
    if not _more_than(most, places, _at_most):
        return False
    return _more_than(most, places, lambda path: _counted(path, most + 1))


def _more_than(most: int, roots: Iterable[Path], compressed: Callable[[Path], int]) -> bool:
    left = most
    for root in roots:
        for number in _images(root, compressed):
            left -= number
            if left < 0:
                return True
    return False


def _at_most(archive: Path) -> int:
    return 1 + archive.stat().st_size // _LEAST


def _counted(archive: Path, most: int) -> int:
    """Return how many images a compressed archive holds; no more than `most` are counted."""
    stamp = disk_cache.lasting([archive])
    place = disk_cache.home() / f"counted-{stamp}.json"
    if stamp and (kept := disk_cache.told(place.parent, place.name)) and (kept["all"] or kept["images"] >= most):
        return int(kept["images"])
    found, whole = 0, True
    try:
        for member in members(archive):
            found += member.read is not None and os.path.splitext(member.path)[1].lower() in SUFFIXES
            if found == most:
                whole = False
                break
    except UserError:
        return found  # damaged: to load it says so
    if stamp:
        with contextlib.suppress(OSError):
            disk_cache.keep_facts(place, {"images": found, "all": whole})
    return found


def _images(root: Path, compressed: Callable[[Path], int]) -> Iterator[int]:
    """Yield numbers whose sum is how many images lie beneath a folder, or in a file; `compressed` counts an archive's."""
    if not root.is_dir():
        yield from _in_file(root, compressed)
        return
    todo = [(os.fspath(root), 0)]
    while todo:
        place, depth = todo.pop()
        with os.scandir(place) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                suffix = os.path.splitext(entry.name)[1].lower()
                if suffix in SUFFIXES:
                    yield 1
                elif entry.name.endswith((*ARCHIVE_SUFFIXES, ".parquet")) and entry.is_file():
                    yield from _in_file(Path(entry.path), compressed)
                elif entry.is_dir():
                    if depth == MAX_DEPTH:
                        # Two links that lead back would be gone through in 2 to the 32 ways.
                        raise UserError(
                            f"{entry.path} lies too deep: remove the link that leads back to a folder above it"
                        )
                    todo.append((entry.path, depth + 1))


def _in_file(path: Path, compressed: Callable[[Path], int]) -> Iterator[int]:
    if path.suffix == ".parquet":
        with contextlib.suppress(UserError):  # damaged, or pyarrow is not installed: to load it says so
            yield parquet.number(path)
    elif is_compressed(path):
        yield compressed(path)
    else:
        yield from _in_tar(path)


def _in_tar(path: Path) -> Iterator[int]:
    """Yield 1 for each image of a tar and of the tars in it, by their headers alone; what is no header ends it."""
    with untrusted.opened(path) as file:
        end = path.stat().st_size
        place = 0
        while place + _BLOCK <= end:
            file.seek(place)
            head = file.read(_BLOCK)
            place += _BLOCK
            if not head.strip(b"\0"):
                continue
            if head[257:262] != b"ustar":
                return
            field = head[124:136].strip(b" \0")
            try:
                size = int.from_bytes(head[125:136], "big") if head[124] & 0x80 else int(field or b"0", 8)
            except ValueError:
                return
            name = head[:100].rstrip(b"\0")
            suffix = os.path.splitext(os.fsdecode(name))[1].lower()
            if suffix == ".tar":
                continue  # its members follow
            if head[156:157] in (b"0", b"\0") and suffix in SUFFIXES:
                yield 1
            place += -(-size // _BLOCK) * _BLOCK
