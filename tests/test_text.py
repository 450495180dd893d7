"""Text is what people type and read, and no code between decides by it: names, labels and sentences are not taken apart.

What is found here belongs into a typed field or an enum, or, where it reads what people typed, into a place of the list.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TAKES_APART = {"partition", "rpartition", "split", "rsplit", "startswith", "endswith", "removeprefix", "removesuffix"}
PATTERNS = {"match", "search", "fullmatch", "sub", "findall", "finditer"}

# Their work is to read what people typed, files' names and files' contents, or to write for people.
READERS = (
    *("bench/cli", "bench/_root", "bench/data", "bench/doctor.py", "corruptions", "models/parse.py"),
    *("bench/networks/loaders", "bench/networks/name.py", "bench/networks/weights.py"),
)
ALLOWED = {
    "older schemas": ("bench/records/before_5.py", "bench/records/before_6.py", "bench/records/upgrade.py"),
    "references of before schema 5": ("reports/gate/reference.py",),
    "what people type": (
        *("bench/device.py", "bench/tuning.py", "bench/records/store.py", "bench/records/removal.py"),
        *("bench/evaluation/test_sets.py", "reports/gate/endpoints.py"),
        *("bench/lipschitz/measure.py", "bench/executors/__init__.py"),
    ),
    "a benchmark's name, which pytest writes": ("reports/gate/speed.py",),
    "names of modules and of their files": (
        *("bench/records/source.py", "bench/records/lease.py", "bench/lipschitz/stored.py", "reports/stamp.py"),
        *("reports/conformance.py", "bench/metrics/__init__.py", "bench/metrics/_conformance.py", "reports/entries.py"),
        "models/definitions.py",
    ),
    "names of layers and tensors, as torch has them": (
        *("bench/lipschitz/stem.py", "bench/training/average.py", "bench/training/state.py"),
        *("models/packed/__init__.py", "models/packed/deployment.py"),
        *("models/activations.py", "models/audit.py", "models/binary.py", "models/conformance/backbones.py"),
        "reports/figures/lipschitz_layers.py",
    ),
    "a device's name, as torch has it": ("reports/identity.py", "models/spectral/graph.py"),
    "files' names": ("reports/page/view.py", "reports/folder.py", "bench/records/leftovers.py"),
    "words of pydantic and of the command line": (
        *("bench/records/grid.py", "bench/training/recipes.py", "bench/records/env.py"),
    ),
    "how text is written": (
        *("reports/writers.py", "reports/rendering.py", "reports/composed.py", "reports/table.py"),
        *("reports/words/budget.py", "reports/words/names.py", "reports/spreadsheet.py", "models/portrait.py"),
    ),
}


def files() -> Iterator[Path]:
    for top in ("bench", "models", "corruptions", "reports"):
        for path in sorted((ROOT / top).rglob("*.py")):
            if not any(path.relative_to(ROOT).is_relative_to(reader) for reader in READERS):
                yield path


def taken_apart(path: Path) -> list[str]:
    """Return where a file takes text apart; lines, words between spaces, bytes and arrays do not count."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        of, name = ast.unparse(node.func.value), node.func.attr
        given = [a.value for a in node.args if isinstance(a, ast.Constant)]
        lines = given in (["\n"], []) and not node.args[len(given) :] and name != "startswith"
        lines = lines or any("chr(10)" in ast.unparse(a) for a in node.args)
        # A function of a module, and of bytes.
        other = of in ("np", "torch", "upgrade") or any(isinstance(g, bytes) for g in given)
        if name in TAKES_APART and not lines and not other:
            found.append(f"{path.relative_to(ROOT)}:{node.lineno} {of}.{name}")
        if name in PATTERNS and (of == "re" or of.lstrip("_").isupper()):
            found.append(f"{path.relative_to(ROOT)}:{node.lineno} {of}.{name}")
    return found


def compared(path: Path) -> list[str]:
    """Return where a file compares with a sentence, or searches for one."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            texts = [s.value for s in sides if isinstance(s, ast.Constant) and isinstance(s.value, str)]
            found += [f"{path.relative_to(ROOT)}:{node.lineno} {text!r}" for text in texts if " " in text.strip()]
    return found


def test_no_text_is_taken_apart_where_a_field_should_be() -> None:
    allowed = {name for names in ALLOWED.values() for name in names}
    found = {str(path.relative_to(ROOT)): where for path in files() if (where := taken_apart(path))}
    assert not [line for name, where in found.items() if name not in allowed for line in where]
    assert allowed <= set(found), f"{allowed - set(found)} take nothing apart any more: strike them from the list"


def test_no_sentence_is_compared_with() -> None:
    # torch has no types of its own for what inference.py tells apart by torch's words.
    allowed = ("before_5.py", "inference.py")
    assert not [line for path in files() if path.name not in allowed for line in compared(path)]


@pytest.mark.parametrize(
    "code",
    [
        "head = label.partition('(')[0]",
        "a = [c for c in log if c.endswith('.loss')]",
        "import re\nre.match('a', b)",
        "_NAME.fullmatch(b)",
        "x.split(sep)",
    ],
)
def test_it_finds_what_takes_text_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    (tmp_path / "a.py").write_text(code)
    assert taken_apart(tmp_path / "a.py")
    (tmp_path / "b.py").write_text("why == 'it is stale' or 'of it' in why")
    assert len(compared(tmp_path / "b.py")) == 2
    (tmp_path / "c.py").write_text("str(e).partition('\\n')\nwords.split()\nnp.split(a, 2)\nb.startswith(b'PK')")
    assert not taken_apart(tmp_path / "c.py")
