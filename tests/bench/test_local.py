"""The executor of this machine: a process that has done a short run of our own code takes the next one."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import pytest

from lcrbench.bench import dispatch, processes, serving, worker
from lcrbench.bench.executors import Cell, Resources, local
from lcrbench.bench.progress import Progress, Work
from lcrbench.bench.records.grid import Data
from lcrbench.bench.records.store import Store
from tests.bench.helpers import SMALL, bits, jobs

GRID = SMALL | {"seeds": [0, 1, 2]}


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[processes.Child]:
    """The processes that an executor starts."""
    found: list[processes.Child] = []

    def child(*given: Any) -> processes.Child:
        found.append(processes.Child(*given))
        return found[-1]

    monkeypatch.setattr(local, "Child", child)
    return found


def test_short_runs_share_a_process_until_one_fails(tmp_path: Path, started: list[processes.Child]) -> None:
    todo = jobs(tmp_path / "there", GRID)
    todo[1] = dataclasses.replace(todo[1], source=Data(source="./no-such-data"))
    executor = local.make(1, "")
    with Progress([Work(job.spec) for job in todo], 0, quiet=True) as progress:
        ended = dispatch.dispatch(todo, executor, Store(tmp_path / "there"), progress, at_once=1)
    assert [record.status for record in ended] == ["finished", "failed", "finished"]
    assert len(started) == 2, "the process of a failed run takes no other"
    left = list(executor._idle)
    del executor
    assert wait([one.child.sentinel for one in left], 20), "what waits for a run ends with its executor"
    others = jobs(tmp_path / "here", GRID)
    for job in (others[0], others[2]):
        expected = bits(tmp_path / "here", worker.run_one(job))
        assert bits(tmp_path / "there", Store(tmp_path / "there").record(job.spec.run_id)) == expected


def test_a_process_that_died_while_it_waited_is_replaced(tmp_path: Path, started: list[processes.Child]) -> None:
    first, second, third = (job.keep() for job in jobs(tmp_path, GRID))
    executor = local.make(1, "")
    ended_by(executor, first)
    os.kill(started[0].pid, signal.SIGKILL)
    assert wait([started[0].sentinel], 20)
    ended_by(executor, second)
    assert len(started) == 2
    # Nobody has given it another run meanwhile: it is let go.
    assert list(executor.events(0.0)) == []
    ended_by(executor, third)
    assert len(started) == 3
    assert len(Store(tmp_path).ids()) == 3


def _dies(link: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_dies_before_it_is_given_its_run_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Dead(processes.Child):
        def __init__(self, function: Any, *args: Any) -> None:
            super().__init__(_dies, *args)
            assert wait([self.sentinel], 60)

    monkeypatch.setattr(local, "Child", Dead)
    (cell,) = (job.keep() for job in jobs(tmp_path, SMALL))
    executor = local.make(1, "")
    executor.submit(cell, Resources())
    (told,) = (told for _ in range(5) for told in executor.events(1.0) if told.kind != "started")
    assert told.kind == "lost"
    assert "SIGKILL" in told.reason


def test_a_process_that_is_asked_to_end_too_late_waits_for_no_other_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: list[processes.Child]
) -> None:
    (cell,) = (job.keep() for job in jobs(tmp_path, SMALL))
    executor = local.make(1, "")
    executor.submit(cell, Resources())
    link = executor._running[cell].link
    while not wait([link], 60) or link.recv() != serving.NEXT:
        pass
    monkeypatch.setattr(link, "recv", lambda: serving.NEXT)
    monkeypatch.setattr(local, "wait", lambda *_: [link])
    monkeypatch.setattr(
        processes.Child, "send", lambda *_: None
    )  # it would die of it; another one is at its last lines
    sentinel = started[0].process.sentinel
    executor.cancel(cell)
    assert [told.kind for told in executor.events(0.0)] == ["started", "ended"]
    assert not executor._idle
    assert wait([sentinel], 20)


def ended_by(executor: local.Local, cell: Cell) -> None:
    executor.submit(cell, Resources())
    end = time.monotonic() + 120
    while time.monotonic() < end:
        for told in executor.events(1.0):
            if told.kind in ("ended", "lost"):
                assert told.kind == "ended"
                return
    raise AssertionError("the run never ended")


class Link:
    """Stands in for a process's end of a link, through which some cells come."""

    def __init__(self, *cells: Cell) -> None:
        self.cells, self.sent = list(cells), list[Any]()

    def recv(self) -> Cell:
        if not self.cells:
            raise EOFError
        return self.cells.pop(0)

    def send(self, what: Any) -> None:
        if what == serving.NEXT:
            self.sent.append(what)


@pytest.mark.parametrize("change", [{"LONG": 0.0}, {"MOST": 1}, {"_ours": lambda spec: False}, {}])
def test_what_ends_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]) -> None:
    one, other = (job.keep() for job in jobs(tmp_path, SMALL | {"seeds": [0, 1]}))
    monkeypatch.setattr(serving, "_begin", lambda: None)
    for name, value in change.items():
        monkeypatch.setattr(serving, name, value)
    link = Link(one, other)
    if not change:
        assert serving.serve(link) is None
        assert link.sent == [serving.NEXT] * 2
        return
    with pytest.raises(SystemExit) as stop:
        serving.serve(link)
    assert stop.value.code == 0
    assert (link.sent, link.cells) == ([], [other])


@pytest.mark.parametrize("error", [EOFError, ConnectionResetError])
def test_a_process_ends_in_silence_where_nobody_is_left(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def recv() -> Cell:
        raise error

    link = Link()
    monkeypatch.setattr(serving, "_begin", lambda: None)
    monkeypatch.setattr(link, "recv", recv)
    assert serving.serve(link) is None


def test_whose_code_takes_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = jobs(tmp_path, SMALL)[0]
    cell = job.keep()
    assert serving._ours_alone(cell)
    monkeypatch.setattr(serving.loading, "find", lambda source: ("my_package.my_source", source))
    assert not serving._ours_alone(cell)
    job.forget(cell)
    assert not serving._ours_alone(cell)
    spec = job.spec
    assert serving._ours(spec)
    assert not serving._ours(spec.model_copy(update={"metrics": {"my_package.my_metric": {}}}))
    shown = spec.protocol.model_copy(update={"corruptions": ("fog", "my_package.my_corruption")})
    assert not serving._ours(spec.model_copy(update={"protocol": shown}))


HELD = """
import sys
from pathlib import Path
from lcrbench.bench.executors import Resources, local
from tests.bench.helpers import SMALL, jobs
from tests.bench.test_local import ended_by

if __name__ == "__main__":
    executor = local.make(1, "")
    ended_by(executor, jobs(Path(sys.argv[1]), SMALL)[0].keep())
    assert executor._idle
    keep = [executor]
    keep.append(keep)
"""


@pytest.mark.slow  # a server of its own
def test_a_program_ends_while_a_process_waits_for_a_run(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", HELD, str(tmp_path)], timeout=200, check=True)
