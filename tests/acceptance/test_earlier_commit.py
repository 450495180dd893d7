"""The quick preset's seed 0 with one method, by the code of an earlier commit and by the present one, in one run.

What a kept store holds proves equal bits only where torch and the processor are the same. Here both sides run on the machine
at hand: weights, packed bits, logs, outcomes and measurements are equal to the bit, and the present code needs no more CPU
time. The two run at once, so that the machine's load falls on both alike. Some minutes: `pytest --slow -s` shows the times.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from lcrbench.bench.records.record import Record
from lcrbench.bench.records.store import LOG, PACKED, WEIGHTS, Store

COMMIT = "67442af805f6d1b50bb7f315d4c655d18cab1962"
"""The last one before trainings and evaluations were parted; its stores have schema 3."""

METHOD = "irnet+lcr"
RATIO, NOISE = 1.05, 0.05
"""How much CPU time the present code may take over the earlier one's, and how much of the ratio is noise: on a busy machine
the evaluation and the searches, which are the same code, differed by 1 and 4 %."""

UNCHANGED = ("accuracy", "corruption_error")
"""Metrics whose every figure is as it was. CHANGELOG.md says what became of the calibration's interval and of the search."""

ROOT = Path(__file__).parents[2]
WORDS = ["run", "quick", "--methods", METHOD, "--seeds", "0", "--workers", "1", "--device", "cpu"]

# Reaps what the command leaves behind, such as the server that forked its workers, so that its CPU time counts.
MEASURED = """
import ctypes, os, resource, subprocess, sys
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
code = subprocess.call([sys.executable, "-m", "lcrbench.bench.cli", *sys.argv[1:]])
try:
    while True:
        os.wait()
except ChildProcessError:
    pass
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime)
sys.exit(code)
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "prctl"), reason="needs Linux's prctl"
    ),
]


class Both(NamedTuple):
    before: Store
    now: Store
    seconds: tuple[float, float]


def git(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A worktree of the earlier commit, taken away at the end."""
    if not shutil.which("git") or git("cat-file", "-e", f"{COMMIT}^{{commit}}").returncode:
        pytest.skip(f"commit {COMMIT[:7]} is not here: a shallow clone, or a copy without history")
    place = tmp_path_factory.mktemp("earlier") / "worktree"
    made = git("worktree", "add", "--detach", str(place), COMMIT)
    if made.returncode:
        pytest.skip(f"git makes no worktree: {made.stderr.strip()}")
    try:
        yield place
    finally:
        git("worktree", "remove", "--force", str(place))


@pytest.fixture(scope="module")
def both(earlier: Path, tmp_path_factory: pytest.TempPathFactory) -> Both:
    folder = tmp_path_factory.mktemp("stores")
    running = [started(folder / "before", earlier / ".typing"), started(folder / "now")]
    seconds = []
    for name, process in zip(("before", "now"), running, strict=True):
        told, errors = process.communicate()
        assert process.returncode == 0, f"{name}: {told}{errors}"
        seconds.append(float(told.splitlines()[-1]))
    return Both(Store(folder / "before"), Store(folder / "now"), (seconds[0], seconds[1]))


def started(folder: Path, code: Path | None = None) -> subprocess.Popen[str]:
    """Start the command in a folder of its own, by the code in a folder, or else by the present code."""
    folder.mkdir()
    given = {"PYTHONPATH": os.pathsep.join([str(code), os.environ.get("PYTHONPATH", "")])} if code else {}
    env = os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"} | given
    where = "import lcrbench; print(lcrbench.__path__[0])"
    found = subprocess.run(
        [sys.executable, "-c", where], capture_output=True, text=True, check=True, env=env, cwd=folder
    )
    assert code is None or Path(found.stdout.strip()).is_relative_to(code), found.stdout
    words = [sys.executable, "-c", MEASURED, *WORDS, "--store", str(folder)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env, cwd=folder)


@pytest.fixture(scope="module")
def records(both: Both) -> tuple[Record, Record]:
    before, now = (list(store.records()) for store in both[:2])
    assert [r.status for r in before + now] == ["finished"] * 2
    return before[0], now[0]


def test_the_runs_are_of_two_versions(both: Both, records: tuple[Record, Record]) -> None:
    before, now = records
    assert before.run_id in both.before.old.shelf
    assert now.run_id not in both.now.old.shelf
    assert before.provenance.versions == now.provenance.versions
    assert before.provenance.device_name == now.provenance.device_name
    assert (before.spec.label, before.spec.seed) == (now.spec.label, now.spec.seed) == (METHOD, 0)


@pytest.mark.parametrize("file", [WEIGHTS, PACKED, LOG])
def test_weights_packed_bits_and_logs_are_equal(both: Both, records: tuple[Record, Record], file: str) -> None:
    before, now = records
    theirs = both.before.old.file(before.run_id, file)
    assert theirs
    assert both.now.training_file(now.spec.training.train_id, file) == theirs


def test_outcomes_are_equal(both: Both, records: tuple[Record, Record]) -> None:
    theirs, ours = (store.outcomes(r.run_id) for store, r in zip(both[:2], records, strict=True))
    assert ours.keys() == theirs.keys()
    assert len(theirs) > 50
    for cell in theirs:
        np.testing.assert_array_equal(ours[cell], theirs[cell], err_msg=str(cell))


def test_measurements_are_equal(records: tuple[Record, Record]) -> None:
    before, now = records
    first, second = ([m for m in r.measurements if m.metric in UNCHANGED] for r in (before, now))
    assert len(first) > 80
    assert second == first


def test_the_ledgers_are_equal_but_for_what_is_counted_otherwise(records: tuple[Record, Record]) -> None:
    before, now = (r.ledger for r in records)
    assert before is not None
    assert now is not None
    for field in ("images", "steps", "forward", "backward", "budget_class"):
        assert getattr(now, field) == getattr(before, field), field
    for field in ("data_order_sha256", "augmentation_sha256", "initial_weights_sha256"):
        assert getattr(now, field) == getattr(before, field), field


def test_the_present_code_takes_no_more_cpu_time(both: Both, records: tuple[Record, Record]) -> None:
    before, now = both.seconds
    print(f"\nwhole command: {before:.1f} CPU seconds at {COMMIT[:7]}, {now:.1f} now: {now / before:.3f}")
    for phase in ("training", "evaluation", "lipschitz"):
        one, other = (r.ledger.seconds[phase].cpu if r.ledger else 0.0 for r in records)
        print(f"{phase:>13}: {one:.1f}, {other:.1f}: {other / one:.3f}")
    assert now / before <= RATIO + NOISE
