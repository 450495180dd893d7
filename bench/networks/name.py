"""MODEL as it is typed: SCHEME:WHAT?ARGUMENTS@WEIGHTS.

torchvision:resnet18@FILE        a loader's name, what it is asked for, and a file of weights
path/net.py:make?classes=10      without a loader's name: a function in a file or in a module
run:3f2a                         a run of a store
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import NamedTuple

from lcrbench import registry
from lcrbench.errors import UserError

FACTORY = "factory"
RUN = "run"
LONGEST = 100
"""Characters of an argument's value that may be a number; a longer one is text."""

Value = bool | int | float | str


class Name(NamedTuple):
    """A network as it was named; `arguments` are those of the function that makes it."""

    scheme: str
    what: str
    arguments: dict[str, Value]
    weights: str = ""

    @property
    def text(self) -> str:
        """Return the name without folders, as a record holds it."""
        head = "" if self.scheme == FACTORY else f"{self.scheme}:"
        told = "&".join(f"{k}={v}" for k, v in self.arguments.items())
        return (
            head
            + Path(self.what).name
            + (f"?{told}" if told else "")
            + (f"@{Path(self.weights).name}" if self.weights else "")
        )


def is_name(text: str) -> bool:
    """Tell whether a text names a network from outside, and not a run.

    >>> is_name("torchvision:resnet18"), is_name("3f2a"), is_name("run:3f2a")
    (True, False, False)
    """
    return ":" in text and not text.startswith(f"{RUN}:")


def read(text: str) -> Name:
    """Return the parts of a network's name; raises `UserError` for a text that has none.

    >>> read("path/net.py:make?classes=10@w.pt")
    Name(scheme='factory', what='path/net.py:make', arguments={'classes': 10}, weights='w.pt')
    """
    head, _, rest = text.partition(":")
    known = head in registry.names("loader") or ("." in head and _dotted(head))
    scheme, what = (head, rest) if known else (FACTORY, text)
    what, _, weights = what.partition("@")
    what, _, told = what.partition("?")
    arguments: dict[str, Value] = {}
    for word in told.split("&") if told else []:
        key, equals, value = word.partition("=")
        if not equals or not key.isidentifier():
            raise UserError(f"'{text}': after ? stand arguments, such as ?classes=10&width=2, not '{word}'")
        arguments[key] = _value(value)
    if not what:
        raise UserError(f"'{text}' names no network: {scheme}: is followed by what it loads")
    return Name(scheme, what, arguments, weights)


def _dotted(head: str) -> bool:
    """Tell whether a dotted head is a loader of somebody's own: my_pkg.my_loader:WHAT."""
    try:
        return "load_network" in vars(registry.load("loader", head))
    except UserError:
        return False


def _value(text: str) -> Value:
    if len(text) > LONGEST:
        return text
    try:
        found = ast.literal_eval({"true": "True", "false": "False"}.get(text, text))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text
    return found if isinstance(found, (bool, int, float, str)) else text
