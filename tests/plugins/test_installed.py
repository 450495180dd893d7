"""A package of plug-ins, installed as pip installs it: every entry is listed, named, checked and used like our own."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from lcrbench import registry, testing
from lcrbench.bench import cli
from lcrbench.bench.records.spec import CLEAN
from lcrbench.bench.records.store import Store
from tests.bench.forked import lcrbench

HERE = Path(__file__).parent
PACKAGE = "lcrbench_example_plugins"
GROUPS = tomllib.loads((HERE / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
ENTRIES = [(group.removeprefix("lcrbench."), name) for group, names in GROUPS.items() for name in names]


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder into which the package is installed, from a copy, because building writes beside the source."""
    for needed in ("pip", "setuptools"):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"a package is installed by {needed}, which this environment has not")
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
    """Find the package here, and in the processes that a test starts."""
    monkeypatch.syspath_prepend(str(target))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(target), *filter(None, [os.environ.get("PYTHONPATH")])]))


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Return a function that gives a command in this process, where torch is loaded already, and returns what it prints."""

    def command(folder: Path, *words: str) -> str:
        monkeypatch.chdir(folder)
        monkeypatch.setattr("sys.argv", ["lcrbench", *words])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out, err = capsys.readouterr()
        assert not stop.value.code, err
        return out

    return command


def test_there_is_one_of_each_kind() -> None:
    assert sorted(kind for kind, _ in ENTRIES) == sorted(registry.PACKAGES)


@pytest.mark.parametrize(("kind", "name"), ENTRIES)
def test_it_is_listed_and_conforms(kind: str, name: str) -> None:
    assert name in registry.names(kind)
    assert registry.is_outside(kind, name)
    assert registry.module_name(kind, name) == f"{PACKAGE}.{name}"
    assert registry.file(kind, name).is_relative_to(os.environ["PYTHONPATH"].partition(os.pathsep)[0])
    assert testing.conform(kind, name) == []
    assert testing.conform(kind, f"{PACKAGE}.{name}") == []


def test_every_entry_is_planned_for_by_its_name_and_by_its_path(tmp_path: Path, call: Callable[..., str]) -> None:
    """The preset names those of each kind that a run has; the other words name them by their import paths."""
    out = call(tmp_path, "run", "all_of_it", "--plan", "--on", "in_turn")
    assert [line.partition("  ")[2].partition(":")[0] for line in out.splitlines()] == [
        "bnn_prelu",
        "bnn_prelu+small_logits seed 0",
    ]
    fields = {"optimizer": "rmsprop", "schedule": "exponential", "augmentation": "quarter_turns"}
    words = ["--methods", f"{PACKAGE}.bnn_prelu+{PACKAGE}.small_logits", "--backbone", f"{PACKAGE}.one_block"]
    words += ["--corruptions", f"{PACKAGE}.grid_lines", "--data", f"{PACKAGE}.stripes"]
    words += ["--set", f'metrics."{PACKAGE}.worst_class"={{}}', "--on", f"{PACKAGE}.in_turn"]
    words += [word for field, name in fields.items() for word in ("--set", f"recipe.{field}={PACKAGE}.{name}")]
    out = call(tmp_path, "run", f"{PACKAGE}.all_of_it", "--plan", *words)
    assert f"{PACKAGE}.bnn_prelu+{PACKAGE}.small_logits seed 0: train" in out
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def trained(target: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the same comparison in two stores, run by the plug-in's executor and by our own."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(target))
        done = lcrbench(folder, "run", "all_of_it", "--on", "in_turn", "--store", "in_turn")
        assert done.returncode == 0, done.stderr
        patch.chdir(folder)
        ours = CliRunner().invoke(cli.app, ["run", "all_of_it", "--on", "local", "--store", "local"])
        assert ours.exit_code == 0, ours.stderr
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]
    return folder


def test_they_train_and_are_measured(trained: Path) -> None:
    store = Store(trained / "in_turn")
    runs = [store.record(i) for i in store.ids()]
    assert sorted(r.spec.label for r in runs) == ["bnn_prelu+small_logits", "bnn_prelu:slope=0.1"]
    for r in runs:
        assert r.status == "finished"
        assert r.spec.data.name == "stripes"
        assert (r.spec.recipe.optimizer, r.spec.recipe.augmentation) == ("rmsprop:alpha=0.9", "quarter-turns")
        assert r.model is not None
        assert r.model.weight_bits == 1
        right = store.outcomes(r.run_id)[CLEAN]
        clean = {m.metric: m.value for m in r.measurements if not m.corruption}
        assert clean["accuracy"] == right.mean()
        assert clean["worst_class"] <= clean["accuracy"]
        assert {m.corruption for m in r.measurements if m.severity == 5} == {"grid_lines", "gaussian_noise"}
    scopes = {module for r in runs for scope in r.sources for module in scope.modules}
    names = (
        "bnn_prelu",
        "one_block",
        "small_logits",
        "rmsprop",
        "exponential",
        "quarter_turns",
        "worst_class",
        "grid_lines",
    )
    assert {f"{PACKAGE}.{name}" for name in names} <= scopes, "their code is part of what the numbers depend on"


def test_both_executors_come_to_the_same(trained: Path) -> None:
    first, second = Store(trained / "in_turn"), Store(trained / "local")
    assert first.ids() == second.ids()
    for run_id in first.ids():
        one, other = first.record(run_id), second.record(run_id)
        assert [(m.metric, m.corruption, m.severity, m.value) for m in one.measurements] == [
            (m.metric, m.corruption, m.severity, m.value) for m in other.measurements
        ]
        weights = [s.trained(run_id)[0].weights_sha256 for s in (first, second)]
        assert weights[0] == weights[1]


def test_the_report_holds_their_table_and_figure(trained: Path) -> None:
    report = trained / "in_turn" / "reports" / "all_of_it"
    page = (report / "index.html").read_text(encoding="utf-8")
    assert "Clean accuracy of the seeds." in page
    assert "Bars" in page
    assert [p for p in report.rglob("*") if p.stem.startswith("spread")]
    assert [p for p in report.rglob("*") if p.stem.startswith("bars")]


def test_a_second_call_trains_and_measures_nothing(trained: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in (trained / "local").glob("*s/*/record.json")}
    assert len(before) == 4
    done = lcrbench(trained, "run", "all_of_it", "--store", "local")
    assert done.returncode == 0, done.stderr
    assert "2 of 2 runs are in the store already" in done.stderr
    assert {p: p.stat().st_mtime_ns for p in before} == before


def test_a_metric_named_by_its_import_path_has_that_name_everywhere(trained: Path, call: Callable[..., str]) -> None:
    """It is measured of what is stored already, beside the same metric under the name of its entry point."""
    store, path = Store(trained / "in_turn"), f"{PACKAGE}.worst_class"
    weights = [store.trained(i)[0].weights_sha256 for i in store.ids()]
    words = ["run", "all_of_it", "--store", "in_turn", "--set", f'metrics."{path}"={{}}']
    planned = call(trained, *words, "--plan").splitlines()
    assert len(planned) == 2
    assert all("trained; all 5 cells evaluated" in line and f"measure {path}" in line for line in planned)
    done = lcrbench(trained, *words, "--on", "in_turn")
    assert done.returncode == 0, done.stderr
    store = Store(trained / "in_turn")
    assert [store.trained(i)[0].weights_sha256 for i in store.ids()] == weights
    for run_id in store.ids():
        record = store.record(run_id)
        assert {path, "worst_class"} <= {*record.spec.metrics} & {*record.metrics}
        values = {name: [m.value for m in record.measurements if m.metric == name] for name in (path, "worst_class")}
        assert values[path] == values["worst_class"]
        assert len(values[path]) == 1
    rows = (trained / "in_turn" / "reports" / "all_of_it" / "measurements.csv").read_text(encoding="utf-8")
    assert path in rows
    assert call(trained, *words, "--plan").count("all 4 metrics measured") == 2


def test_they_are_listed_and_shown(tmp_path: Path, call: Callable[..., str]) -> None:
    for kind, name in ENTRIES:
        listed = call(tmp_path, "list", kind)
        assert f"{registry.public(kind, name)} " in listed
        assert "(from lcrbench-example-plugins)" in listed
    assert "pseudo-gradient" in call(tmp_path, "show", "estimator", "wide_clip")
    assert "quarter-turns" in call(tmp_path, "show", "preset", "all_of_it")
