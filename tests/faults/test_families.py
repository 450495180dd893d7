"""Whole families of processes: worker, parent, fork server or all of them are killed, and what is left saves and ends.

The command is started as a user starts it, with two workers. After each death the survivors are gone within seconds, or the
command goes on; after the last one the same command ends in the bits of an uninterrupted run.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from lcrbench.bench.records.store import Store
from tests.bench.helpers import bits

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux")]

TRIALS = 12 if os.environ.get("LCRBENCH_FAULTS") else 4
VICTIMS = ("worker", "parent", "server", "all")
WORDS = [
    "run", "quick", "--methods", "bnn irnet+lcr", "--size", "16", "--train", "400", "--test", "50", "--images", "4000",
    "--batch", "50", "--corruptions", "contrast", "--severities", "1", "--set", "metrics={accuracy = {}}",
    "--workers", "2", "--device", "cpu", "--quiet", "--save-every", "0.5",
]  # fmt: skip


def start(root: Path) -> subprocess.Popen[str]:
    # From beside it, so that the command in the records is one.
    root.parent.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", "lcrbench.bench.cli", *WORDS, "--store", root.name],
        cwd=root.parent,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def family() -> dict[int, int]:
    """Return every process that runs, with its parent's id."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if state != "Z":
            found[int(stat.parent.name)] = int(parent)
    return found


def members(parent: int) -> tuple[list[int], list[int]]:
    """Return the fork servers of a command, and their workers."""
    all_ = family()
    children = [pid for pid, above in all_.items() if above == parent]
    servers = [pid for pid in children if "forkserver" in Path(f"/proc/{pid}/cmdline").read_text()]
    return servers, [pid for pid, above in all_.items() if above in servers]


def until(what: Any, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if what():
                return True
        except OSError:
            pass
        time.sleep(0.05)
    return False


def kill(pids: list[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def whole(root: Path) -> dict[str, Any]:
    store = Store(root)
    return {name: bits(root, store.record(name)) for name in store.ids()}


def test_families(tmp_path: Path, tally: dict[str, str]) -> None:
    done = start(tmp_path / "reference" / "store")
    assert done.wait(300) == 0
    expected = whole(tmp_path / "reference" / "store")
    assert len(expected) == 2
    dice, counts, slowest = random.Random(0), Counter[str](), 0.0
    for trial in range(TRIALS):
        root, victim = tmp_path / f"trial{trial}" / "store", VICTIMS[trial % len(VICTIMS)]
        command = start(root)
        assert until(lambda p=command.pid: len(members(p)[1]) == 2, 60), "two workers run"
        servers, workers = members(command.pid)
        time.sleep(dice.uniform(0.0, 4.0))
        chosen = {
            "worker": workers[:1], "parent": [command.pid], "server": servers, "all": [command.pid, *servers, *workers],
        }[victim]  # fmt: skip
        kill(chosen)
        counts[victim] += 1
        began = time.monotonic()
        if victim == "server":
            # Heard though the server is gone.
            command.send_signal(signal.SIGINT)
        if victim == "worker":
            # The command goes on, and says that a run was killed.
            assert command.wait(120) in (0, 3)
        else:
            command.wait(30)
        gone = [*servers, *workers]
        assert until(lambda pids=gone: not set(pids) & family().keys(), 30), f"{victim}: {gone} are still there"
        slowest = max(slowest, 0.0 if victim == "worker" else time.monotonic() - began)
        again = start(root)
        assert again.wait(300) == 0, again.stderr and again.stderr.read()
        assert whole(root) == expected, victim
        assert [p for p in root.rglob("*") if p.name.endswith((".new", ".lease"))] == []
    killed = ", ".join(f"{victim} {number}" for victim, number in counts.items())
    tally["families"] = f"killed {killed}; survivors gone within {slowest:.1f} s; lost 0, different 0, left over 0"
