"""Processes of runs: neither the parent's nor the fork server's death leaves one that trains on unseen, or deaf."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import tempfile
import time
from multiprocessing import forkserver
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import pytest

from lcrbench.bench import processes
from lcrbench.bench.processes import LOST, Child
from lcrbench.errors import UserError

pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux")

ENDLESS = """
import sys
from lcrbench.bench import processes
from tests.bench.test_processes import sleep

if __name__ == "__main__":
    child = processes.Child(sleep, 600.0)
    print(child.pid, processes.forkserver._forkserver._forkserver_pid, flush=True)
    sys.stdin.read()
"""


def sleep(seconds: float) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    processes.watch_parent(grace=1.0)
    time.sleep(seconds)


def deaf(seconds: float) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    processes.watch_parent(grace=1.0)
    time.sleep(seconds)


def gone(pid: int, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


@pytest.fixture(autouse=True)
def light_server(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A server of this test's own, that imports no torch."""
    forkserver._forkserver._stop()
    monkeypatch.setattr(processes, "PRELOAD", [])
    yield
    forkserver._forkserver._stop()


def test_a_child_is_heard_and_ended_after_its_server_died() -> None:
    child = Child(sleep, 600.0)
    server = forkserver._forkserver._forkserver_pid
    os.kill(server, signal.SIGKILL)
    assert gone(server, 10)
    time.sleep(0.2)
    assert child.alive(), "it runs on, and the parent sees that it does"
    end = time.monotonic() + 30
    while not wait([child.sentinel], 0.2) and time.monotonic() < end:
        child.send(signal.SIGTERM)  # again and again: a process that has just been forked does not hear it yet
    assert not child.alive()
    assert child.code() == LOST
    child.close()
    other = Child(sleep, 0.0)
    assert wait([other.sentinel], 20), "a server is started anew"
    assert other.code() == 0
    other.close()


def test_the_exit_code_is_told_while_the_server_lives() -> None:
    child = Child(sleep, 600.0)
    child.send(signal.SIGKILL)
    assert wait([child.sentinel], 10)
    assert child.code() == -signal.SIGKILL
    child.close()


@pytest.mark.parametrize("function", ["sleep", "deaf"])
def test_children_and_server_end_with_their_parent(function: str) -> None:
    code = ENDLESS.replace("sleep", function).replace("import sys", "import sys\nprint", 0)
    parent = subprocess.Popen(
        [sys.executable, "-c", code.replace("child =", "processes.PRELOAD = []\n    child =")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout
    child, server = map(int, parent.stdout.readline().split())
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait(10)
    assert gone(child, 15)
    assert gone(server, 15)


def test_the_callers_environment_stays_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    before, handlers = dict(os.environ), [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    child = Child(sleep, 0.0)
    assert dict(os.environ) == before
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == handlers
    wait([child.sentinel], 20)
    child.close()


def test_children_leave_no_descriptor_behind() -> None:
    def held() -> int:
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    def one() -> None:
        child = Child(sleep, 0.0)
        assert wait([child.sentinel], 20)
        assert child.code() == 0
        child.close()

    one()
    before = held()
    for _ in range(20):
        one()
    assert held() <= before


def test_the_servers_socket_has_a_short_path_whatever_tmpdir_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    monkeypatch.setattr(processes.forkserver, "ensure_running", lambda: seen.append(tempfile.gettempdir()))
    short, long = tmp_path / "s", tmp_path / ("x" * 100)
    short.mkdir()
    long.mkdir()
    monkeypatch.setattr(processes, "LONGEST", len(str(short)))
    for given in (short, long):
        monkeypatch.setattr(tempfile, "tempdir", str(given))
        monkeypatch.setattr(processes, "SHORT", (str(tmp_path / "none"), str(short)))
        processes.process_context()
        assert tempfile.gettempdir() == str(given)
    assert seen == [str(short)] * 2
    monkeypatch.setattr(processes, "SHORT", ())
    with pytest.raises(UserError, match=r"TMPDIR: .* is too long a path"):
        processes.process_context()
