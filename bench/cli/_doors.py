"""What every command's options go through: paths, numbers, options given twice; and the report of what must not happen."""

from __future__ import annotations

import copy
import math
import os
import platform
import sys
import tempfile
import traceback
import weakref
from pathlib import Path
from typing import Any

import click

from lcrbench import untrusted
from lcrbench.errors import UserError

LONGEST = 200


class Place(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A path: ~ is replaced, also where a shell does not, as in --out=~/x."""

    name = "path"

    def __init__(self, kind: type[str] | type[Path]) -> None:
        self.kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str | Path:
        """Return the path as text, or as a `Path`."""
        if not str(value):
            self.fail("a path cannot be empty.", param, ctx)
        return self.kind(untrusted.place(value))


def _bounded(kind: Any) -> Any:
    """Return a type of numbers, in a range or not, that takes neither NaN nor infinity, and whole ones of 64 bits."""
    bounded, plain = copy.copy(kind), kind.convert

    def convert(value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, str) and len(value) > LONGEST:
            bounded.fail("a number of so many digits is out of range.", param, ctx)
        found = plain(value, param, ctx)
        if not math.isfinite(found):
            bounded.fail(f"{value!r} is not a finite number.", param, ctx)
        if isinstance(found, int) and abs(found) > untrusted.MOST:
            bounded.fail(f"{value} is beyond 64 bits.", param, ctx)
        return found

    bounded.convert = convert
    return bounded


_GUARDED: weakref.WeakSet[click.Command] = weakref.WeakSet()


def guarded(command: click.Command) -> click.Command:
    """Return the command, and with a group its commands, so that a value is given once and numbers are finite.

    Commands are the same objects at each call of `main` in a process: what is guarded already stays as it is.
    """
    if command in _GUARDED:
        return command
    _GUARDED.add(command)
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            guarded(inner)
    for param in command.params:
        if isinstance(param.type, (click.types.FloatParamType, click.types.IntParamType)):
            param.type = _bounded(param.type)
    make = command.make_parser

    def make_parser(ctx: click.Context) -> Any:
        parser = make(ctx)
        parse = parser.parse_args

        def parse_args(args: list[str]) -> Any:
            opts, rest, order = parse(args)
            given = [p for p in order if isinstance(p, click.Option) and not (p.multiple or p.count or p.is_flag)]
            if twice := next((p for p in given if given.count(p) > 1), None):
                raise click.UsageError(f"{twice.opts[-1]} is given twice: which value counts?", ctx)
            return opts, rest, order

        parser.parse_args = parse_args  # type: ignore[method-assign,unused-ignore]
        return parser

    command.make_parser = make_parser  # type: ignore[method-assign]
    return command


def present_folder() -> None:
    """Raise `UserError` where the present folder was deleted: no relative path leads anywhere."""
    try:
        os.getcwd()
    except OSError as error:
        raise UserError(f"the present folder cannot be used ({error.strerror}): change to another one") from error


def report(error: BaseException) -> str:
    """Write what is known of an error of ours into a file, and return the line that names it."""
    from lcrbench import __version__

    what = f"{type(error).__name__}: {str(error).partition(chr(10))[0][:LONGEST]}".rstrip(": ")
    told = f"lcrbench met a mistake of its own ({what})"
    lines = [f"lcrbench {__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}"]
    lines += [f"command: {[word[:LONGEST] for word in sys.argv]!a}", ""]
    try:
        lines += traceback.format_exception(error)
        descriptor, name = tempfile.mkstemp(prefix="lcrbench-", suffix=".txt", text=True)
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write("\n".join(line.rstrip("\n") for line in lines) + "\n")
    except (OSError, RecursionError, UserError):
        return f"{told}; no report could be written: please tell us the command and this line"
    return f"{told}: please send us {name}, which says where"
