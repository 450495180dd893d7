"""Leases under faults, with processes: a holder that is stopped and goes on, claimants at once, commands on one store."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import pytest

from lcrbench.bench import serving, worker
from lcrbench.bench.executors import Cell
from lcrbench.bench.records import lease as leases
from lcrbench.bench.records.store import Store
from tests.bench import helpers
from tests.bench.helpers import bits

LONG: dict[str, Any] = helpers.SMALL | {"budget": {"images": 16_000}}
"""A grid of one run of 320 steps, some seconds."""


def _work(cell: Cell, events: Any, machine: str) -> None:
    """Work on a cell as a process of a machine, with leases of a second."""
    leases.BEAT, leases.PATIENCE, leases.CONFIRM = 0.1, 1.0, 0.5
    leases.machine = lambda: machine
    os.dup2(os.open(os.path.join(cell.store, f"{machine}.err"), os.O_CREAT | os.O_WRONLY), 2)
    serving.process(cell, events)


class Machine:
    """A process that takes itself for one of another machine."""

    def __init__(self, one: worker.Job, name: str) -> None:
        self.name, self.root = name, one.root
        self.events, writer = multiprocessing.Pipe(duplex=False)
        context = multiprocessing.get_context("spawn")
        self.process = context.Process(target=_work, args=(one.keep(), writer, name))
        self.process.start()
        writer.close()
        self.steps: list[int] = []

    def follow(self, until: int | None = None, seconds: float = 120.0) -> None:
        """Note the steps that it tells of, up to a step or its end."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and (until is None or not self.steps or self.steps[-1] < until):
            if not wait([self.events], 0.2):
                continue
            try:
                event = self.events.recv()
            except (EOFError, OSError):
                break
            if event.phase == "training":
                self.steps.append(event.done)

    def send(self, number: int) -> None:
        assert self.process.pid
        os.kill(self.process.pid, number)

    def code(self) -> int | None:
        self.process.join(60)
        return self.process.exitcode

    def said(self) -> str:
        return (self.root / f"{self.name}.err").read_text()


def test_a_stopped_holder_that_goes_on_leaves_as_superseded(tmp_path: Path) -> None:
    one = helpers.job(tmp_path, LONG, save_every=0.5)
    first = Machine(one, "a" * 16)
    first.follow(until=20)
    first.send(signal.SIGSTOP)
    second = Machine(one, "b" * 16)
    second.follow(until=60)
    assert second.steps, "it took over"
    # The first goes on while the second trains: it leaves, and records nothing.
    before = first.steps[-1]
    first.send(signal.SIGCONT)
    first.follow()
    assert first.code() == serving.BUSY
    assert first.steps[-1] - before < 100, "nobody trains in vain longer than a lease"
    assert "superseded" in first.said()
    assert len(first.said().splitlines()) == 1
    second.follow()
    assert second.code() == 0
    store = Store(tmp_path)
    (run_id,) = store.ids()
    assert store.record(run_id).status == "finished"
    assert not list(tmp_path.rglob("*.new"))
    whole = helpers.job(tmp_path / "whole", LONG)
    assert bits(tmp_path, store.record(run_id)) == bits(tmp_path / "whole", worker.run_one(whole))


@pytest.mark.slow  # test_lease.py has the same by default, with threads
def test_two_that_find_a_dead_lease_at_once(tmp_path: Path) -> None:
    """Exactly one trains on; the other finds what it made."""
    one = helpers.job(tmp_path, LONG, save_every=0.5)
    first = Machine(one, "a" * 16)
    first.follow(until=20)
    first.send(signal.SIGKILL)
    first.process.join()
    both = [Machine(one, name * 16) for name in "bc"]
    for machine in both:
        machine.follow()
    assert sorted(machine.code() for machine in both) in ([0, 0], [0, serving.BUSY])  # type: ignore[type-var]
    assert sorted(bool(machine.steps) for machine in both) == [False, True]
    store = Store(tmp_path)
    assert [store.record(run_id).status for run_id in store.ids()] == ["finished"]


@pytest.mark.slow  # three commands, each of which imports torch
def test_array_elements_share_a_store(tmp_path: Path) -> None:
    """As Slurm starts them: each takes the next free run; every run is trained once, and there is one report."""
    lines = ['methods = ["bnn", "irnet"]', "seeds = [0, 1, 2]", "[data]", "train = 200", "test = 50", "[budget]"]
    lines += ["images = 1500", "[recipe]", "batch = 50", "[evaluation]", 'corruptions = ["fog"]', "severities = [1]"]
    (tmp_path / "s.toml").write_text("\n".join([*lines, "[metrics.accuracy]"]))
    # Each command writes down which of its runs told that they were training, and which that they were evaluated.
    code = (
        "import sys; from lcrbench.bench import cli, runner\n"
        "class Progress(runner.Progress):\n"
        "    def update(self, event):\n"
        "        print(event.phase, event.run_id, file=open(sys.argv[0], 'a'))\n"
        "runner.Progress, sys.argv = Progress, sys.argv[1:]\n"
        "cli.main()"
    )
    rest = ["run", "s.toml", "--store", "s", "--workers", "1", "--device", "cpu"]
    ends = [[], [], ["--no-wait"]]
    every = [
        subprocess.Popen(
            [sys.executable, "-c", code, f"told{i}", *rest, *end], cwd=tmp_path, stderr=subprocess.PIPE, text=True
        )
        for i, end in enumerate(ends)
    ]
    for process in every:
        _, err = process.communicate(timeout=400)
        assert process.returncode == 0, err
    told = [set(path.read_text().splitlines()) for path in tmp_path.glob("told*")]
    store = Store(tmp_path / "s")
    for phase in ("training", "evaluation"):
        done = sorted(line.split()[1] for lines in told for line in lines if line.split()[0] == phase)
        assert done == store.ids(), phase
    assert len(store.ids()) == 6
    for i in store.ids():
        assert store.record(i).status == "finished"
        assert len(store.evaluation_of(i).batches) == 1  # type: ignore[union-attr]
        store.verify(i)
    assert [p.name for p in (tmp_path / "s" / "reports").iterdir() if p.is_dir()] == ["s"]
    assert not [*(tmp_path / "s" / ".jobs").iterdir()]
