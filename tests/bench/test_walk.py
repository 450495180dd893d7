"""A newcomer's walk from `lcrbench run` to the page, with its real processes: nothing is loaded or built twice."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner

from lcrbench.bench import cli

SOURCE = '''"""Stripes; notes each time that they are loaded, and by which process."""
import os
import numpy as np
from lcrbench.bench.data import Dataset, Split

def split(n, size):
    labels = np.arange(n) % 2
    images = np.random.default_rng(n).integers(0, 200, (n, size, size, 3), dtype=np.uint8)
    images[labels == 1, ::2] = 255
    return Split(images, labels)

def load(place, size):
    with open("loads.txt", "a") as file:
        file.write(f"{os.getpid()}\\n")
    return Dataset("stripes", ("plain", "striped"), split(60, size), split(20, size), skipped=0)
'''

BACKBONE = '''"""vgg_tiny; notes each time that it is built, by which process, for which method, with weights or none."""
import os
import torch
from lcrbench.models.api import Backbone
from lcrbench.models.backbones import vgg_tiny

def build(method, classes, size):
    weights = "none" if torch.empty(0).is_meta else "weights"
    with open("builds.txt", "a") as file:
        file.write(f"{os.getpid()} {type(method).__module__.rpartition('.')[2]} {weights}\\n")
    return vgg_tiny.build(method, classes, size)
'''

SPEC = """
backbone = "counted.backbone"
methods = ["bnn", "irnet+lcr", "irnet+distill"]
[data]
source = "counted.source"
size = 16
[budget]
images = 100
[recipe]
batch = 20
[evaluation]
corruptions = ["fog", "contrast"]
severities = [1, 3]
[metrics.accuracy]
[metrics.corruption_error]
[metrics.calibration_error]
[metrics.lipschitz_norms]
"""


def walk(here: Path, *more: str) -> tuple[int, str]:
    """Run the command in a folder of its own; return its process's id and what it said."""
    code = (
        "import os, sys; sys.path.insert(0, os.getcwd()); print(os.getpid(), flush=True)\n"
        "from lcrbench.bench.cli import main; main()"
    )
    words = [sys.executable, "-c", code, "run", "walk.toml", "--workers", "2", *more]
    done = subprocess.run(words, cwd=here, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.splitlines()[0]), done.stdout + done.stderr


def stroll(here: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[int, str]:
    """Do the same in this process, which has imported torch, and which never saw these entries."""
    monkeypatch.chdir(here)
    done = CliRunner().invoke(cli.app, ["run", "walk.toml", "--workers", "2"])
    assert done.exit_code == 0, done.output
    return os.getpid(), done.output


def noted(here: Path, name: str) -> list[list[str]]:
    path = here / name
    lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    path.unlink(missing_ok=True)
    return lines


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "counted").mkdir()
    for name, text in (("__init__", ""), ("source", SOURCE), ("backbone", BACKBONE)):
        (tmp_path / "counted" / f"{name}.py").write_text(text)
    (tmp_path / "walk.toml").write_text(SPEC)
    return tmp_path


def test_no_process_loads_data_twice_or_builds_a_network_for_nothing(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent, said = stroll(here, monkeypatch)
    page = next(line.partition("report: ")[2] for line in said.splitlines() if line.startswith("report: "))
    assert "counted.backbone" in (here / page).read_text()

    loads = Counter(pid for (pid,) in noted(here, "loads.txt"))
    assert loads[str(parent)] == 1
    assert len(loads) == 4, "the command and one process a run"
    assert set(loads.values()) == {1}

    builds = noted(here, "builds.txt")
    planned = Counter(method for pid, method, weights in builds if pid == str(parent) and weights == "none")
    assert planned == {"bnn": 1, "irnet": 2}, "once for each method, to see whether it fits"
    # What a step of each method costs beside the plain network's, by which the time left is foretold.
    priced = [method for pid, method, weights in builds if pid == str(parent) and weights == "weights"]
    assert len(priced) <= 2 * len({"bnn", "irnet+lcr", "irnet+distill"})
    for pid in loads.keys() - {str(parent)}:
        found = Counter(method for other, method, _ in builds if other == pid)
        (own,) = found.keys() - {"full_precision"}
        # The network that is trained, and one whose step is counted; the plain network's, and a teacher of both kinds.
        assert found[own] == 2
        assert found["full_precision"] in (1, 3)
        assert all(weights == "weights" for other, _, weights in builds if other == pid)
    assert sum(found == "full_precision" for pid, found, _ in builds if pid != str(parent)) == 1 + 1 + 3


@pytest.mark.slow
def test_one_more_metric_builds_each_network_once_and_the_next_call_none(here: Path) -> None:
    walk(here)
    for name in ("loads.txt", "builds.txt"):
        noted(here, name)
    with (here / "walk.toml").open("a") as file:
        file.write("[metrics.lipschitz_kappa]\neffort = 'trial'\nimages = 4\n")
    for todo in (3, 0):
        parent, _ = walk(here)
        loads = Counter(pid for (pid,) in noted(here, "loads.txt"))
        assert loads[str(parent)] == 1
        assert len(loads) == 1 + todo
        assert set(loads.values()) == {1}
        builds = Counter(pid for pid, _, weights in noted(here, "builds.txt") if weights == "weights")
        assert builds == dict.fromkeys(loads.keys() - {str(parent)}, 1), "back from the store, and never trained again"
