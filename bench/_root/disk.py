"""Files on the disk: written whole or not at all, and where the user's cache lies."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(place: Path, *, draft: Path | None = None, flushed: bool = False) -> Iterator[Path]:
    """Yield a draft to write, which then takes a file's place: readers see the old file or the new one, whole.

    The draft lies beside the file, as NAME.<token>.new unless `draft` names it. Whatever is raised meanwhile removes it and
    leaves the file as it was. With `flushed` the disk holds both content and name at the end. Raises `OSError` where the
    disk does not take the file, and for a device or a pipe, whose name is not a file's to take.
    """
    check_file(place)
    draft = draft or place.with_name(f"{place.name}.{secrets.token_hex(4)}.new")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        yield draft
        if flushed:
            flush(draft)
        draft.replace(place)
        if flushed:
            flush(place.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise


def check_file(place: Path) -> None:
    """Raise `OSError` where a file may not be put: over a device, a named pipe or a socket, or what stands for a stream.

    A renamed file would take the place of /dev/null, and to open a pipe may take for ever.
    """
    try:
        mode = place.stat().st_mode
    except OSError:
        return
    stream = place.is_symlink() and os.readlink(place).startswith("/proc/")
    if stream or not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise OSError(errno.EINVAL, "it is a device, a pipe or a stream, and no regular file: name another", str(place))


def flush(path: Path) -> None:
    """Make the disk hold what was written to a file, or a folder's names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def user_cache() -> Path:
    """Return the folder for what may be deleted at any time: $XDG_CACHE_HOME/lcrbench, or ~/.cache/lcrbench.

    A user whom the system does not list has no home: the folder then lies in a place that takes no file.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    top = Path(base) if os.path.isabs(base) else Path(os.path.expanduser("~"), ".cache")
    return (top if top.is_absolute() else Path(os.devnull)) / "lcrbench"
