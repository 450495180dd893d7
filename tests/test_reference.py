"""The generated pages of fields say of each field what it is: type, bounds, default and meaning, all from the code."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
from pydantic import BaseModel, Field

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_reference", ROOT / "tools" / "make_reference.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows(lines: list[str]) -> list[tuple[str, list[str]]]:
    """Return the rows of a page's tables, as cells, each with the heading above it."""
    found, heading = [], ""
    for line in lines:
        heading = line.removeprefix("## ") if line.startswith("## ") else heading
        if line.startswith("| `"):
            found.append((heading, [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]))
    return found


def test_every_field_of_specs_and_records_has_a_meaning(tool: ModuleType) -> None:
    told: dict[type[BaseModel], str] = {}
    for name, (title, models) in tool.PAGES.items():
        found = tool.reachable(models)
        new = [model for model in found if model not in told]
        told |= dict.fromkeys(new, name)
        listed = rows(list(tool.schema(title, new, told)))
        assert len(listed) == sum(len(model.model_fields) for model in new) > 50
        assert [(heading, cells[0]) for heading, cells in listed if not cells[3] or not cells[1]] == []
        # A required field has no default, and no other field is without one, but for a table of its own.
        for model in new:
            of_model = {cells[0].strip("`"): cells for heading, cells in listed if heading == model.__name__}
            for field, about in model.model_fields.items():
                table = isinstance(about.get_default(call_default_factory=True), BaseModel)
                assert bool(of_model[field][2]) == (not about.is_required() and not table), (model.__name__, field)


def test_a_field_without_words_would_be_seen(tool: ModuleType) -> None:
    class Told(BaseModel):
        """Words.

        `above` names the
        height: of a thing. What `bare` is, is not told.
        """

        bare: int = 0
        above: int = 0
        words: int = Field(3, ge=1, le=9, description="how many")
        rates: tuple[float, ...] = Field((0.5,), min_length=1)
        below: float = Field(0.5, ge=0, lt=1)

    cells = {row[0].strip("`"): row for _, row in rows(list(tool.schema("A page", [Told], {})))}
    assert cells["bare"] == ["`bare`", "`int`", "`0`", ""]
    assert cells["above"][3] == "names the height"
    assert cells["words"] == ["`words`", "`int`, 1 to 9", "`3`", "how many"]
    assert cells["rates"][1] == "`tuple[float, ...]`, not empty"
    assert cells["below"][1] == "`float`, 0 or more, below 1"
