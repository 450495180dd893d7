"""What comes from elsewhere, within bounds: paths, small files, JSON and TOML, numbers, and text for a terminal.

Every door (command line, spec files, records, references, manifests, Python functions) uses these, so that what one of them
refuses no other takes.
"""

from __future__ import annotations

import errno
import io
import json
import math
import numbers
import operator
import os
import re
import stat
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, TypeVar

from lcrbench.errors import UserError

T = TypeVar("T")

MOST: Final = 2**63 - 1
"""The largest whole number that is taken anywhere: what 64 bits hold."""

MOST_THREADS: Final = 1024

DEEPEST: Final = 48
"""Tables and lists within each other. Ours need six."""

NAME_BYTES: Final = 255
PATH_BYTES: Final = 4096
"""What Linux takes; beyond it each question about a file is an error of its own."""
SPEC_BYTES: Final = 1 << 20
FILE_BYTES: Final = 1 << 27
LARGEST_BYTES: Final = 1 << 33
"""What a file of weights may have that is read whole: 2,000 million parameters."""

_DIGITS: Final = re.compile(rb"[0-9]{65}")

FREE_BYTES: Final = 1 << 28
MOST_RATIO: Final = 100
"""An archive may unpack to `FREE_BYTES`, and to this many times its own size besides. Photographs and arrays do not shrink
much when they are packed, and a file of a few kB that unpacks to a TB is a bomb."""


def place(path: str | os.PathLike[str]) -> Path:
    """Return a path with a leading ~ or ~user replaced.

    Raises `UserError` for a user who does not exist, and for what is no path: another type, no text at all, NUL, too long.
    """
    text = path if isinstance(path, str) else os.fspath(path) if isinstance(path, os.PathLike) else None
    if not isinstance(text, str) or not text:
        raise UserError(f"a path takes text, not {told(path)}")
    if "\0" in text:
        raise UserError(f"{shown(text)} is no path: it holds a NUL character")
    expanded = os.path.expanduser(text)
    if expanded.startswith("~"):
        raise UserError(
            f"{shown(text)}: there is no home folder for {shown(text).partition('/')[0]}; write ./ before a name"
        )
    parts = [len(part.encode("utf-8", "surrogatepass")) for part in expanded.split("/")]
    if sum(parts) + len(parts) > PATH_BYTES or max(parts) > NAME_BYTES:
        raise UserError(f"{told(expanded)} is no path: a name has at most {NAME_BYTES} bytes, a path {PATH_BYTES:,}")
    return Path(expanded)


def check_regular(path: str | os.PathLike[str]) -> None:
    """Raise `OSError` for what `opened` does not open, before a library opens a file by its name."""
    with opened(path) as file:
        file.read(1)


def opened(path: str | os.PathLike[str]) -> io.BufferedReader:
    """Open a regular file for reading its bytes; raises `OSError` for anything else.

    A device or a named pipe is refused without being opened, because opening or reading it might never end.
    """
    _regular(os.stat(path), path)
    # It may have become something else since: the flags keep `open` from waiting, as it would for a pipe.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags)
    try:
        _regular(os.fstat(descriptor), path)
        return io.BufferedReader(_Ready(descriptor, path))
    except OSError:
        os.close(descriptor)
        raise


class _Ready(io.FileIO):
    """A file that is not waited for: reading one that has nothing yet, as some of /proc, fails and does not give None."""

    def __init__(self, descriptor: int, path: str | os.PathLike[str]) -> None:
        super().__init__(descriptor)
        self._path = os.fspath(path)

    def readinto(self, buffer: Any, /) -> int:
        return int(self._there(super().readinto(buffer)))

    def readall(self) -> bytes:
        return self._there(super().readall())

    def _there(self, found: T | None) -> T:
        if found is None:
            # Not EAGAIN, after which numpy tries again for ever.
            raise OSError(errno.EINVAL, "it is no regular file: reading it would wait", self._path)
        return found


def _regular(status: os.stat_result, path: str | os.PathLike[str]) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder", os.fspath(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file", os.fspath(path))


def bytes_of(path: str | os.PathLike[str], largest: int = LARGEST_BYTES) -> bytes:
    """Return the bytes of a regular file of at most `largest`; raises `OSError` for anything else."""
    with opened(path) as file:
        # In one piece, and what a file has grown by in smaller ones: a buffer of `largest` bytes would be made at once.
        size = min(os.fstat(file.fileno()).st_size, largest) + 1
        found = file.read(size)
        # Fewer bytes than were asked for are all that there are.
        while found and size <= len(found) <= largest and (more := file.read(1 << 20)):
            found += more
    if len(found) > largest:
        raise OSError(errno.EFBIG, f"it has more than {largest:,} bytes", os.fspath(path))
    return found


def check_header(content: bytes) -> None:
    """Raise `ValueError` for digits without end in a header of a tar.

    Some versions of Python look in it for a number and a word by a search that goes through such digits again from each one.
    """
    if _DIGITS.search(content):
        raise ValueError("a header in it holds a number without end")


def small_file(path: str | os.PathLike[str], what: str = "file", largest: int = FILE_BYTES) -> bytes:
    """Return what `bytes_of` does; raises `UserError` for anything else, in which `what` says what was to be read."""
    named = f"the {what} {shown(str(path))}"
    try:
        return bytes_of(path, largest)
    except OSError as error:
        raise UserError(f"cannot read {named} ({error.strerror or error})") from error
    except ValueError as error:
        raise UserError(f"cannot read {named}: {error}") from error


