"""The second call on a finished store: it answers without torch, and only where it may."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from lcrbench.bench import cli, finished, presets, runner
from lcrbench.bench.records.grid import Grid, make_grid
from lcrbench.bench.records.store import WEIGHTS, Store
from tests.bench import helpers
from tests.bench.helpers import SCHEMA_3, SMALL, Here, go
from tests.data.some_data import a_tree, as_folder

SPENT = """
import resource, sys
from lcrbench.bench.cli import app
code = 0
try:
    app(sys.argv[1:], standalone_mode=False)
except SystemExit as end:
    code = end.code
used = resource.getrusage(resource.RUSAGE_SELF)
print(code, used.ru_utime + used.ru_stime, *sorted({name.partition(".")[0] for name in sys.modules}))
"""


def call(*words: str) -> tuple[float, set[str], str]:
    """Run a command in a process of its own; return its CPU seconds, the packages that it imported, and all it printed."""
    done = subprocess.run([sys.executable, "-c", SPENT, *words], capture_output=True, text=True, check=True)
    code, seconds, *modules = done.stdout.splitlines()[-1].split()
    assert code == "0", done.stderr
    return float(seconds), set(modules), done.stdout + done.stderr


@pytest.mark.slow
def test_the_second_call_of_quick_takes_less_than_three_seconds(tmp_path: Path) -> None:
    """A store of four finished runs, taken over by the first call: 1.2 s where it is idle, most of it reading our code.

    That call measures again what metrics of today find otherwise, and what the preset has more of.
    """
    shutil.copytree(SCHEMA_3, tmp_path / "store")
    # The search of today takes most of the first call's time, and this is about the second call: one that is soon done.
    search = r"(?m)^(\[metrics\.lipschitz_(modulus|kappa|relative_gain|convergence|flip_radius|slope)\])$"
    quick = re.sub(search, r'\1\neffort = "trial"', (Path(presets.__file__).parent / "quick.toml").read_text())
    assert "trial" in quick
    (tmp_path / "quick.toml").write_text(quick)
    words = ("run", str(tmp_path / "quick.toml"), "--store", str(tmp_path / "store"))
    _, modules, told = call(*words, "--stale", "redo")
    assert "torch" in modules, "the first call plans"
    page = tmp_path / "store" / "reports" / "quick" / "index.html"
    written = page.stat().st_mtime_ns
    took = []
    for _ in range(3):
        seconds, modules, told = call(*words)
        took.append(seconds)
        assert not {"torch", "torchvision", "pandas", "matplotlib", "scipy"} & modules
        assert "4 of 4 runs are in the store already" in told
        assert f"report: {page}" in told
    assert page.stat().st_mtime_ns == written
    assert min(took) < 3, took


# --- when it may not ---------------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Path:
    root = tmp_path / "store"
    go(root, SMALL)
    return root


def grid(**change: Any) -> Grid:
    return make_grid(SMALL | change)


def test_it_names_the_runs_that_a_plan_names(store: Path) -> None:
    jobs, _ = runner.planned(grid(), store)
    assert finished.runs(grid(), store) == [job.spec.run_id for job in jobs]


def test_nothing_is_told_of_a_store_that_is_not_there(tmp_path: Path) -> None:
    assert finished.runs(grid(), tmp_path / "nowhere") is None
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"seeds": [0, 1]},
        {"methods": ["bnn", "irnet"]},
        {"budget": {"images": 150}},
        {"data": SMALL["data"] | {"test": 60}},
        {"evaluation": SMALL["evaluation"] | {"corruptions": ["fog", "snow"]}},
        {"metrics": {"accuracy": {}, "calibration_error": {}}},
    ],
)
def test_another_grid_is_planned(store: Path, change: dict[str, Any]) -> None:
    assert finished.runs(grid(**change), store) is None
    finished.keep(grid(**change), store, [job.spec for job in runner.planned(grid(**change), store)[0]])
    assert finished.runs(grid(**change), store) is None, "its plan is kept, and its runs are not there"


def damage(store: Path) -> None:
    path = next(store.rglob(WEIGHTS))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def outdate(part: str) -> Callable[[Path], None]:
    def change(store: Path) -> None:
        helpers.outdate(Store(store), runner.planned(grid(), store)[0][0].spec, part)

    return change


def fail(store: Path) -> None:
    """Take the note away that the run was asked for and answered."""
    found = Store(store)
    (name,) = found.evaluations.ids()
    looked = found.evaluations.record(name)
    files = {file: found.evaluation_file(looked, file) for file in looked.files}
    found.evaluations.write(name, looked.model_copy(update={"asked": ()}), files)


def cut(store: Path) -> None:
    (plan,) = (store / ".plans").iterdir()
    plan.write_bytes(plan.read_bytes()[:100])


def forge(store: Path) -> None:
    """Another state of the code in the plan, as after an edit."""
    (plan,) = (store / ".plans").iterdir()
    plan.write_text(json.dumps(json.loads(plan.read_text()) | {"code": "another"}))


def lose(store: Path) -> None:
    shutil.rmtree(next((store / "trainings").iterdir()))


@pytest.mark.parametrize(
    "change",
    [damage, lose, fail, cut, forge, *map(outdate, ("training", "predictions", "accuracy"))],
    ids=["damaged", "lost", "not answered", "plan cut", "code edited", "old training", "old predictions", "old metric"],
)
def test_what_is_not_whole_is_planned(store: Path, change: Callable[[Path], None]) -> None:
    assert finished.runs(grid(), store)
    change(store)
    assert finished.runs(grid(), store) is None


def test_the_state_of_the_code_is_that_of_every_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = finished._code()
    assert before == finished._code()
    package = tmp_path / "extra_of_tests"
    package.mkdir()
    (package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(finished, "PACKAGES", (*finished.PACKAGES, "extra_of_tests"))
    extended = finished._code()
    assert extended != before
    os.utime(package / "__init__.py", ns=(1, 1))
    assert finished._code() != extended


def test_other_images_at_the_same_place_are_seen(tmp_path: Path) -> None:
    place = as_folder(tree := a_tree(), tmp_path / "data")
    tables = SMALL | {"data": {"source": str(place), "size": 16}, "recipe": {"batch": 10}}
    go(tmp_path / "store", tables)
    assert finished.runs(make_grid(tables), tmp_path / "store")
    (place / "train/b/8.png").write_bytes(tree["train/b/9.png"])
    assert finished.runs(make_grid(tables), tmp_path / "store") is None


@pytest.mark.parametrize(
    "change", [{"methods": ["lcrbench.models.methods.bnn"]}, {"budget": {"images": 100, "unit": "compute"}}]
)
def test_no_plan_is_kept_of_what_torch_must_see_to(tmp_path: Path, change: dict[str, Any]) -> None:
    """What is from outside may change without a file of ours, and equal compute is allotted by counting."""
    go(tmp_path, SMALL | change)
    assert not (tmp_path / ".plans").exists()


@pytest.mark.parametrize("more", [["--fresh"], ["--redo"], ["--plan"], ["--device", "cuda:77"], ["--on", "no"]])
def test_options_that_ask_for_more_are_heard(
    store: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, more: list[str]
) -> None:
    Here(monkeypatch)
    spec = tmp_path / "small.toml"
    spec.write_text(
        'methods = ["bnn"]\n[data]\nsize = 16\ntrain = 200\ntest = 50\n[budget]\nimages = 100\n'
        "[recipe]\nbatch = 50\nlr = 0.05\n"
        '[evaluation]\ncorruptions = ["fog"]\nseverities = [1]\nblock = 25\n[metrics.accuracy]\n[metrics.corruption_error]\n'
    )
    asked: list[Grid] = []
    real = finished.runs
    monkeypatch.setattr(finished, "runs", lambda grid, root: asked.append(grid) or real(grid, root))
    CliRunner().invoke(cli.app, ["run", str(spec), "--store", str(store), *more])
    assert not asked
    done = CliRunner().invoke(cli.app, ["run", str(spec), "--store", str(store), "--device", "cpu"])
    assert done.exit_code == 0, done.output
    assert asked == [grid()]
