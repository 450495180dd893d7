"""Loads the class that an entry defines, and checks it against its contract (`models/api.py` for models)."""

from __future__ import annotations

import dataclasses
from types import ModuleType
from typing import Any

from lcrbench import registry
from lcrbench.errors import UserError, unknown
from lcrbench.models import api

CONTRACTS: dict[str, type] = {"method": api.Method, "regularizer": api.Regularizer}
# What an option's default may be, since it is recorded and written as text.
VALUES = (bool, int, float, str, tuple)


def definition(kind: str, name: str) -> Any:
    """Return the class `Method` or `Regularizer` of an entry.

    Raises `UserError` if there is none, if it lacks what the contract asks for, or if it or one of the module's terms has a
    public attribute that the contract does not name.
    """
    module = registry.load(kind, name)
    cls = checked(module, CONTRACTS[kind], kind, name)
    for term in vars(module).values():
        if isinstance(term, type) and issubclass(term, api.Term):
            _refuse_unknown(f"attribute of the class '{term.__name__}' of the {kind} '{name}'", term, api.Term)
    return cls


def checked(module: ModuleType, base: type, kind: str, name: str) -> Any:
    """Return the class of the contract's name that an entry's module defines: a dataclass whose fields are the options.

    Raises `UserError` as `definition` does.
    """
    title = base.__name__
    cls, where = getattr(module, title, None), f"the class '{title}' of the {kind} '{name}'"
    if cls is None:
        raise UserError(f"the {kind} '{name}' defines no class '{title}'")
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise UserError(f"{where} does not inherit from {base.__module__}.{title}")
    if "__dataclass_params__" not in vars(cls):
        raise UserError(f"{where} is no dataclass: write @dataclass(frozen=True) above it")
    abstract: frozenset[str] = getattr(cls, "__abstractmethods__", frozenset())
    missing = [n for n in _declared(base) if n in abstract or not (n in _fields(cls) or hasattr(cls, n))]
    if missing:
        raise UserError(f"{where} lacks {', '.join(missing)}")
    options: tuple[dataclasses.Field[Any], ...] = dataclasses.fields(cls)  # type: ignore[arg-type]
    for option in options:
        if not isinstance(option.default, VALUES):
            raise UserError(f"the option '{option.name}' of the {kind} '{name}' has no default of {_names(VALUES)}")
    _refuse_unknown(f"attribute of {where}", cls, base)
    return cls


def _refuse_unknown(what: str, cls: type, base: type) -> None:
    allowed = _declared(base)
    for owner in cls.__mro__[: cls.__mro__.index(base)]:
        for attribute in vars(owner):
            if not attribute.startswith("_") and attribute not in (*allowed, *_fields(cls)):
                raise unknown(what, attribute, allowed)


def _declared(base: type) -> list[str]:
    """Return the public attributes that a contract names, in its own order."""
    return [n for n in dict.fromkeys((*base.__annotations__, *vars(base))) if not n.startswith("_")]


def _fields(cls: Any) -> list[str]:
    return [f.name for f in dataclasses.fields(cls)] if dataclasses.is_dataclass(cls) else []


def _names(types: tuple[type, ...]) -> str:
    return ", ".join(t.__name__ for t in types)
