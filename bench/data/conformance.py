"""Checks of a data source: what `lcrbench.testing` asks of our own sources and of somebody else's."""

from __future__ import annotations

import inspect
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from lcrbench import registry
from lcrbench.bench.data.arrays import Dataset
from lcrbench.bench.data.loading import checked
from lcrbench.errors import UserError
from lcrbench.testing import misspelt, own_names, raised

PARTS = ("NAMES", "ORDER", "STREAMS", "detect", "files", "load", "load_test")
SIZE = 32


def contract(name: str) -> Iterator[str]:
    """It defines what `lcrbench.bench.data.sources` asks for."""
    module = registry.load("source", name)
    yield from misspelt(PARTS, own_names(module))
    streams = getattr(module, "STREAMS", False)
    if not isinstance(streams, bool):
        yield f"STREAMS is true or false, not {streams!r}"
    given = 3 if streams is True else 2
    for part, count in (("load", given), ("load_test", given), ("detect", 1), ("files", 1)):
        if hasattr(module, part) and (wrong := _not_called_with(getattr(module, part), count)):
            yield f"{part} {wrong}"
    names, order = getattr(module, "NAMES", ()), getattr(module, "ORDER", 50)
    if not (isinstance(names, tuple) and all(isinstance(n, str) and n for n in names)):
        yield f"NAMES is a tuple of names, not {names!r}"
    if not isinstance(order, (int, float)):
        yield f"ORDER is a number, not {order!r}"


def named(name: str) -> Iterator[str]:
    """Each of its names loads a data set, twice the same."""
    module = registry.load("source", name)
    for place in getattr(module, "NAMES", ()):
        first, again = (_loaded(module, name, place, SIZE) for _ in range(2))
        if first.sha256 != again.sha256:
            yield f"'{place}' loads other images the second time: the hash of the data is part of what identifies a run"
        if not (isinstance(first.name, str) and first.name):
            yield f"'{place}' loads a data set without a name"
        for path in module.files(place) if hasattr(module, "files") else ():
            if not (isinstance(path, Path) and path.exists()):
                yield f"files('{place}') names {path!r}, which is no existing path"


def sizes(name: str) -> Iterator[str]:
    """It loads images of another size too, or refuses it by a `UserError`."""
    module = registry.load("source", name)
    for place in getattr(module, "NAMES", ()):
        for size in (1, 24):
            try:
                module.load(place, size)
            except UserError:
                continue
            _loaded(module, name, place, size)
    yield from ()


def elsewhere(name: str) -> Iterator[str]:
    """It tells what it cannot read: `detect` is false of an empty folder and of other files, and `load` refuses them."""
    module = registry.load("source", name)
    if not hasattr(module, "detect"):
        return
    with tempfile.TemporaryDirectory() as folder:
        empty, filled = Path(folder, "empty"), Path(folder, "filled")
        for each in (empty, filled):
            each.mkdir()
        (filled / "notes.txt").write_text("no data")
        for path, what in (
            (empty, "an empty folder"),
            (filled / "notes.txt", "a text file"),
            (filled, "a folder of text"),
        ):
            try:
                found = module.detect(path)
            except Exception as error:  # a plug-in may raise anything
                yield f"detect raises {raised(error)} for {what}"
                continue
            if found is not False:
                yield f"detect returns {found!r} for {what}, not False"
            try:
                module.load(os.fspath(path), SIZE)
            except (UserError, OSError):  # `lcrbench.bench.data.load` makes one line of an OSError
                continue
            except Exception as error:
                yield f"load raises {raised(error)} for {what}, and no UserError that says what is missing"
                continue
            yield f"load makes a data set of {what}"


def _loaded(module: ModuleType, name: str, place: str, size: int) -> Dataset:
    return checked(module.load(place, size), name, size)


def _not_called_with(function: Callable[..., Any], count: int) -> str:
    """Return why a function cannot be called with `count` arguments; "" if it can."""
    if not callable(function):
        return "is no function"
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return f"does not take {count} argument{'s' * (count > 1)}"
    except ValueError:  # some functions of C tell nothing about theirs
        pass
    return ""


CHECKS = (contract, named, sizes, elsewhere)
