"""Whether a data set is held in memory or streamed: held where its decoded images take at most a quarter of the memory."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from lcrbench import untrusted
from lcrbench.bench.data.members import MAX_DEPTH
from lcrbench.images import SUFFIXES

SHARE: Final = 4
"""Images that would take more than one part in so many of the memory stay in their files."""

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
    """Tell whether the images beneath some folders and in plain tars would take more than their share of the memory.

    It counts files by their ending, and no further than the share. Compressed archives, which cannot be streamed, count
    nothing.
    """
    left = memory() // SHARE // (3 * size * size)
    for root in roots:
        for _ in _images(root):
            left -= 1
            if left < 0:
                return True
    return False


def _images(root: Path) -> Iterator[None]:
    if not root.is_dir():
        yield from _in_tar(root)
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
                    yield None
                elif suffix == ".tar" and entry.is_file():
                    yield from _in_tar(Path(entry.path))
                elif depth < MAX_DEPTH and entry.is_dir():
                    todo.append((entry.path, depth + 1))


def _in_tar(path: Path) -> Iterator[None]:
    """Yield once for each image of a tar and of the tars in it, by their headers alone; what is no header ends it."""
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
                yield None
            place += -(-size // _BLOCK) * _BLOCK