def text_of(content: bytes, where: str) -> str:
    """Return UTF-8 as text, without a byte order mark; raises `UserError` for anything else."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{where} is not written in UTF-8 (byte {error.start}): save it as UTF-8") from error


def json_of(content: bytes, where: str) -> Any:
    """Return what JSON holds; raises `UserError` if it is none, holds a key twice, NaN or infinity, or is out of bounds."""
    text = text_of(content, where)
    try:
        found = json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except RecursionError:
        raise UserError(f"{where} is nested too deep") from None
    except ValueError as error:
        raise UserError(f"{where} is not valid JSON: {_short(error)}") from error
    bounded(found, where)
    return found


def toml_of(content: bytes | str, where: str) -> dict[str, Any]:
    """Return what TOML holds; raises `UserError` if it is none, or out of bounds."""
    text = content if isinstance(content, str) else text_of(content, where)
    if any(_dots(line) > DEEPEST for line in text.splitlines()):
        # Before it is read: tomllib takes a time for a key that grows with the square of its parts.
        raise UserError(f"{where} is nested too deep")
    try:
        found = tomllib.loads(text)
    except RecursionError:
        raise UserError(f"{where} is nested too deep") from None
    except ValueError as error:
        raise UserError(f"{where} is not valid TOML: {_short(error)}") from error
    bounded(found, where)
    return found


def _dots(line: str) -> int:
    """Return the parts of the longest dotted key of a line, less one; a string with many full stops counts likewise."""
    if "." not in line or line.lstrip().startswith("#"):
        return 0
    return max(piece.count(".") for piece in re.split(r"[={},\[\]]", re.sub(r"[\s\"']", "", line)))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {max(names, key=names.count)!r} stands there twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


def _short(error: ValueError) -> str:
    text = str(error).partition("\n")[0]
    return "a number has too many digits" if "integer string conversion" in text else text[:300]


def bounded(value: Any, where: str) -> None:
    """Raise `UserError` for tables and lists nested deeper than `DEEPEST`, and for whole numbers beyond 64 bits."""
    todo = [(value, 0)]
    while todo:
        one, depth = todo.pop()
        if depth > DEEPEST:
            raise UserError(f"{where} is nested too deep")
        if isinstance(one, dict):
            todo += [(inner, depth + 1) for inner in one.values()]
        elif isinstance(one, (list, tuple)):
            todo += [(inner, depth + 1) for inner in one]
        elif isinstance(one, int) and abs(one) > MOST:
            raise UserError(f"{where} holds a whole number beyond 64 bits")


def whole(value: Any, name: str, least: int = -MOST, most: int = MOST) -> int:
    """Return a whole number as an int; raises `UserError` for another type (True and 1.0 too), and outside the bounds."""
    try:
        if isinstance(value, bool) or type(value).__name__ == "bool":
            raise TypeError
        found = operator.index(value)
    except TypeError:
        raise UserError(f"{name} takes a whole number, not {told(value)}") from None
    if not least <= found <= most:
        bounds = f"at least {least:,}" if most == MOST else f"from {least:,} to {most:,}"
        raise UserError(f"{name} takes a whole number {bounds}, not {told(found)}")
    return found


def real(value: Any, name: str, least: float = -math.inf) -> float:
    """Return a finite number as a float; raises `UserError` for another type (True too), NaN, and infinity."""
    try:
        if isinstance(value, bool) or not (isinstance(value, numbers.Real) or hasattr(value, "__float__")):
            raise TypeError
        found = float(value)
    except (TypeError, OverflowError):
        raise UserError(f"{name} takes a number, not {told(value)}") from None
    if not math.isfinite(found) or found < least:
        bound = "" if least == -math.inf else f" of at least {least:g}"
        raise UserError(f"{name} takes a finite number{bound}, not {told(value)}")
    return found


def chosen(value: Any, name: str, among: Iterable[str]) -> str:
    """Return one of a few words; raises `UserError` for anything else."""
    known = list(among)
    if not isinstance(value, str) or value not in known:
        raise UserError(f"{name} is one of {', '.join(known)}, not {told(value)}")
    return value


def flag(value: Any, name: str) -> bool:
    """Return True or False; raises `UserError` for anything else, 0 and 1 among them."""
    if not isinstance(value, bool):
        raise UserError(f"{name} is True or False, not {told(value)}")
    return value


def name_of(value: Any, name: str) -> str:
    """Return a name; raises `UserError` for what is no text."""
    if not isinstance(value, str):
        raise UserError(f"{name} takes a name, not {told(value)}")
    return value


def words(value: Any, name: str) -> list[str]:
    """Return names, given as texts or as one text with spaces or commas between; raises `UserError` for anything else."""
    if isinstance(value, str):
        return value.replace(",", " ").split()
    found = several(value, name)
    if wrong := [one for one in found if not isinstance(one, str)]:
        raise UserError(f"{name} takes names, not {told(wrong[0])}")
    return found


def several(value: Any, name: str) -> list[Any]:
    """Return the values in a list or the like; raises `UserError` for a single one, a text among them."""
    if not isinstance(value, Iterable) or isinstance(value, (str, bytes)):
        raise UserError(f"{name} takes several values, as in a list, not {told(value)}")
    return list(value)


def told(value: Any) -> str:
    """Return a value as an error shows it: short, on one line, whatever it is."""
    try:
        return shown(repr(value))[:80]
    except ValueError:  # more digits than Python writes
        return "a number of so many digits"


def shown(text: str) -> str:
    """Return a text as a terminal may show it, on one line: control characters, line breaks among them, are escaped.

    >>> print(shown("a\\x1b[2J\\nb"))
    a\\x1b[2J\\nb
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
