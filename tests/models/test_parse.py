"""Text and typed options: a round trip for every entry and any value, and what is refused."""

from __future__ import annotations

import dataclasses
import inspect
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lcrbench import registry
from lcrbench.errors import UserError
from lcrbench.models import network as networks
from lcrbench.models.parse import Part, changed, read, typed, write

FINITE = st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.booleans() | st.integers() | FINITE | st.text()
VALUES = SCALARS | st.lists(SCALARS, max_size=4).map(tuple)
KEYS = st.from_regex(r"[a-z_][a-z_0-9]{0,8}", fullmatch=True)
NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,5}(\.[a-z][a-z0-9_]{0,5}){0,2}", fullmatch=True)
PARTS = st.builds(Part, NAMES, st.dictionaries(KEYS, VALUES, max_size=4))
BY_TYPE = {bool: st.booleans(), int: st.integers(), float: FINITE, str: st.text()}


def same(a: Any, b: Any) -> bool:
    """Tell whether two values are equal and of one type, all the way down; -0.0 is not 0.0."""
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and repr(a) == repr(b)


def equal(a: list[Part], b: list[Part]) -> bool:
    """Tell whether two texts say the same, the order of options included."""
    return len(a) == len(b) and all(
        p.name == q.name and [*p.options] == [*q.options] and all(map(same, p.options.values(), q.options.values()))
        for p, q in zip(a, b, strict=True)
    )


@given(st.lists(PARTS, min_size=1, max_size=4))
def test_a_text_is_read_as_it_was_written(parts: list[Part]) -> None:
    text = write(parts)
    assert equal(read(text), parts), text
    assert "\n" not in text
    assert write(read(text)) == text


def options_of(kind: str, name: str) -> dict[str, Any]:
    if kind == "backbone":
        parameters = inspect.signature(registry.load(kind, name).build).parameters.values()
        return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    return {f.name: f.default for f in dataclasses.fields(networks.definition(kind, name))}


ENTRIES = [(k, n) for k in ("method", "regularizer", "backbone") for n in registry.names(k)]


@pytest.mark.parametrize(("kind", "name"), ENTRIES)
@given(data=st.data())
def test_every_entry_with_any_values_of_its_options(kind: str, name: str, data: st.DataObject) -> None:
    """What is written is typed to what it was; a choice is chosen again by its label, and a topology by its text."""
    defaults = options_of(kind, name)
    values = {k: data.draw(BY_TYPE[type(v)] | st.just(v), label=k) for k, v in defaults.items()}
    text = write([Part(name, values)])
    (part,) = read(text)
    again = typed(name, part.options, defaults)
    assert all(same(again[k], v) for k, v in values.items())
    try:
        if kind == "backbone":
            assert networks.topology(text) == (name, values)
            return
        choice = networks.choose(text if kind == "method" else f"irnet+{text}")
    except UserError:
        return  # values that the entry itself refuses
    assert networks.choose(choice.label) == choice
    assert networks.choose(choice.label).label == choice.label


def test_the_values_that_broke() -> None:
    """Exponents that Python writes with a plus or without a point, both on the command line and from a record."""
    for text in ("bnn+parseval:weight=1e16", "bnn+parseval:weight=1e+20+lcr:weight=1e-07"):
        choice = networks.choose(text)
        written = write([Part("bnn"), *(Part(k, dataclasses.asdict(r)) for k, r in choice.regularizers.items())])
        assert networks.choose(written) == networks.choose(choice.label) == choice
    assert networks.choose("bnn+parseval:weight=1e16").regularizers["parseval"].weight == 1e16


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a:x=1,y=1.0,z=true,w=word", [1, 1.0, True, "word"]),
        ("a:x=1e3,y=-.5,z=2.,w=-7", [1000.0, -0.5, 2.0, -7]),
        ('a:x="1",y="true",z="",w="a,b+c:d=e (f)"', ["1", "true", "", "a,b+c:d=e (f)"]),
        (r'a:x="\"\\\n\u00e9",y="é"', ['"\\\né', "é"]),
        ("a:x=(1,2.5,true),y=(),z=(1,),w=(1)", [(1, 2.5, True), (), (1,), (1,)]),
        ("a:x=nan,y=inf,z=1e999,w=224px", ["nan", "inf", "1e999", "224px"]),
    ],
)
def test_literals(text: str, values: list[Any]) -> None:
    (part,) = read(text)
    assert all(map(same, part.options.values(), values))
    assert len(part.options) == len(values)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("bnn+lcr:weight=1,weight=2", "gives the option 'weight' of lcr twice"),
        ("bnn+lcr+lcr:weight=2", "names the regularizer 'lcr' twice"),
        ("bnn+lcr:weight=1e999", "is a number, not '1e999'"),
        ("bnn+lcr:weight=true", "is a number, not 'true'"),
        ("bnn+lcr:weight", "option 'weight' of lcr has no value: write weight=0.03"),
        ("bnn+lcr:iterations=5.0", "is a whole number, not '5.0'"),
        ("bnn+parseval:of=3", 'is text, which is written "3"'),
        ('bnn+parseval:of="bin', "is no method"),
        ("bnn+lcr:weight=1;beta=2", "is a number, not '1;beta'|is no method"),
        ("bnn lcr", "is no method"),
        ("reactnet:two_step=2", "is true or false, not '2'"),
        (f"rbnn:t_max={'9' * 400}", "is a number"),
        ("irnet:t_min=(1,2)", "is a number, not '\\(1,2\\)'"),
    ],
)
def test_what_is_refused(text: str, says: str) -> None:
    with pytest.raises(UserError, match=says) as error:
        networks.choose(text)
    assert "\n" not in str(error.value)


def test_case_of_a_truth_value_and_a_whole_number_for_a_number() -> None:
    assert networks.choose("reactnet:two_step=True").method.two_step is True
    assert type(typed("x", {"a": 3}, {"a": 1.0})["a"]) is float
    assert typed("x", {"a": (1, 2)}, {"a": (0.5,)}) == {"a": (1.0, 2.0)}


def test_a_number_from_elsewhere_that_is_not_finite_is_refused() -> None:
    for value in (float("inf"), float("nan"), 10**400):
        with pytest.raises(UserError, match="option 'a' of x is a number, not"):
            typed("x", {"a": value}, {"a": 1.0})


def test_only_what_changed_is_written() -> None:
    assert changed({"a": 1, "b": 2}, {"a": 1, "b": 3}) == {"b": 2}
    assert write([Part("bnn", changed({"a": 1}, {"a": 1}))]) == "bnn"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, object(), {"a": 1}])
def test_what_has_no_text(value: object) -> None:
    with pytest.raises(ValueError, match="has no text"):
        write([Part("a", {"x": value})])


def test_reading_imports_no_torch() -> None:
    code = "import sys, lcrbench.models.parse; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
