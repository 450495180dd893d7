"""Kills at random moments and processes in competition, with the counts printed; in full by `tox run -e faults`."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from lcrbench.bench import serving, worker
from lcrbench.bench.processes import Child, process_context
from lcrbench.bench.records.record import Record
from lcrbench.bench.records.store import Store
from tests.bench import helpers
from tests.bench.helpers import bits, came_to
from tests.bench.photographs import tree

TABLES: dict[str, Any] = helpers.TABLES | {
    "budget": {"images": 1000},
    "evaluation": {"corruptions": ["fog", "contrast"], "severities": [1, 3, 5], "block": 25},
}
# One training, and three: a teacher's, and two stages taught by it.
METHODS = ("irnet+lcr", "reactnet:two_step=true+distill")
FULL = bool(os.environ.get("LCRBENCH_FAULTS"))
KILLS = 60 if FULL else 4


def job(root: Path, save_every: float, method: str = METHODS[0]) -> worker.Job:
    return helpers.job(root, TABLES | {"methods": [method]}, save_every=save_every)


class Worker:
    """A worker process of its own that reports its phase."""

    def __init__(self, one: worker.Job) -> None:
        self.label = one.spec.label
        self.events, writer = multiprocessing.Pipe(duplex=False)
        self.child = Child(serving.process, one.keep(), writer)
        writer.close()
        self.began, self.phase = time.monotonic(), "starting"
        self.steps = self.cells = 0

    def live(self, seconds: float, until: str = "") -> bool:
        """Follow the process for so long after it reached the phase `until`; tell whether it still runs."""
        end = self.began + 300 if until else self.began + seconds
        while (left := end - time.monotonic()) > 0:
            if not self.events.poll(min(left, 0.02)):
                if not self.child.alive():
                    break
                continue
            try:
                event = self.events.recv()
            except EOFError:
                wait([self.child.sentinel], 60)
                break
            self.phase = event.phase
            self.steps += event.phase == "training"
            self.cells += event.phase == "evaluation"
            if event.phase == "training" and "reactnet" in self.label:
                self.phase = f"stage {1 if event.done < event.total / 2 else 2}"
            if until == self.phase:
                end, until = time.monotonic() + seconds, ""
        return self.child.alive()

    @property
    def done(self) -> tuple[int, int]:
        """Return how many steps and cells it told of."""
        return self.steps, self.cells

    def kill(self) -> None:
        self.child.send(signal.SIGKILL)
        wait([self.child.sentinel], 60)


class Reference(NamedTuple):
    """An uninterrupted run: its record, all that must be the same, and how long its process took."""

    record: Record
    bits: dict[str, Any]
    seconds: float


@pytest.fixture(scope="module")
def references(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Reference]:
    """Uninterrupted runs, in processes that had nothing to compile or import."""
    found = {}
    for method in (METHODS[0], *METHODS):
        root = tmp_path_factory.mktemp("reference")
        one = Worker(job(root, 60, method))
        one.live(300)
        assert one.child.code() == 0
        record = Store(root).record(Store(root).ids()[0])
        found[method] = Reference(record, bits(root, record), time.monotonic() - one.began)
    return found


def test_kills(tmp_path: Path, references: dict[str, Reference], tally: dict[str, str]) -> None:
    """Each trial is killed one to three times, every second one saving at every step, and must end as the reference.

    A third of the kills aim at a phase that a random moment seldom meets, and strike within 30 ms of its beginning. Lost is
    a run, or a training, that a process had finished and a later kill took away, or that no process finishes; duplicated, a
    training that a process made though it was in the store already, or an evaluation; different, a run that does not end in
    the reference's bits.
    """
    wrong = Counter(lost=0, duplicated=0, different=0)

    def stored(root: Path, record: Record) -> tuple[bool, bool]:
        """Tell whether a store has the run's training, and the whole run."""
        store = Store(root)
        trained = record.spec.training.train_id in store.trainings
        return trained, record.run_id in store.ids() and store.record(record.run_id).status == "finished"

    def count(before: tuple[bool, bool], after: tuple[bool, bool], process: Worker) -> None:
        wrong["lost"] += sum(had and not has for had, has in zip(before, after, strict=True))
        wrong["duplicated"] += sum(had and steps > 0 for had, steps in zip(before, process.done, strict=True))

    dice = random.Random(0)
    kills, trials, moments = 0, 0, Counter[str]()
    while kills < KILLS:
        root = tmp_path / f"trial{trials}"
        method = METHODS[trials % 2]
        record, expected, duration = references[method]
        one = job(root, 0.0 if trials // 2 % 2 else 60.0, method)
        for _ in range(dice.randint(1, 3)):
            before = stored(root, record)
            process = Worker(one)
            if dice.random() < 1 / 3:
                late = ["evaluation", "accuracy", "corruption_error", "storing"]
                early = ["training"] if method == METHODS[0] else ["teacher", "stage 1", "stage 2"]
                alive = process.live(dice.uniform(0.0, 0.03), until=dice.choice(early + late))
            else:
                alive = process.live(dice.uniform(0.0, 1.1 * duration))
            if alive:
                process.kill()
                kills += 1
                moments[process.phase] += 1
                # As the parent of a grid's processes does.
                came_to(Store(root), one, process.child.code())
            count(before, stored(root, record), process)
        before = stored(root, record)
        last = Worker(one)
        last.live(300)
        assert last.child.code() == 0
        after = stored(root, record)
        count(before, after, last)
        wrong["lost"] += after != (True, True)
        wrong["different"] += bits(root, Store(root).record(record.run_id)) != expected
        assert Store(root).ids() == [record.run_id]
        assert not [p for p in (root / ".unfinished").glob("*") if p.suffix != ".new"]
        trials += 1
    counts = ", ".join(f"{what} {number}" for what, number in wrong.items())
    phases = ", ".join(f"{phase} {number}" for phase, number in moments.most_common())
    tally["kills"] = f"{kills} in {trials} runs ({phases}); {counts}"
    assert not wrong.total(), counts


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells a process's children")
def test_a_kill_in_mid_epoch_with_readers_at_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The readers end, too, and what goes on from the last save ends in the bits of a training that read for itself."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    place = tree(tmp_path / "set", train=40, test=5)
    tables = TABLES | {
        "data": {"source": str(place), "size": 16, "stream": True},
        "methods": ["irnet"],
        "budget": {"images": 960},
        "recipe": {"batch": 16, "lr": 0.05, "augmentation": "random-resized-crop"},
    }
    # 120 images: an epoch ends within every eighth step.
    whole = worker.run_one(helpers.job(tmp_path / "whole", tables))
    one = helpers.job(tmp_path / "killed", tables, readers=2, save_every=0.0)
    seen = 0
    for _ in range(2):
        process = Worker(one)
        while process.steps < 9 and process.live(time.monotonic() - process.began + 0.01):
            pass
        readers = children(process.child.pid)
        assert (process.phase, len(readers)) == ("training", 2)
        process.kill()
        seen += process.steps
        came_to(Store(tmp_path / "killed"), one, process.child.code())
        end = time.monotonic() + 30
        while any(map(running, readers)):
            assert time.monotonic() < end, "readers live on"
            time.sleep(0.1)
    last = Worker(one)
    last.live(300)
    assert last.child.code() == 0
    assert 0 < last.steps <= 60 - seen + 4, "it went on from a save"
    record = Store(tmp_path / "killed").record(whole.run_id)
    assert bits(tmp_path / "killed", record) == bits(tmp_path / "whole", whole)


def children(pid: int) -> list[int]:
    """Return the processes that a process has started and that still run."""
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            told = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        except OSError:
            continue
        if int(told["PPid"]) == pid:
            found.append(int(told["Pid"]))
    return found


def running(pid: int) -> bool:
    """Tell whether a process runs, and is not merely waited for."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_several_processes_on_one_store(
    tmp_path: Path, references: dict[str, Reference], tally: dict[str, str]
) -> None:
    for count in (2, 4):
        root = tmp_path / str(count)
        workers = [Worker(job(root, 60)) for _ in range(count)]
        for one in workers:
            one.live(300)
        trained = sum(one.steps > 0 for one in workers)
        assert trained == 1
        codes = Counter(one.child.code() for one in workers)
        assert codes[0] >= 1
        assert set(codes) <= {0, serving.BUSY}
        assert sum(one.cells > 0 for one in workers) == 1
        expected = references[METHODS[0]]
        assert bits(root, Store(root).record(expected.record.run_id)) == expected.bits
        stood = sum(number for code, number in codes.items() if code == serving.BUSY)
        tally[f"{count} processes at once"] = f"{trained} trained, {stood} stood back"


def test_the_start_method_is_the_one_that_runs_use() -> None:
    there = "forkserver" in multiprocessing.get_all_start_methods()
    assert process_context().get_start_method() == ("forkserver" if there else "spawn")
