"""Reads what a user asks for: presets and spec files, and the tables of a grid, checked field by field."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lcrbench.bench.records.spec import Grid
from lcrbench.errors import UserError, unknown


def presets() -> dict[str, str]:
    """Return the presets' names with their one-line descriptions."""
    found = {}
    for file in sorted(files("lcrbench.bench.presets").iterdir(), key=lambda f: f.name):
        if file.name.endswith(".toml"):
            text = file.read_text(encoding="utf-8")
            found[file.name.removesuffix(".toml")] = text.partition("\n")[0].lstrip("# ")
    return found


def read_grid(preset: str) -> dict[str, Any]:
    """Return the plain tables of a preset, by its name or by the path of a .toml file of the same form.

    Raises `UserError` for an unknown preset, or a file that is missing or not valid TOML.
    """
    path = Path(preset)
    if path.suffix == ".toml":
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"cannot read the spec file {preset}: {error}") from error
    elif preset in presets():
        text = (files("lcrbench.bench.presets") / f"{preset}.toml").read_text(encoding="utf-8")
    else:
        raise unknown("preset", preset, presets())
    try:
        return tomllib.loads(text)
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
