"""Writes plain tables as TOML, which `grid.read_grid` reads back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def written(tables: Mapping[str, Any]) -> str:
    """Return the text of tables of strings, numbers, true and false, lists of these, and tables; None is left out.

    >>> print(written({"seeds": [0], "budget": {"images": 100}}), end="")
    seeds = [0]
    <BLANKLINE>
    [budget]
    images = 100
    """
    return "\n".join(_lines(tables, ())) + "\n"


def _lines(table: Mapping[str, Any], path: tuple[str, ...]) -> list[str]:
    lines = [f"{_key(k)} = {_value(v)}" for k, v in table.items() if v is not None and not isinstance(v, Mapping)]
    for key, value in table.items():
        if isinstance(value, Mapping):
            under = _lines(value, (*path, key))
            head = f"[{'.'.join(_key(k) for k in (*path, key))}]"
            lines += ["", head, *under] if under[:1] != [""] or not value else under
    return lines


def _key(key: str) -> str:
    return key if key.replace("_", "").replace("-", "").isalnum() and key.isascii() else json.dumps(key)


def _value(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, float):
        # TOML has no 1e-05 without a dot problem: repr() of a finite float is a float of TOML.
        return repr(value)
    # JSON's strings, numbers and booleans are TOML's, but for the delete character.
    return json.dumps(value).replace("\x7f", "\\u007f")
