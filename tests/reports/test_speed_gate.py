"""The gate for speed: ratios against a reference, and the guard over the set of names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lcrbench.bench import cli
from lcrbench.errors import UserError
from lcrbench.reports.gate import speed as speed_gate


def run(path: Path, times: dict[str, float], own: dict[str, float] | None = None) -> Path:
    """Write what `--benchmark-json` writes, as far as the gate reads it."""
    benchmarks = [
        {
            "name": name,
            "fullname": f"test_speed.py::{name}",
            "stats": {"min": seconds, "mean": seconds * 1.1},
            "extra_info": {"ratio": (own or {})[name]} if name in (own or {}) else {},
        }
        for name, seconds in times.items()
    ]
    path.write_text(json.dumps({"datetime": "2026-01-02T03:04:05.6+00:00", "benchmarks": benchmarks}))
    return path


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    path = tmp_path / "reference.json"
    speed_gate.update(
        path, run(tmp_path / "first.json", {"base": 2.0, "ours": 3.0, "own": 9.0}, {"own": 1.2}), "first", base="base"
    )
    return path


def outcomes(candidate: Path, reference: Path, margin: float = 0.25) -> dict[str, str]:
    found = speed_gate.check(candidate, speed_gate.load(reference), margin=margin)
    return {v.name.partition("::")[2]: v.outcome for v in found}


def test_ratios_are_within_a_run(tmp_path: Path, reference: Path) -> None:
    assert speed_gate.load(reference).ratios == {
        "test_speed.py::base": 1.0,
        "test_speed.py::ours": 1.5,
        "test_speed.py::own": 1.2,
    }
    # A machine four times as slow is no regression, and a faster one hides none.
    slow = run(tmp_path / "slow.json", {"base": 8.0, "ours": 12.0, "own": 1.0}, {"own": 1.25})
    assert set(outcomes(slow, reference).values()) == {"pass"}
    fast = run(tmp_path / "fast.json", {"base": 1.0, "ours": 1.9, "own": 1.0}, {"own": 1.6})
    assert outcomes(fast, reference) == {"base": "pass", "ours": "regression", "own": "regression"}
    assert outcomes(fast, reference, margin=0.3) == {"base": "pass", "ours": "pass", "own": "regression"}


@pytest.mark.parametrize(
    ("times", "said"),
    [
        ({"base": 2.0, "ours": 3.0}, "in the reference and not in this run"),
        ({"base": 2.0, "ours_renamed": 3.0, "own": 9.0}, "in this run and not in the reference"),
        ({"base": 2.0, "ours": 3.0, "own": 9.0, "new": 1.0}, "write a new one"),
    ],
)
def test_another_set_of_names_never_passes(tmp_path: Path, reference: Path, times: dict[str, float], said: str) -> None:
    verdicts = speed_gate.check(run(tmp_path / "run.json", times, {"own": 1.2}), speed_gate.load(reference))
    refused = [v for v in verdicts if v.outcome == "not comparable"]
    assert refused
    assert said in speed_gate.text(refused)


def test_bad_input_is_named(tmp_path: Path, reference: Path) -> None:
    held = speed_gate.load(reference)
    for path, said in {
        tmp_path / "nothing.json": "`pytest --benchmark-json",
        run(tmp_path / "empty.json", {}): "skipped or disabled",
        run(tmp_path / "other.json", {"ours": 1.0}): "benchmark in",
        reference: "is no file of",
    }.items():
        with pytest.raises(UserError, match=said):
            speed_gate.check(path, held)
    with pytest.raises(UserError, match="has no ratio"):
        speed_gate.ratios(run(tmp_path / "bare.json", {"ours": 1.0}))
    with pytest.raises(UserError, match="reason"):
        speed_gate.update(tmp_path / "new.json", tmp_path / "other.json", " ")
    with pytest.raises(UserError, match="margin"):
        speed_gate.check(tmp_path / "other.json", held, margin=0)
    with pytest.raises(UserError, match="is not a reference of speed"):
        speed_gate.load(tmp_path / "other.json")


def test_the_command_line(tmp_path: Path, reference: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lcrbench(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["lcrbench", *words])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        return int(stopped.value.code or 0)

    same = str(run(tmp_path / "same.json", {"base": 2.0, "ours": 3.0, "own": 9.0}, {"own": 1.2}))
    worse = str(run(tmp_path / "worse.json", {"base": 2.0, "ours": 6.0, "own": 9.0}, {"own": 1.2}))
    fewer = str(run(tmp_path / "fewer.json", {"base": 2.0, "ours": 3.0}))
    against = ("--against", str(reference))
    assert [lcrbench("check-speed", r, *against) for r in (same, worse, fewer, "none.json")] == [0, 1, 2, 2]
    assert lcrbench("reference", "speed", worse, "--out", str(reference), "--reason", "slower", "--base", "base") == 0
    assert lcrbench("check-speed", worse, *against) == 0
    assert [h.reason for h in speed_gate.load(reference).history] == ["first", "slower"]


def test_it_reads_what_pytest_benchmark_writes(tmp_path: Path) -> None:
    (tmp_path / "test_speed.py").write_text(
        "def test_base(benchmark):\n    benchmark(sum, range(20_000))\n"
        "def test_ours(benchmark):\n    benchmark(sum, range(60_000))\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "--benchmark-json=run.json", "--benchmark-max-time=0.2"]
    # Beside other test processes pytest-benchmark would measure nothing.
    alone = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    subprocess.run([*command, "test_speed.py"], cwd=tmp_path, check=True, capture_output=True, env=alone)
    found = speed_gate.ratios(tmp_path / "run.json", "test_base")
    assert found["test_speed.py::test_base"] == 1
    assert found["test_speed.py::test_ours"] == pytest.approx(3, rel=0.5)
    (tmp_path / "run.json").unlink()  # pytest-benchmark would leave the older file as it is
    disabled = [*command, "--benchmark-disable", "test_speed.py"]
    subprocess.run(disabled, cwd=tmp_path, check=True, capture_output=True, env=alone)
    with pytest.raises(UserError):
        speed_gate.ratios(tmp_path / "run.json", "test_base")
