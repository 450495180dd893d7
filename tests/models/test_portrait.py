"""The curves that the page and `show method` draw are those of the layers."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lcrbench import registry
from lcrbench.models import portrait

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", registry.names("method"))
def test_curves(name: str) -> None:
    found = portrait.curves(name, points=41)
    if name == "full_precision":
        assert found == []
        assert portrait.text(name) == ""
        return
    assert [c.of for c in found] == ["activation", "weight"]
    for curve in found:
        assert len(set(curve.value)) == 2
        # The first terms of a Fourier series fall below 0 before |x| = 1; a sine and a magnitude fall too.
        falls = name == "fda" or (curve.of == "weight" and name in ("biper", "siman"))
        assert falls or all(s >= 0 for slope in curve.slope.values() for s in slope)
        assert max(map(max, curve.slope.values())) > 0
    text = portrait.text(name)
    assert "pseudo-gradient" in text
    assert all(len(line) <= 80 for line in text.splitlines())


def test_known_curves() -> None:
    activation, weight = portrait.curves("irnet", points=5)
    assert activation.value == (-1, -1, 1, 1, 1)
    assert activation.slope[0.0] == pytest.approx([1] * 5, abs=1e-4)
    assert activation.slope[1.0][2] == pytest.approx(10)
    assert list(weight.slope) == [0.0, 0.5, 1.0]
    assert portrait.curves("dorefa", points=5)[0].value == (0, 0, 0, 1, 1)
    assert list(portrait.curves("bi_real", points=5)[0].slope) == [0.0]
    assert portrait.curves("bi_real", points=5)[1].slope[0.0] == (0, 1, 1, 1, 0), "1 if |w| <= 1 else 0"
    # Q = mean|x| * 1.204 at first and 3.91 at the end, of a grid whose mean magnitude is 1.2.
    clamp = portrait.curves("recu", points=5)[1].slope
    assert (clamp[0.0], clamp[1.0]) == ((0, 1, 1, 1, 0), (1, 1, 1, 1, 1))


def test_a_weights_curve_shows_what_lies_before_the_estimator() -> None:
    magnitude = portrait.curves("siman", points=5)[1]
    assert magnitude.value == (1, -1, -1, -1, 1), "+1 above the median magnitude, whatever the sign"
    assert magnitude.slope[0.0] == (-1, -1, 0, 1, 1)
    wave = portrait.curves("biper", end=1.75, points=8)[1]
    assert wave.value == (1, 1, -1, -1, 1, 1, -1, -1), "the sign of a sine, of half-periods"
    assert wave.slope[0.0][3] == pytest.approx(math.pi * math.cos(0.25 * math.pi))


@pytest.mark.parametrize("name", registry.files("method"))
def test_the_recommended_recipe_is_shown(name: str) -> None:
    """With its source, and with what differs by backbone."""
    shown = portrait.recipe(name)
    for backbone in registry.files("backbone"):
        for key, value in registry.load("method", name).Method().recipe(backbone).items():
            assert f"{key}={value}" in shown
    assert ("On vgg_small: lr=0.007" in shown) == (name == "irnet")
    assert "code" in shown or "arXiv" in shown or not shown


@pytest.mark.parametrize("name", registry.names("estimator"))
def test_the_curve_of_an_estimator(name: str) -> None:
    curve = portrait.estimator_curve(name, points=5)
    assert curve.value == (-1, -1, 1, 1, 1)
    text = portrait.text(name, kind="estimator")
    assert f"estimator {name}: value" in text
    assert "pseudo-gradient" in text


@pytest.fixture(scope="module")
def tool() -> Iterator[Any]:
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        import make_methods_page

        yield make_methods_page
    finally:
        sys.path.pop(0)


def test_the_page_is_up_to_date(tool: Any) -> None:
    written = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    assert written == tool.page(), "run python tools/make_methods_page.py"
    for kind in ("method", "regularizer", "backbone"):
        for name in registry.files(kind):
            assert f"### `{name}`" in written


@pytest.mark.parametrize("name", registry.files("method"))
def test_the_figures_are_up_to_date(tool: Any, name: str) -> None:
    found = portrait.curves(name)
    assert tool.picture(name).exists() == bool(found)
    if found:
        svg = tool.picture(name).read_text(encoding="utf-8")
        assert f"<dc:title>{tool.mark(found)}</dc:title>" in svg, "run python tools/make_methods_page.py"


@pytest.mark.parametrize("kind", ["method", "regularizer"])
def test_options_are_listed(kind: str) -> None:
    for name in registry.files(kind):
        cls = getattr(registry.load(kind, name), kind.capitalize())
        text = portrait.options(kind, name)
        for field in dataclasses.fields(cls):
            assert f"`{field.name}`" in text, f"{name} says nothing of its option {field.name}"
            assert f"{field.name}={field.default}" in text
