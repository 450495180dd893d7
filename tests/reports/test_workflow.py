"""The example workflow for GitHub Actions: it parses, and its steps do what docs/ci.md says when a shell runs them.

Training is put in place by a stand-in for `lcrbench run`, since five seeds take minutes; the other commands are real.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lcrbench.bench.records.store import Store
from lcrbench.reports import gate

from . import make_store

yaml = pytest.importorskip("yaml")
FILE = Path(__file__).parents[2] / "docs" / "lcrbench-check.yml"

STAND_IN = """#!/usr/bin/env bash
if [ "$1" = run ]; then
  [ "$2 $3 $4 $5 $6 $7 $8" = "quick --methods irnet --seeds 0 1 2 3 4 --store runs" ] || exit 9
  cp -r trained runs
else
  exec {python} -m lcrbench.bench.cli "$@"
fi
"""


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


@pytest.mark.parametrize(("shift", "failing"), [(0, None), (-8, "compare with the reference")])
def test_the_steps_run(tmp_path: Path, shift: int, failing: str | None) -> None:
    code = make_store.present_code()
    before, trained = Store(tmp_path / "before", create=True), Store(tmp_path / "trained", create=True)
    for seed in range(10):
        make_store.add(before, "irnet", seed, spread=0.3, code=code)
    for seed in range(5):
        make_store.add(trained, "irnet", seed, spread=0.3, shift=shift, code=code, created="2026-05-05T00:00:00Z")
    gate.update(tmp_path / "robustness.json", before, "the first one", seeds=[0, 1, 2, 3, 4])
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "lcrbench").write_text(STAND_IN.format(python=sys.executable), encoding="utf-8")
    (bin_ / "lcrbench").chmod(0o755)
    summary = tmp_path / "summary.md"
    environment = os.environ | {"PATH": f"{bin_}:{os.environ['PATH']}", "GITHUB_STEP_SUMMARY": str(summary)}
    failed = None
    for step in steps():
        command = str(step.get("run", ""))
        # As the runner does: after a failure only the steps that say so go on.
        if not command or command.startswith("pip install") or (failed and step.get("if") != "always()"):
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
