"""What a user asks for: the grid, and how it is read from presets and spec files, checked field by field."""

from __future__ import annotations

import tomllib
from typing import Annotated, Any

from pydantic import Field, ValidationError, field_validator

from lcrbench import registry
from lcrbench.bench.records.budget import Budget, Frozen, Recipe
from lcrbench.errors import UserError, unknown

# One tuple type for both kinds of number: with two, 8.0 in a tuple would come back from JSON as 8, and the spec with another
# hash.
Option = bool | int | float | str | tuple[int | float, ...] | None
Options = dict[str, Option]


class Data(Frozen):
    """Which images: a built-in name or a path, how large, and how many of them."""

    source: str = "fashion-mnist-10k"
    size: int = Field(32, ge=8, le=512)
    train: int | None = Field(None, gt=0, description="class-balanced subset of this many training images")
    test: int | None = Field(None, gt=0, description="class-balanced subset of this many test images")


class Evaluation(Frozen):
    """What a network is shown: which corruptions of the test images, at which severities."""

    corruptions: tuple[str, ...] = ("gaussian_noise",)
    severities: tuple[int, ...] = (1, 2, 3, 4, 5)
    seed: int = Field(0, ge=0, description="seed of the corruptions' randomness, shared by all networks")
    block: int = Field(
        100, gt=0, description="images a forward pass: the network always runs on padded blocks of this size"
    )

    @field_validator("severities")
    @classmethod
    def _one_to_five(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(s not in range(1, 6) for s in value):
            raise ValueError("severities are whole numbers from 1 to 5")
        return tuple(sorted(set(value)))


class Grid(Frozen):
    """A comparison: methods x seeds under one budget and recipe, on one data set and one backbone."""

    data: Data = Data()
    backbone: str = "vgg_tiny"
    methods: tuple[str, ...] = Field(("full_precision", "bnn", "irnet", "irnet+lcr"), min_length=1)
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field((0,), min_length=1)
    budget: Budget = Budget()
    recipe: Recipe = Recipe()
    evaluation: Evaluation = Evaluation()
    metrics: dict[str, Options] | None = Field(
        None, description="by name, with options; null: those of ours that are measured by default"
    )

    @field_validator("evaluation")
    @classmethod
    def _corrupted(cls, value: Evaluation) -> Evaluation:
        for field in ("corruptions", "severities"):
            if not getattr(value, field):
                raise ValueError(f"{field} names none: a comparison needs one at least")
        return value


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
