"""Every entry of every kind keeps its contract, and one more is one file: it is found and checked without another edit."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from string import Template

import pytest

from lcrbench import registry, testing
from lcrbench.errors import UserError

TEMPLATES = Path(__file__).parents[1] / "bench" / "templates"


# Nineteen functions of a slow package: by default two stand for them.
MANY = ("corruption", "imagecorruptions")
OURS = [(k, n) for k in registry.PACKAGES for n in registry.files(k)]


@pytest.mark.parametrize(
    ("kind", "name"), [pytest.param(*one, marks=pytest.mark.slow if one == MANY else ()) for one in OURS]
)
def test_each_of_our_own_entries_conforms(kind: str, name: str) -> None:
    if name == "ray":
        pytest.importorskip("ray", reason="the extra ray is not installed")
    assert testing.conform(kind, name) == []


def test_functions_of_another_package_conform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry.load(*MANY), "VARIANTS", ("fog", "pixelate"))
    assert testing.conform(*MANY) == []


def test_each_kind_has_an_entry_a_suite_and_a_template() -> None:
    assert {*testing.SUITES} == {*registry.PACKAGES}
    for kind in registry.PACKAGES:
        assert registry.files(kind), kind
        assert (TEMPLATES / f"{kind}{registry.SUFFIX.get(kind, '.py')}.txt").is_file(), kind


@pytest.fixture
def one_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], str]]:
    """Put an entry made of its template among our own, as if its file lay in the folder of its kind; return its name."""
    made: list[str] = []

    def add(kind: str) -> str:
        name, package = "one_more", registry.PACKAGES[kind]
        template = TEMPLATES / f"{kind}{registry.SUFFIX.get(kind, '.py')}.txt"
        root, part, *inner = package.split(".")
        folder = tmp_path.joinpath(*inner)
        folder.mkdir(parents=True)
        text = Template(template.read_text(encoding="utf-8")).substitute(kind=kind, name=name, path=name)
        (folder / template.name.removesuffix(".txt").replace(kind, name, 1)).write_text(text, encoding="utf-8")
        for found, place in ((f"{root}.{part}", tmp_path), (package, folder)):
            module = importlib.import_module(found)
            monkeypatch.setattr(module, "__path__", [*module.__path__, str(place)])
            monkeypatch.setattr(module.__spec__, "submodule_search_locations", module.__path__)
        importlib.invalidate_caches()
        made.append(f"{package}.{name}")
        return name

    yield add
    for module in made:
        sys.modules.pop(module, None)
        parent, _, name = module.rpartition(".")
        vars(sys.modules[parent]).pop(name, None)


@pytest.mark.parametrize("kind", registry.PACKAGES)
def test_one_more_entry_is_one_file(kind: str, one_more: Callable[[str], str]) -> None:
    before = [*registry.files(kind)]
    name = one_more(kind)
    assert [*registry.files(kind)] == sorted([*before, name])
    assert name in registry.names(kind)
    assert len(registry.summary(kind, name)) > 10
    assert testing.conform(kind, name) == []


def test_an_unknown_kind_or_entry_is_told() -> None:
    with pytest.raises(UserError, match="did you mean 'method'"):
        testing.conform("methods", "irnet")
    for kind in registry.PACKAGES:
        for name in ("no_such_thing", "no_such.thing"):
            (found,) = testing.conform(kind, name)
            assert kind in found
            assert name in found


def test_a_misspelt_part_is_told_where_the_part_is_missing() -> None:
    parts = ("detect", "ORDER")
    assert list(testing.misspelt(parts, ["load", "detect", "detects", "ORDER", "BORDER"])) == []
    assert len(list(testing.misspelt(parts, ["detects", "ORDERS", "_order", "loads"]))) == 2
