"""The documentation's Python and its tutorials, executed: snippets on a kept store, tutorials command by command."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import lcrbench
from lcrbench.bench.records.store import Store

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
FIXTURE = ROOT / "tests" / "fixtures" / "store-schema-3"
WITH_PYTHON = ["index.md", "howto/pandas.md", "tutorials/your-network.md"]
TUTORIALS = sorted(p.name for p in (DOCS / "tutorials").glob("*.md"))

# What a reader is told to do by hand, after the command with this beginning.
BY_HAND = {
    "lcrbench conform method my_plugins.mine": (
        Path("my_plugins/mine.py"),
        {"import clip\n": "import clip, polynomial\n", "sign=clip.Estimator()": "sign=polynomial.Estimator()"},
    )
}

EXITS = {'lcrbench doctor --model "net.py:make?classes=10"': 2}
"""The exit codes of commands that a tutorial says to find something wrong."""


def blocks(page: str, language: str) -> list[str]:
    found = re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.S)
    return [block.replace(" \\\n", " ") if language == "sh" else block for block in found]


@pytest.mark.parametrize("page", WITH_PYTHON)
def test_python_in_the_documentation_runs(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code = "\n".join(blocks(page, "python")).replace('"lcrbench-runs"', repr(str(FIXTURE)))
    exec(compile(code, page, "exec"), {"network": lcrbench.build_model("bnn", seed=0)})
    assert capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("page", TUTORIALS)
def test_a_tutorial_works_as_it_stands(page: str, tmp_path: Path) -> None:
    """In an empty folder, each command after the other; ID is the beginning of an id that `list runs` printed."""
    for code in blocks(f"tutorials/{page}", "py"):
        (tmp_path / "net.py").write_text(code, encoding="utf-8")
    ran = 0
    for line in [line for block in blocks(f"tutorials/{page}", "sh") for line in block.splitlines()]:
        words = shlex.split(line)
        if words[:1] != ["lcrbench"]:
            continue
        if "ID" in words:
            words[words.index("ID")] = Store(tmp_path / "lcrbench-runs").ids()[0][:6]
        done = subprocess.run(
            [sys.executable, "-m", "lcrbench", *words[1:]], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == EXITS.get(line, 0), f"{line}: {done.stderr}"
        ran += 1
        if line in BY_HAND:
            place, changes = BY_HAND[line]
            text = (tmp_path / place).read_text(encoding="utf-8")
            for before, after in changes.items():
                assert before in text, before
                text = text.replace(before, after)
            (tmp_path / place).write_text(text, encoding="utf-8")
    assert ran >= 3
    if page == "new-method.md":
        assert "sign=polynomial.Estimator()" in (tmp_path / "my_plugins/mine.py").read_text(encoding="utf-8")
