"""Reads what a user asks for: presets and spec files, and the tables of a grid, checked field by field."""

from __future__ import annotations

import tomllib
from typing import Any

from pydantic import ValidationError

from lcrbench import registry
from lcrbench.bench.records.spec import Grid
from lcrbench.errors import UserError, unknown


def read_grid(preset: str) -> dict[str, Any]:
    """Return the plain tables of a preset: a name of the registry, an import path, or a .toml file of the same form.

    Raises `UserError` for an unknown preset, or a file that is missing or not valid TOML.
    """
    path = registry.file("preset", preset)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the spec file {preset}: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{preset} is not valid TOML: {error}") from error


def make_grid(tables: dict[str, Any]) -> Grid:
    """Return the grid that plain tables describe; raises `UserError` that names the first wrong field."""
    try:
        return Grid.model_validate(tables)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "spec"
        if first["type"] == "extra_forbidden":
            model = _model_at(first["loc"][:-1])
            raise unknown("field", field, [".".join([*map(str, first["loc"][:-1]), f]) for f in model]) from error
        message = first["msg"].removeprefix("Value error, ")
        raise UserError(f"{field}: {message} (got {first['input']!r})") from error


def _model_at(loc: tuple[str | int, ...]) -> list[str]:
    model: Any = Grid
    for part in loc:
        model = model.model_fields[str(part)].annotation
    return list(model.model_fields)
