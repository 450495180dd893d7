"""The example workflow for GitHub Actions: it parses, and its steps do what docs/ci.md says when a shell runs them.

Training is put in place by a stand-in for `lcrbench run`, since five seeds take minutes; the other commands are real.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lcrbench.bench.records.grid import make_grid, read_grid
from lcrbench.bench.records.store import Store
from lcrbench.reports import gate

from . import make_store

yaml = pytest.importorskip("yaml")
FILE = Path(__file__).parents[2] / "docs" / "lcrbench-check.yml"

RUN = "gate --methods irnet --store {store} --quiet"
STAND_IN = """#!/usr/bin/env bash
if [ "$1" = run ]; then
  case "${*:2}" in
    "{before}") mkdir -p reference && cp -r before-runs reference/runs ;;
    "{after}") cp -r after-runs runs ;;
    *) exit 9 ;;
  esac
else
  exec {python} -m lcrbench.bench.cli "$@"
fi
"""
UNCACHED = "steps.reference.outputs.cache-hit != 'true'"


def steps() -> list[dict[str, object]]:
    workflow = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    assert workflow[True] == "pull_request"  # YAML reads the key `on` as a truth value, and so does everyone
    assert workflow["permissions"] == {"contents": "read"}
    [job] = workflow["jobs"].values()
    assert job["runs-on"].startswith("ubuntu")
    return list(job["steps"])


def test_each_step_is_one_action_or_one_command() -> None:
    for step in steps():
        assert ("uses" in step) != ("run" in step), step
        if "uses" in step:
            assert "@v" in str(step["uses"])


def goes(step: dict[str, object], failed: str | None, cached: bool) -> bool:
    """Tell whether the runner takes a step: after a failure only those that say so go on."""
    condition = step.get("if")
    assert condition in (None, "always()", UNCACHED), condition
    return condition == "always()" or (failed is None and not (condition == UNCACHED and cached))


@pytest.mark.parametrize(
    ("shift", "failing", "cached"),
    [(0, None, False), (0, None, True), (-12, "compare with the reference", False)],
)
def test_the_steps_run(tmp_path: Path, shift: int, failing: str | None, cached: bool) -> None:
    """A pull request that changes nothing passes, with trained references and with cached ones; a loss is red."""
    code = make_store.present_code()
    before, after = Store(tmp_path / "before-runs", create=True), Store(tmp_path / "after-runs", create=True)
    for seed in range(10):
        make_store.add(before, "irnet", seed, spread=0.3, code=code)
        make_store.add(after, "irnet", seed, spread=0.3, shift=shift, code=code, created="2026-05-05T00:00:00Z")
    if cached:
        (tmp_path / "reference").mkdir()
        gate.update(tmp_path / "reference" / "robustness.json", before, "the first one")
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    runs = {"{before}": RUN.format(store="reference/runs"), "{after}": RUN.format(store="runs")}
    text = STAND_IN.replace("{python}", sys.executable)
    for name, words in runs.items():
        text = text.replace(name, words)
    (bin_ / "lcrbench").write_text(text, encoding="utf-8")
    (bin_ / "lcrbench").chmod(0o755)
    summary = tmp_path / "summary.md"
    environment = os.environ | {"PATH": f"{bin_}:{os.environ['PATH']}", "GITHUB_STEP_SUMMARY": str(summary)}
    failed = None
    for step in steps():
        command = str(step.get("run", ""))
        if not command or command.startswith("pip install") or not goes(step, failed, cached):
            continue
        done = subprocess.run(
            ["bash", "-e", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        if done.returncode:
            failed = failed or str(step.get("name"))
            assert done.returncode == 1, done.stderr
    assert failed == failing
    said = summary.read_text(encoding="utf-8")
    assert ("**regression**" if failing else "**pass**") in said
    kept = next(str(s["with"]["path"]).split() for s in steps() if "upload-artifact" in str(s.get("uses")))  # type: ignore[index]
    assert kept[0] == "verdict.*"
    assert {f.name for f in tmp_path.glob(kept[0])} == {"verdict.xml", "verdict.json", "verdict.md"}


def test_the_preset_that_it_trains_is_there_and_has_no_search() -> None:
    """Its ten seeds must fit the minutes of a free runner, so no metric of it may search."""
    grid = make_grid(read_grid("gate"))
    assert grid.seeds == tuple(range(10))
    assert not any(name.startswith("lipschitz") for name in grid.metrics or {"lipschitz": {}})
