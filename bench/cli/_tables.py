"""Reads what the commands that run a grid share: a preset's tables, with the command line's values in them."""

from __future__ import annotations

from typing import Any

from lcrbench.errors import UserError
from lcrbench.untrusted import shown, toml_of


def override(tables: dict[str, Any], given: dict[str, Any], assignments: tuple[str, ...]) -> dict[str, Any]:
    """Put what was given on the command line into a preset's tables, and return them.

    `given` are values by the option's name (None: not given), `assignments` are FIELD=VALUE. With recipe = "paper" the
    preset's recipe is left out.
    """
    from lcrbench.bench.records import budget

    places = {
        "source": "data.source", "size": "data.size", "train": "data.train", "test": "data.test",
        "backbone": "backbone", "methods": "methods", "seeds": "seeds", "images": "budget.images", "epochs": "budget.epochs",
        "batch": "recipe.batch", "lr": "recipe.lr", "corruptions": "evaluation.corruptions",
        "severities": "evaluation.severities",
    }  # fmt: skip
    values: dict[str, Any] = {}
    if given.get("recipe"):
        tables["recipe"] = {"like": given["recipe"]}
    elif isinstance(tables.get("recipe"), str):
        tables["recipe"] = {"like": tables["recipe"]}
    for option, value in given.items():
        if value is not None and option != "recipe":
            lists = option in ("methods", "seeds", "corruptions", "severities")
            values[places[option]] = value.split() if lists else value
    for option in ("seeds", "severities"):
        if (place := places[option]) in values:
            try:
                values[place] = [int(v) for v in values[place]]
            except ValueError as error:
                raise UserError(f"--{option} takes whole numbers separated by spaces: {error}") from error
    for text in assignments:
        field, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"--set takes FIELD=VALUE, not '{text}'")
        if len(found := _toml(f"value = {value}")) == 1:
            value = found["value"]
        values[field.strip()] = value
    if given.get("epochs") is not None:
        if given.get("images") is not None:
            raise UserError("--epochs and --images are both given: a budget has one amount")
        values.setdefault("budget.unit", "epochs")
    stated = tables.get("budget")
    if given.get("images") is not None and isinstance(stated, dict) and stated.get("unit") in ("epochs", "seconds"):
        # In the place of the preset's amount, whatever that is counted in.
        values.setdefault("budget.unit", "images")
    chosen = {p.removeprefix("budget."): v for p, v in values.items() if p.startswith("budget.")}
    if chosen and isinstance(tables.get("budget", {}), dict):
        tables["budget"] = budget.override(tables.get("budget", {}), chosen)
    for place, value in values.items():
        *path, last = _keys(place)
        table = tables
        for part in path:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise UserError(f"'{place}' is no field of a spec: {part} holds no fields")
        table[last] = value
    return tables


def _keys(place: str) -> list[str]:
    """Return the keys that lead to a field, as TOML has them: `metrics."my_pkg.my_metric"` are two."""
    table: Any = _toml(f"{place} = 0")
    keys = []
    while isinstance(table, dict) and len(table) == 1:
        ((key, table),) = table.items()
        keys.append(key)
    if table != 0:
        raise UserError(f"--set takes FIELD=VALUE, and '{shown(place)[:80]}' is no field")
    return keys


def _toml(text: str) -> dict[str, Any]:
    """Return what a line of TOML holds; nothing if it is none."""
    try:
        return toml_of(text, "--set")
    except UserError:
        return {}
