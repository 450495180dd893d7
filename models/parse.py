"""Reads and writes `NAME:OPTION=VALUE,...` and `METHOD:...+REGULARIZER:...`: the one form in which people name things.

    text    = part { "+" part }
    part    = name [ ":" option { "," option } ]
    option  = key "=" value
    value   = true | false | number | word | "quoted" | ( value , value , ... )
    name    = letters, digits, "_", "." and "-", as in `irnet` or the import path `my_pkg.my_method`
    word    = any characters but spaces and , + : = " ( )
    quoted  = as in JSON: \\" \\\\ \\n \\t \\uXXXX stand for characters

A number is one of Python's: `2`, `-0.5`, `1e16`, `1e+20` ("+" belongs to it). A word that is a number or a truth value has
to be quoted to be a string. `write` puts in quotes what needs it, and `read(write(parts)) == parts` for every finite number,
truth value, string and tuple of these. Nothing here imports torch, so that lists and records can use it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lcrbench.errors import UserError, unknown

Value = bool | int | float | str | tuple[Any, ...]

_NAME = re.compile(r"\w[\w.-]*")
_KEY = re.compile(r"[A-Za-z_]\w*")
_NUMBER = re.compile(r"-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?=[,+)]|\Z)")
_WORD = re.compile(r"[^\s,+:=\"()]+")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
# Tuples within each other: an option needs one.
_DEEPEST = 16
# What is written without quotes: words that no shell, and no reader, could take for something else.
_PLAIN = re.compile(r"[A-Za-z_./~][\w./~-]*", re.ASCII)


@dataclass(frozen=True)
class Part:
    """A name with the options that were given to it; an option written without a value has None."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)


def read(text: str, what: str = "name with options", form: str = "NAME:OPTION=VALUE,...") -> list[Part]:
    """Return the parts of a text, options with their literal values.

    Raises `UserError` for a text that is not of this form, and for an option that is given twice. The message names
    `what` was to be read, and the `form` that it has.
    """
    return _Reader(text, f"'{text}' is no {what}: write {form}").parts()


def write(parts: Iterable[Part]) -> str:
    """Return the text of parts; raises `ValueError` for a number that is not finite, or a value that has no text."""
    return "+".join(
        part.name + (":" + ",".join(f"{k}={_written(v)}" for k, v in part.options.items()) if part.options else "")
        for part in parts
    )


def typed(name: str, given: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return the given options of `name`, each converted to the type of its default.

    A whole number stands for a number, and for nothing else. Raises `UserError` for an option without a default of that
    name, without a value, or with a value of another type.
    """
    options = {}
    for key, value in given.items():
        if key not in defaults:
            raise unknown(f"option of {name}", key, defaults)
        if value is None:
            raise UserError(f"option '{key}' of {name} has no value: write {key}={_written(defaults[key])}")
        options[key] = _converted(name, key, value, defaults[key])
    return options


def changed(options: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return those options that differ from their default."""
    return {k: v for k, v in options.items() if k not in defaults or v != defaults[k]}


def _converted(name: str, key: str, given: Any, default: Any) -> Any:
    value = given
    if isinstance(default, bool):
        if isinstance(value, str) and value.lower() in ("true", "false"):
            value = value.lower() == "true"
        right, what = isinstance(value, bool), "true or false"
    elif isinstance(default, int):
        right, what = isinstance(value, int) and not isinstance(value, bool), "a whole number"
    elif isinstance(default, float):
        if isinstance(value, int) and not isinstance(value, bool):
            value = _real(value)
        right, what = isinstance(value, float) and math.isfinite(value), "a number"
    elif isinstance(default, tuple):
        if isinstance(value, tuple) and default:
            return tuple(_converted(name, key, item, default[0]) for item in value)
        right, what = isinstance(value, tuple), f"a list such as {_written(default)}"
    else:
        right, what = isinstance(value, str), f'text, which is written "{_shown(value)}",'
    if not right:
        raise UserError(f"option '{key}' of {name} is {what}, not '{_shown(given)}'")
    return value


def _real(whole: int) -> float:
    try:
        return float(whole)
    except OverflowError:
        return math.inf


def _shown(value: Any) -> str:
    try:
        return value if isinstance(value, str) else _written(value)
    except ValueError:
        return str(value)


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} has no text: a number is finite")
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (tuple, list)):
        return "(" + ",".join(map(_written, value)) + (",)" if len(value) == 1 else ")")
    if isinstance(value, str):
        return value if _PLAIN.fullmatch(value) and isinstance(_literal(value), str) else _quoted(value)
    raise ValueError(f"{value!r} has no text: an option is true or false, a number, a string, or a tuple of these")


def _quoted(text: str) -> str:
    return '"' + "".join(c if c.isprintable() and c not in '"\\' else json.dumps(c)[1:-1] for c in text) + '"'


def _literal(word: str) -> Value:
    """Return what a word without quotes stands for; a number that is not finite stays a word, which no number accepts."""
    if word in ("true", "false"):
        return word == "true"
    if _NUMBER.fullmatch(word):
        try:
            return int(word)
        except ValueError:
            number = float(word)
            return number if math.isfinite(number) else word
    return word


class _Reader:
    """Reads one text from left to right."""

    def __init__(self, text: str, wrong: str) -> None:
        self.text, self.wrong, self.at = text, wrong, 0

    def parts(self) -> list[Part]:
        found = [self._part()]
        while self._take("+"):
            found.append(self._part())
        if self.at < len(self.text):
            raise self._wrong()
        return found

    def _part(self) -> Part:
        name = self._match(_NAME)
        if not name:
            raise self._wrong()
        options: dict[str, Any] = {}
        if self._take(":"):
            while not self._ended():
                key = self._match(_KEY)
                if not key:
                    raise self._wrong()
                if key in options:
                    raise UserError(f"'{self.text}' gives the option '{key}' of {name} twice")
                options[key] = self._value() if self._take("=") else None
                if not self._take(","):
                    break
        return Part(name, options)

    def _value(self, depth: int = 0) -> Any:
        if self._take("("):
            if depth == _DEEPEST:
                raise self._wrong()
            items = []
            while not self._take(")"):
                items.append(self._value(depth + 1))
                if not self._take(",") and not self.text.startswith(")", self.at):
                    raise self._wrong()
            return tuple(items)
        if quoted := self._match(_QUOTED):
            try:
                return json.loads(quoted, strict=False)
            except ValueError:
                raise UserError(f"'{self.text}' has a string that cannot be read: {quoted}") from None
        word = self._match(_NUMBER) or self._match(_WORD)
        # Nothing between "=" and the next option is the empty string.
        return _literal(word) if word else ""

    def _ended(self) -> bool:
        return self.at == len(self.text) or self.text.startswith("+", self.at)

    def _take(self, mark: str) -> bool:
        there = self.text.startswith(mark, self.at)
        self.at += len(mark) if there else 0
        return there

    def _match(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self.at)
        self.at = found.end() if found else self.at
        return found.group() if found else ""

    def _wrong(self) -> UserError:
        rest = self.text[self.at :]
        why = f"'{rest}' does not fit" if self.at > 0 and rest else ""
        return UserError(f"{self.wrong} ({why}; strings with , + : = go in quotes)" if why else self.wrong)
