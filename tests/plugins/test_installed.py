"""A package of plug-ins, installed as pip installs it: every entry is listed, named and checked like our own."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from lcrbench import registry, testing
from lcrbench.bench.cli._plugins import MARKS

HERE = Path(__file__).parent
GROUPS = tomllib.loads((HERE / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
ENTRIES = [(group.removeprefix("lcrbench."), name) for group, names in GROUPS.items() for name in names]


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder into which the package is installed, from a copy, because building writes beside the source."""
    folder = tmp_path_factory.mktemp("plugins")
    shutil.copytree(HERE, folder / "source", ignore=shutil.ignore_patterns("__pycache__", "test_*"))
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    done = subprocess.run(
        [*command, "--target", str(folder / "site"), str(folder / "source")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return folder / "site"


@pytest.fixture(autouse=True)
def installed(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(target))


def test_there_is_one_of_each_kind() -> None:
    assert sorted(kind for kind, _ in ENTRIES) == sorted(MARKS)


@pytest.mark.parametrize(("kind", "name"), ENTRIES)
def test_it_is_listed_and_conforms(kind: str, name: str) -> None:
    assert name in registry.names(kind)
    assert registry.load(kind, name).__name__ == f"lcrbench_example_plugins.{name}"
    assert testing.conform(kind, name) == []
    assert testing.conform(kind, f"lcrbench_example_plugins.{name}") == []
