"""What is refused when a method or regularizer from outside is loaded: one line that names the thing and the way out."""

from __future__ import annotations

import itertools
import textwrap
from pathlib import Path

import pytest

from lcrbench.errors import UserError
from lcrbench.models import network as networks
from lcrbench.models.definitions import definition

COUNT = itertools.count()
METHOD = """
    from dataclasses import dataclass
    from lcrbench.models.methods import bnn
    @dataclass(frozen=True)
    class Method(bnn.Method):
        {}
"""
REGULARIZER = """
    from dataclasses import dataclass
    from lcrbench.models import api
    class Term(api.Term):
        {}
    @dataclass(frozen=True)
    class Regularizer(api.Regularizer):
        weight: float = 1.0
        {}
        def attach(self, network, teacher=None):
            return Term()
"""


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Write a module into the current folder, which is not on the path; return its import path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*__import__("sys").path])

    def write(text: str) -> str:
        folder = tmp_path / f"outside{next(COUNT)}"
        folder.mkdir()
        (folder / "entry.py").write_text(textwrap.dedent(text))
        return f"{folder.name}.entry"

    return write


def test_one_from_the_current_folder_keeps_its_path_as_its_name(written) -> None:
    name = written(METHOD.format("size: float = 2.0"))
    choice = networks.choose(f"{name}:size=3+lcr")
    assert choice.name == name
    assert choice.label == f"{name}:size=3.0+lcr"
    assert networks.choose(choice.label) == choice


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (METHOD.format("def on_progres(self, network, t): pass"), "'on_progres': did you mean 'on_progress'"),
        (METHOD.format("weight_bit = 2"), "'weight_bit': did you mean 'weight_bits'"),
        (METHOD.format("size: list = None"), "'size' of the method .* has no default of bool, int, float, str, tuple"),
        ("class Method:\n  pass", "does not inherit from lcrbench.models.api.Method"),
        ("Method = 3", "does not inherit from lcrbench.models.api.Method"),
        ("from lcrbench.models import api\nclass Method(api.Method):\n  pass", "is no dataclass"),
        (
            "from dataclasses import dataclass\nfrom lcrbench.models import api\n"
            "@dataclass(frozen=True)\nclass Method(api.Method):\n  weight_bits = 1\n",
            "lacks activation_bits, conv, activation",
        ),
        ("import no_such_package", "does not import: ModuleNotFoundError: No module named 'no_such_package'"),
        ("1 / 0", "does not import: ZeroDivisionError: division by zero"),
        ("raise SystemExit('over')", "does not import: SystemExit: over"),
        ("def broken(:", "does not import: SyntaxError"),
        ("x = 1", "defines no class 'Method'"),
    ],
)
def test_methods(written, text: str, says: str) -> None:
    with pytest.raises(UserError, match=says) as error:
        definition("method", written(text))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("term", "regularizer", "says"),
    [
        ("def figure(self): return {}", "", "class 'Term' .* 'figure': did you mean 'figures'"),
        ("def losses(self, context): return None", "", "'losses': did you mean 'loss'"),
        ("pass", "def prepared(self, body): pass", "'prepared': did you mean 'prepare'"),
        ("pass", "teachers = 'bnn'", "'teachers': did you mean 'teacher'"),
    ],
)
def test_regularizers(written, term: str, regularizer: str, says: str) -> None:
    with pytest.raises(UserError, match=says) as error:
        definition("regularizer", written(REGULARIZER.format(term, regularizer)))
    assert "\n" not in str(error.value)


def test_a_weight_needs_a_default(written) -> None:
    with pytest.raises(UserError, match=r"'weight' of the regularizer .* has no default"):
        definition("regularizer", written(REGULARIZER.format("pass", "").replace("weight: float = 1.0", "")))


def test_helpers_with_an_underscore_and_options_are_an_entrys_own(written) -> None:
    term = "def __init__(self): self.anything = 3\n        def _help(self): return 1"
    name = written(REGULARIZER.format(term, "steps: int = 3\n        def _two(self): return 2"))
    assert definition("regularizer", name)().steps == 3


@pytest.mark.parametrize(
    ("term", "regularizer", "says"),
    [
        ("watch = ('no_such.part',)", "", r"watches 'no_such\.part', which the network has not"),
        ("replaces = 1.5", "", "more than the whole of the cross-entropy"),
        ("def __init__(self): 1 / 0", "", r"does not fit the network: ZeroDivisionError: division by zero"),
        ("def __init__(self): raise ValueError('too small')", "", "does not fit the network: too small"),
        ("pass", "def prepare(self, body): body.no_such", "does not fit the backbone .*: AttributeError"),
        ("pass", "def __post_init__(self): 1 / 0", r"entry: ZeroDivisionError: division by zero"),
    ],
)
def test_a_regularizer_that_fails_is_told_before_anything_is_trained(written, term, regularizer, says) -> None:
    name = written(REGULARIZER.format(term, regularizer))

    def plan() -> None:
        choice = networks.choose(f"bnn+{name}")
        networks.attach(choice, networks.body(choice, "vgg_tiny", 10, 16))

    with pytest.raises(UserError, match=says) as error:
        plan()
    assert "\n" not in str(error.value)


def test_a_method_that_fails_is_told(written) -> None:
    name = written(METHOD.format("def activation(self, channels): return {}[channels]"))
    with pytest.raises(UserError, match="does not fit the backbone 'vgg_tiny': KeyError: 16"):
        networks.body(networks.choose(name), "vgg_tiny", 10, 16)


def test_terms_have_a_teacher_of_their_own() -> None:
    choice = networks.choose("bnn+distill:weight=0.5+lcr_fixed")
    network = networks.body(choice, "vgg_tiny", 10, 16)
    teacher = networks.body(networks.choose("full_precision"), "vgg_tiny", 10, 16)
    terms = networks.attach(choice, network, {"full_precision": teacher})
    assert [*terms] == ["distill", "lcr_fixed"]
    assert len({id(teacher), *(id(t.teacher) for t in terms.values())}) == 3


def test_a_backbone_that_builds_something_else_is_told(written) -> None:
    name = written("from torch import nn\ndef build(method, classes, size):\n    return nn.Identity()\n")
    with pytest.raises(UserError, match=r"builds no lcrbench.models.api.Backbone, but Identity"):
        networks.body(networks.choose("bnn"), name, 10, 32)
