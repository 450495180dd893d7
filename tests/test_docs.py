"""What the documentation says works: doctests, the README's Python, and every command line that it names."""

from __future__ import annotations

import doctest
import importlib
import re
import shlex
from pathlib import Path

import click
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCS = [p for p in sorted((ROOT / "docs").rglob("*.md")) if "made" not in p.parts]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS]
FOLDERS = {"bench/_root": "lcrbench"} | {f: f"lcrbench.{f}" for f in ("bench", "models", "corruptions", "reports")}


def modules_with_examples() -> list[str]:
    found = []
    for folder, package in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            inside = path.relative_to(ROOT / folder).with_suffix("").parts
            if inside[0] == "_root" or ">>> " not in path.read_text(encoding="utf-8"):
                continue
            found.append(".".join([package, *(part for part in inside if part != "__init__")]))
    return found


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples_in_docstrings(name: str) -> None:
    done = doctest.testmod(importlib.import_module(name))
    assert done.attempted
    assert not done.failed


def commands() -> list[tuple[str, str, bool]]:
    """Return every command line of the documentation, with its page, and whether it stands whole in a code block."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        blocks = re.findall(r"```(?:sh|bash|yaml)\n(.*?)```", text, re.S)
        lines = [(line.strip(), True) for block in blocks for line in block.splitlines()]
        lines += [(line.strip(), True) for line in re.findall(r"^ {4}(.+)$", text, re.M)]
        lines += [(line, False) for line in re.findall(r"`(lcrbench [a-z][^`\n]*)`", text)]
        found += [(page.name, command(line), whole) for line, whole in lines if command(line)]
    return list(dict.fromkeys(found))


def command(line: str) -> str:
    """Return the command of lcrbench that a line gives, without what starts it and what is said of it; or ""."""
    line = re.sub(r"^(- )?(run: )?(\$ )?(exec )?([.\w/-]*/)?((python3?|torchrun [^#]*?) -m )?", "", line)
    line = re.split(r"\s#|\s{2,}(?=[a-zA-Z])", line)[0].strip()
    return line if line.startswith("lcrbench ") and "..." not in line else ""


@pytest.mark.parametrize(("page", "line", "whole"), commands())
def test_a_documented_command_exists_with_its_options(page: str, line: str, whole: bool) -> None:
    """Its words are parsed as the command line parses them; what takes long is run by tests of its own.

    Within a sentence a command may stand without its arguments: there its name counts.
    """
    from lcrbench.bench.cli import app

    words = shlex.split(line)[1:]
    context = click.Context(app, info_name="lcrbench")
    command: click.Command | None = app
    while isinstance(command, click.Group):
        name, *words = words
        command = command.get_command(context, name)
        assert command is not None, f"{page}: there is no command '{name}'"
        if not words and isinstance(command, click.Group):
            return
    assert command is not None
    if whole:
        command.make_context(name, words, parent=context)
    else:
        known = {option for parameter in command.params for option in parameter.opts}
        for word in words:
            assert not word.startswith("--") or word.partition("=")[0] in known, f"{page}: {name} has no {word}"


def test_the_documentation_names_commands() -> None:
    assert len(commands()) > 20


def python(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.S)


def test_the_readmes_two_lines_print_what_it_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of one corruption and an untrained network, line by line in the form of what stands there."""
    import lcrbench

    [code] = python("README.md")
    assert len([line for line in code.splitlines() if line and not line.startswith("import")]) == 2
    asked = 'corruptions="common"'
    assert asked in code
    code = code.replace(
        asked, 'corruptions="gaussian_noise", test=100, metrics={"accuracy": {}, "corruption_error": {}}'
    )
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {"network": lcrbench.build_model("bnn", seed=0)})

    def form(line: str) -> str:
        return re.sub(r"[\d.,]+", "N", line)

    [shown] = re.findall(r"```\n(Network on.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)
    printed = [form(line) for line in capsys.readouterr().out.splitlines()]
    assert [form(line) for line in shown.splitlines()[:3]] == printed[:3]


def test_the_python_in_short_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the store of schema 3 that the tests keep, whose first run stands for the page's 3f2a."""
    from lcrbench.bench.records.store import Store

    fixture = ROOT / "tests" / "fixtures" / "store-schema-3"
    run = next(r.run_id for r in Store(fixture).records() if r.spec.label == "bnn")
    blocks = python("docs/reference/api.md")
    assert len(blocks) >= 2
    code = "\n".join(blocks).replace('"lcrbench-runs"', repr(str(fixture))).replace('"3f2a"', repr(run))
    monkeypatch.chdir(tmp_path)
    names = {"images": np.full((2, 32, 32, 3), 128, np.uint8)}
    exec(compile(code, "api.md", "exec"), names)
    assert names["noisy"].shape == (2, 32, 32, 3)
    assert {"fog", "snow"} <= set(names["found"].table().corruption)
