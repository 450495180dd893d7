"""The recipe of each method of a grid: the comparison's, its paper's, or what a search chose for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError

from lcrbench.bench.records.budget import Recipe
from lcrbench.bench.records.grid import Grid, Tuned, Tuning
from lcrbench.bench.records.ids import stated
from lcrbench.bench.records.spec import RecipeOf
from lcrbench.bench.training import parts
from lcrbench.errors import UserError, unknown
from lcrbench.models import network as networks


class Own(NamedTuple):
    """What a method is trained by: a recipe, whose it is, and how it was chosen if it was searched for."""

    recipe: Recipe
    recipe_of: RecipeOf
    tuning: Tuning | None


def tuned(grid: Grid) -> dict[str, Tuned]:
    """Return what [tuned] says, by the methods' labels; raises `UserError` for a name that is no method."""
    return {networks.choose(text).label: found for text, found in grid.tuned.items()}


def own(grid: Grid, choice: networks.Choice, chosen: Tuned | None = None) -> Own:
    """Return the recipe of a method of a grid, each part written in one form, and where it comes from.

    Raises `UserError` for a recipe that does not exist, for a method without a recommended one under "paper", and for a
    field that both the grid and the paper set.
    """
    recipe, whose = grid.recipe, grid.recipe_of
    if whose == "paper":
        given = recommended(choice, grid.backbone)
        if both := sorted(set(given) & grid.recipe.model_fields_set):
            raise UserError(
                f"recipe.{both[0]} is a part of what '{choice.name}' recommends: leave it out, or leave recipe = 'paper' out"
            )
        recipe = _with(recipe, given, f"the recipe that '{choice.name}' recommends")
    result: RecipeOf = whose
    if chosen and chosen.recipe:
        recipe, result = _with(recipe, chosen.recipe, f"tuned.'{choice.label}'.recipe"), "tuning"
    return Own(parts.settled(recipe), result, chosen.tuning if chosen else None)


def recommended(choice: networks.Choice, backbone: str) -> Mapping[str, Any]:
    """Return the recipe that a method recommends for a backbone; raises `UserError` if it recommends none."""
    given = choice.method.recipe(networks.topology(backbone)[0])
    if not given:
        raise UserError(
            f"'{choice.name}' recommends no recipe of its paper: leave it out, or leave recipe = 'paper' out"
        )
    return given


def _with(recipe: Recipe, given: Mapping[str, Any], what: str) -> Recipe:
    if strange := [name for name in given if name not in Recipe.model_fields]:
        raise unknown(f"field of {what}", strange[0], list(Recipe.model_fields))
    try:
        return Recipe.model_validate({**stated(recipe), **given})
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        message = first["msg"].removeprefix("Value error, ")
        raise UserError(f"{what}: {field}: {message} (got {first['input']!r})") from error
