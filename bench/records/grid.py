"""What a user asks for: the grid, and how it is read from presets and spec files, checked field by field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, ValidationError, field_validator, model_validator

from lcrbench import registry
from lcrbench.bench.records.budget import Budget, Frozen, Real, Recipe, Whole
from lcrbench.errors import UserError, unknown
from lcrbench.untrusted import SPEC_BYTES, shown, small_file, told, toml_of

# One tuple type for both kinds of number: with two, 8.0 in a tuple would come back from JSON as 8, and the spec with another
# hash.
Option = bool | int | float | str | tuple[int | float, ...] | None
Options = dict[str, Option]


class Data(Frozen):
    """Which images: a built-in name or a path, how large, and how many of them."""

    source: str = Field(
        "fashion-mnist-10k", description="name of embedded or fabricated data, or a path to images on the disk"
    )
    size: Whole = Field(32, ge=8, le=512, description="side of the square images in pixels, as networks take them")
    resize: Whole | None = Field(
        None,
        ge=8,
        le=1024,
        description="shorter side of test images in pixels, from whose middle `size` are cut; null: `size`",
    )
    train: Whole | None = Field(None, gt=0, description="class-balanced subset of this many training images")
    test: Whole | None = Field(None, gt=0, description="class-balanced subset of this many test images")
    stream: bool | None = Field(
        None, description="leave images in their files; null: where they would take over a quarter of the memory"
    )


class Evaluation(Frozen):
    """What a network is shown: which corruptions of the test images, at which severities."""

    corruptions: tuple[str, ...] = Field(
        ("gaussian_noise",), description="names of corruptions or of groups of them: `noise`, `common`, `all`"
    )
    severities: tuple[Whole, ...] = Field((1, 2, 3, 4, 5), description="from 1, the weakest, to 5")
    seed: Whole = Field(0, ge=0, description="seed of the corruptions' randomness, shared by all networks")
    block: Whole = Field(
        100, gt=0, le=65_536, description="images a forward pass: the network always runs on padded blocks of this size"
    )
    stream: str = Field("", description="name of the corruptions' randomness; empty: the hash of the test images")

    @field_validator("severities")
    @classmethod
    def _one_to_five(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(s not in range(1, 6) for s in value):
            raise ValueError("severities are whole numbers from 1 to 5")
        return tuple(sorted(set(value)))


class Tuning(Frozen):
    """How the options and the recipe of a method were chosen: `lcrbench tune` writes it, and a run carries it on.

    Each trial is a training under the run's own budget. The best accuracy on validation images, which are held out of the
    training images, decides; test images have no part in it.
    """

    trials: Whole = Field(gt=0, description="trainings that were compared, the same number for each method of a search")
    images: Whole = Field(
        ge=0, description="training images seen in all trials together, a teacher's own training included"
    )
    validation: Whole = Field(
        gt=0, description="images held out of the training images, by which the best trial was chosen"
    )
    searched: dict[str, tuple[Option, ...]] = Field(
        {}, description="the values that the trials were drawn from, by option"
    )
    accuracy: Real | None = Field(None, description="of the chosen trial on the validation images, in [0, 1]")
    cpu: Real = Field(0.0, ge=0, description="CPU seconds of all trials together")
    wall: Real = Field(0.0, ge=0, description="wall seconds of all trials together")


class Tuned(Frozen):
    """A method's entry in [tuned]: how it was tuned, and the fields of the recipe that were chosen for it alone."""

    tuning: Tuning = Field(description="how it was chosen")
    recipe: dict[str, Option] = Field({}, description="the fields of the recipe that were chosen, by name")


class Grid(Frozen):
    """A comparison: methods x seeds under one budget and recipe, on one data set and one backbone.

    `recipe = "paper"`, or `like = "paper"` in [recipe] beside fields that no method recommends, trains each method by the
    recipe of its paper. [tuned] holds, by method, what `lcrbench tune` chose.
    """

    data: Data = Data()
    backbone: str = Field("vgg_tiny", description="topology of all networks, with options: `resnet18:stem=cifar`")
    methods: tuple[str, ...] = Field(
        ("full_precision", "bnn", "irnet", "irnet+lcr"),
        min_length=1,
        description="each with its options and regularizers: `irnet+lcr:weight=0.5`",
    )
    seeds: tuple[Annotated[Whole, Field(ge=0)], ...] = Field(
        (0,), min_length=1, description="each method is trained once with each"
    )
    budget: Budget = Budget()
    recipe: Recipe = Recipe()
    recipe_of: Literal["comparison", "paper"] = Field(
        "comparison", description="whose recipe: one of the comparison for all methods, or of each method's paper"
    )
    tuned: dict[str, Tuned] = Field(
        {}, description="what a search chose for a method, by the method as it is typed in `methods`"
    )
    evaluation: Evaluation = Evaluation()
    metrics: dict[str, Options] | None = Field(
        None, description="by name, with options; null: those of ours that are measured by default"
    )

    @model_validator(mode="before")
    @classmethod
    def _like_paper(cls, given: Any) -> Any:
        recipe = given.get("recipe") if isinstance(given, Mapping) else None
        if isinstance(recipe, str):
            recipe = {"like": recipe}
        if not isinstance(recipe, Mapping) or "like" not in recipe:
            return given
        if recipe["like"] != "paper":
            raise ValueError(f"recipe is a table of fields, or 'paper', not '{recipe['like']}'")
        rest = {k: v for k, v in recipe.items() if k != "like"}
        return {**given, "recipe": rest, "recipe_of": "paper"}

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
    return toml_of(small_file(path, "spec file", SPEC_BYTES), shown(preset))


def make_grid(tables: dict[str, Any]) -> Grid:
    """Return the grid that plain tables describe; raises `UserError` that names the first wrong field."""
    return checked(Grid, tables)


M = TypeVar("M", bound=Frozen)


def checked(kind: type[M], tables: Mapping[str, Any]) -> M:
    """Return the spec, or the part of one, that plain tables describe; raises `UserError` as `make_grid` does."""
    try:
        return kind.model_validate(tables)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "spec"
        if first["type"] == "extra_forbidden":
            model = _model_at(kind, first["loc"][:-1])
            raise unknown("field", field, [".".join([*map(str, first["loc"][:-1]), f]) for f in model]) from error
        message = first["msg"].removeprefix("Value error, ")
        # What is wrong with the whole is told without it.
        got = f" (got {told(first['input'])})" if first["loc"] else ""
        raise UserError(f"{field}: {message}{got}") from error


def _model_at(kind: type[Frozen], loc: tuple[str | int, ...]) -> list[str]:
    model: Any = kind
    for part in loc:
        found = model.model_fields.get(str(part)) if hasattr(model, "model_fields") else None
        # In [tuned] a part is the name of a method.
        model = found.annotation if found else Tuned
    return list(model.model_fields)
