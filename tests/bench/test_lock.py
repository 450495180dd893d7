"""The lock of a run: between processes of one machine, and between machines whose file locks do not reach each other."""

from __future__ import annotations

import multiprocessing
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from filelock import Timeout

from lcrbench.bench.records import lock as locks
from lcrbench.bench.records.lock import Lock
from lcrbench.errors import UserError


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "BEAT", 0.1)
    monkeypatch.setattr(locks, "PATIENCE", 0.6)


class Deaf:
    """A file lock that a shared file system keeps to each machine: it always succeeds."""

    def __init__(self, path: Path) -> None:
        pass

    def acquire(self, timeout: float) -> None:
        pass

    def release(self) -> None:
        pass


def on(monkeypatch: pytest.MonkeyPatch, machine: str, path: Path) -> Lock:
    """Return a lock as another machine makes it, which sees our leases and none of our file locks."""
    monkeypatch.setattr(locks, "FileLock", Deaf)
    made = Lock(path)
    made._token = f"{machine} token"
    return made


def test_one_holds_it_at_a_time(tmp_path: Path) -> None:
    first, second = Lock(tmp_path / "x"), Lock(tmp_path / "x")
    first.acquire(0)
    with pytest.raises(Timeout):
        second.acquire(0)
    first.release()
    second.acquire(0)
    second.release()
    assert not (tmp_path / "x.lease").exists()


def _hold(path: Path, ready: Any) -> None:
    Lock(path).acquire(0)
    ready.send(1)
    time.sleep(60)


def test_a_killed_holder_on_this_machine_is_succeeded_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    reader, writer = context.Pipe(duplex=False)
    process = context.Process(target=_hold, args=(tmp_path / "x", writer))
    process.start()
    reader.recv()
    with pytest.raises(Timeout):
        Lock(tmp_path / "x").acquire(0)
    process.kill()
    process.join()
    assert (tmp_path / "x.lease").exists()
    began = time.monotonic()
    with Lock(tmp_path / "x"):
        assert time.monotonic() - began < 0.3


def test_a_living_holder_on_another_machine_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = on(monkeypatch, "other", tmp_path / "x")
    theirs.acquire(0)
    mine = on(monkeypatch, locks.machine(), tmp_path / "x")
    with pytest.raises(Timeout):
        mine.acquire(0)
    threading.Timer(0.3, theirs.release).start()
    mine.acquire(5)
    assert (tmp_path / "x.lease").read_text().startswith(locks.machine())
    mine.release()


def test_a_dead_holder_on_another_machine_is_succeeded_after_a_while(tmp_path: Path) -> None:
    (tmp_path / "x.lease").write_text("other token 7")
    began = time.monotonic()
    with Lock(tmp_path / "x"):
        assert 0.5 < time.monotonic() - began < 3


def test_a_lease_says_nothing_of_names(tmp_path: Path) -> None:
    with Lock(tmp_path / "x"):
        assert socket.gethostname() not in (tmp_path / "x.lease").read_text()


def test_no_place_for_a_lock_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot lock"):
        Lock(tmp_path / "file" / "x").acquire(0)
