"""Leases: between processes of one machine, between machines, and with clocks that jump."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from lcrbench.bench.records import lease as leases
from lcrbench.bench.records.lease import Held, Lease, Superseded, fence
from lcrbench.bench.records.store import Store
from lcrbench.errors import UserError
from tests.bench import helpers


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch)


def shorten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(leases, "BEAT", 0.1)
    patch.setattr(leases, "PATIENCE", 0.6)
    patch.setattr(leases, "CONFIRM", 0.3)


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what makes a lease as a process of another machine does."""

    def claim(folder: Path) -> Lease:
        with monkeypatch.context() as patch:
            patch.setattr(leases, "machine", lambda: "f" * 16)
            made = Lease(folder)
            made.acquire()
            return made

    return claim


def stand_still(lease: Lease) -> None:
    """Let a holder renew no more, and give nothing back: it is stopped, or its machine is gone."""
    lease._stop.set()
    assert lease._beating
    lease._beating.join()


def file(lease: Lease) -> Path:
    return lease.folder / f"{lease.number:08}"


def test_one_holds_it_at_a_time_and_numbers_rise(tmp_path: Path) -> None:
    first, second = Lease(tmp_path / "x"), Lease(tmp_path / "x")
    first.acquire()
    with pytest.raises(Held):
        second.acquire()
    first.release()
    second.acquire()
    assert (first.number, second.number) == (1, 2)
    second.release()
    assert [p.name for p in (tmp_path / "x").glob("0*")] == ["00000002"]
    assert Lease(tmp_path / "x").state() == "free"


def _hold(path: Path, ready: Any) -> None:
    Lease(path).acquire()
    ready.send(1)
    time.sleep(60)


def test_a_killed_holder_on_this_machine_is_succeeded_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    reader, writer = context.Pipe(duplex=False)
    process = context.Process(target=_hold, args=(tmp_path / "x", writer))
    process.start()
    reader.recv()
    with pytest.raises(Held):
        Lease(tmp_path / "x").acquire()
    assert process.pid
    os.kill(process.pid, signal.SIGKILL)
    # Nobody has waited for it yet: it is a zombie.
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    began = time.monotonic()
    with Lease(tmp_path / "x"):
        assert time.monotonic() - began < 0.3
    process.join()


def test_a_living_holder_on_another_machine_is_left_alone(tmp_path: Path, elsewhere: Any) -> None:
    theirs, mine = elsewhere(tmp_path / "x"), Lease(tmp_path / "x")
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        with pytest.raises(Held):
            mine.acquire()
    threading.Timer(0.2, theirs.release).start()
    mine.acquire(5)
    assert mine.number == 2
    mine.release()


def test_a_dead_holder_on_another_machine_is_succeeded_after_a_lease(tmp_path: Path, elsewhere: Any) -> None:
    theirs = elsewhere(tmp_path / "x")
    stand_still(theirs)
    with pytest.raises(Held):
        Lease(tmp_path / "x").acquire()
    began = time.monotonic()
    with Lease(tmp_path / "x") as mine:
        assert 0.6 < time.monotonic() - began < 3
        with pytest.raises(Superseded):
            theirs.check()
        theirs.release()
        mine.check()
    assert Lease(tmp_path / "x").state() == "free"


def test_of_many_that_find_a_dead_lease_one_takes_it(tmp_path: Path, elsewhere: Any) -> None:
    stand_still(elsewhere(tmp_path / "x"))
    time.sleep(0.7)
    took: list[Lease] = []
    start = threading.Barrier(8)

    def claim() -> None:
        lease = Lease(tmp_path / "x")
        start.wait()
        try:
            lease.acquire()
        except Held:
            return
        took.append(lease)

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [lease.number for lease in took] == [2]
    took[0].check()
    took[0].release()


def test_who_looked_long_ago_does_not_take_a_number_that_was_cleared_away(tmp_path: Path) -> None:
    late = Lease(tmp_path / "x")
    for _ in range(2):
        with Lease(tmp_path / "x"):
            pass
    # It found nobody, and was stopped for as long.
    assert not late._claim(1)
    assert [p.name for p in (tmp_path / "x").glob("0*")] == ["00000002"]


@pytest.mark.parametrize("jump", [3600.0, -3600.0], ids=["forward", "back"])
def test_a_clock_that_jumps_takes_no_lease_from_a_living_holder(tmp_path: Path, elsewhere: Any, jump: float) -> None:
    """The file system's clock jumped: what was renewed before seems an hour old, or to come; the next renewal shows it."""
    theirs = elsewhere(tmp_path / "x")
    changed = time.time() - jump
    os.utime(file(theirs), (changed, changed))
    with pytest.raises(Held):
        Lease(tmp_path / "x").acquire()
    theirs.check()
    theirs.release()


@pytest.mark.parametrize("jump", [3600.0, -3600.0], ids=["forward", "back"])
def test_a_dead_holder_is_succeeded_whatever_the_clocks_say(
    tmp_path: Path, elsewhere: Any, jump: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = elsewhere(tmp_path / "x")
    stand_still(theirs)
    changed = time.time() - jump
    os.utime(file(theirs), (changed, changed))
    # This machine's own clock is wrong too, and plays no part.
    monkeypatch.setattr(time, "time", lambda: 0.0)
    began = time.monotonic()
    with Lease(tmp_path / "x"):
        assert 0.2 < time.monotonic() - began < 3


def test_a_write_by_who_has_lost_the_lease_is_refused(tmp_path: Path, elsewhere: Any) -> None:
    store = Store(tmp_path, create=True)
    one = helpers.record()
    helpers.put(store, one)
    name = one.spec.training.train_id  # type: ignore[union-attr]
    training = store.trainings.record(name)
    mine = store.lease(name)
    mine.acquire()
    store.trainings.write(name, training, {"x": b"1"})
    mine._claim(mine.number + 1)  # as another process would, after this one was stopped for long
    mine.number -= 1
    with pytest.raises(Superseded):
        store.trainings.write(name, training, {"x": b"2"})
    assert store.trainings.read(name, "x", store.trainings.record(name).files["x"]) == b"1"
    assert [p.name for p in store.trainings.root.iterdir()] == [name], "no draft is left"
    mine.release()
    fence(mine.folder)


def test_a_holder_learns_by_its_next_renewal_that_it_lost_the_lease(tmp_path: Path) -> None:
    mine = Lease(tmp_path / "x")
    mine.acquire()
    assert not leases.is_lost()
    Lease(tmp_path / "x")._claim(2)
    end = time.monotonic() + 5
    while not leases.is_lost() and time.monotonic() < end:
        time.sleep(0.02)
    assert leases.is_lost()
    mine.release()
    assert not leases.is_lost()
    assert file(mine).exists() is False


def test_a_lease_says_nothing_of_names(tmp_path: Path) -> None:
    with Lease(tmp_path / "x") as lease:
        assert socket.gethostname() not in file(lease).read_text()


def test_no_place_for_a_lease_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot take the lease"):
        Lease(tmp_path / "file" / "x").acquire()
