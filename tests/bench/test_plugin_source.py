"""A plug-in whose code changes: `run` and `check` refuse its old numbers, `--stale redo` makes them again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.bench.forked import lcrbench

METHOD = '''
"""BNN by another hand, in a module of one's own."""

from dataclasses import dataclass

from lcrbench.models.methods import bnn
from my_helper import SHARPNESS


@dataclass(frozen=True)
class Method(bnn.Method):
    """No options."""

    def on_progress(self, network, t):
        assert t * SHARPNESS >= 0
'''

GRID = """
methods = ["mine.my_method"]
[data]
train = 100
test = 40
[budget]
images = 200
[recipe]
batch = 50
[evaluation]
corruptions = ["fog"]
severities = [1]
[metrics.accuracy]
[metrics.corruption_error]
"""


IN_TURN = Path(__file__).parents[1] / "plugins" / "lcrbench_example_plugins" / "in_turn.py"
RUN = ("run", "my.toml", "--store", "runs", "--on", "hands.in_turn")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a plug-in of two files, and runs of two seeds by it."""
    here: Path = tmp_path_factory.mktemp("plug_in")
    (here / "my_helper.py").write_text("SHARPNESS = 1.0\n")
    # An import path has a dot: a package of the current folder.
    (here / "mine").mkdir()
    (here / "mine" / "__init__.py").write_text("")
    (here / "mine" / "my_method.py").write_text(METHOD)
    (here / "my.toml").write_text(GRID)
    (here / "hands").mkdir()
    shutil.copy(IN_TURN, here / "hands")
    done = lcrbench(here, *RUN, "--seeds", "0 1", "--quiet")
    assert done.returncode == 0, done.stderr
    done = lcrbench(
        here, "reference", "update", "runs", "--out", "ref.json", "--reason", "first", "--margin", "5", "--anyway"
    )
    assert done.returncode == 0, done.stderr
    return here


def test_a_comment_changes_nothing_and_a_second_call_does_nothing(folder: Path) -> None:
    path = folder / "mine" / "my_method.py"
    path.write_text(METHOD + "\n# A comment, and no more.\n")
    plan = lcrbench(folder, *RUN, "--seeds", "0 1", "--plan")
    assert plan.returncode == 0, plan.stderr
    assert plan.stdout.count("trained; all 2 cells evaluated; all 2 metrics measured") == 2
    path.write_text(METHOD)


@pytest.mark.parametrize("part", ["mine/my_method.py", "my_helper.py"])
def test_a_changed_plug_in_is_refused_by_run_and_by_check(folder: Path, part: str) -> None:
    """The method itself, and a module beside it that it imports."""
    path = folder / part
    before = path.read_text()
    path.write_text(before + "\nCHANGED = 1\n")
    try:
        again = lcrbench(folder, *RUN, "--seeds", "0 1", "--quiet")
        assert again.returncode == 2
        assert f"{path.stem} changed since" in again.stderr
        assert "--stale redo" in again.stderr
        assert again.stderr.count("\n") == 1
        check = lcrbench(folder, "check", "runs", "--against", "ref.json")
        assert check.returncode == 2
        listed = lcrbench(folder, "list", "runs", "--store", "runs")
        assert listed.stdout.count("stale: ") == 2
    finally:
        path.write_text(before)


def test_what_is_stale_is_made_again(folder: Path) -> None:
    path = folder / "my_helper.py"
    path.write_text("SHARPNESS = 2.0\n")
    redone = lcrbench(folder, *RUN, "--seeds", "0", "--stale", "redo")
    assert redone.returncode == 0, redone.stderr
    assert "[1/1]" in redone.stderr
    again = lcrbench(folder, *RUN, "--seeds", "0")
    assert "1 of 1 runs are in the store already" in again.stderr
