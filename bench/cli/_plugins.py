"""What `new` and `conform` share: the kinds of entries that come from outside, and the names that they have."""

from __future__ import annotations

import keyword
import re
import sys
from pathlib import Path
from typing import Final

from lcrbench import untrusted
from lcrbench.errors import UserError

MARKS = {
    "method": ("Method",),
    "regularizer": ("Regularizer",),
    "estimator": ("Estimator",),
    "transform": ("Transform",),
    "optimizer": ("Optimizer",),
    "schedule": ("Schedule",),
    "backbone": ("build",),
    "metric": ("measure",),
    "corruption": ("apply", "into"),
    "source": ("load",),
    "table": ("table",),
    "figure": ("figure",),
    "executor": ("make",),
    "loader": ("load_network",),
}
"""What a module of each kind defines at least one of, and by which its kind is told. A preset is no module."""

LONGEST: Final = 100
"""Letters of a name, whose files have some more."""

FOLDER = "my_plugins"
"""Where `new` puts an entry whose name has no dot. An import path needs one."""

_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*")


def path_of(name: str) -> str:
    """Return the import path of a new entry; raises `UserError` for a name that no module can have."""
    if not _NAME.fullmatch(name):
        raise UserError(
            f"'{name}' names no module: write small letters, digits and _, as in my_method or my_pkg.my_method"
        )
    if word := next((part for part in name.split(".") if keyword.iskeyword(part) or len(part) > LONGEST), ""):
        why = "is a word of Python's own" if keyword.iskeyword(word) else f"has more than {LONGEST} letters"
        raise UserError(f"'{untrusted.told(name)[1:-1]}' names no module: '{word[:20]}' {why}")
    first = name.partition(".")[0]
    if "." in name and first in sys.stdlib_module_names:
        raise UserError(f"'{name}' would be looked for in Python's own module '{first}': choose another package")
    return name if "." in name else f"{FOLDER}.{name}"


def entry_of(text: str) -> str:
    """Return what the registry takes for a name, an import path, or a module's file in or below the current folder.

    Raises `UserError` for a file that does not exist, that lies elsewhere, or that no import path reaches.
    """
    if not text.endswith(".py") and "/" not in text:
        return text
    file = untrusted.place(text)
    if not file.is_file():
        raise UserError(f"there is no file '{text}'")
    try:
        parts = file.resolve().relative_to(Path.cwd().resolve()).with_suffix("").parts
    except ValueError:
        raise UserError(f"'{text}' does not lie in the current folder: go there, or name its import path") from None
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        raise UserError(
            f"'{text}' has no import path with a dot: put it into a folder of the current one, such as {FOLDER}/"
        )
    return ".".join(parts)
