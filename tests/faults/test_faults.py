"""Faults at random moments and malformed input in bulk, with the counts printed; in full by `tox run -e faults`."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lcrbench.bench import env, runner, spec, worker
from lcrbench.bench.schema import Record
from lcrbench.bench.store import Store
from lcrbench.errors import UserError

TABLES: dict[str, Any] = {
    "data": {"train": 200, "test": 50},
    "methods": ["irnet+lcr"],
    "budget": {"images": 1000, "batch": 50, "lr": 0.05},
    "evaluation": {"corruptions": ["fog", "contrast"], "severities": [1, 3, 5], "block": 25},
    "metrics": {"accuracy": {}, "corruption_error": {}},
}
FULL = bool(os.environ.get("LCRBENCH_FAULTS"))
KILLS = 60 if FULL else 6
PROVENANCE = env.provenance("cpu", 1, "test", {}, deterministic=True)


@pytest.fixture(scope="module")
def data() -> Any:
    return worker.load_data(spec.make_grid(TABLES).data)


def job(root: Path, data: Any, save_every: float) -> worker.Job:
    grid = spec.make_grid(TABLES)
    (planned,) = runner.plan(grid, data)
    Store(root, create=True)
    return worker.Job(planned, grid.data, root, "cpu", PROVENANCE, save_every=save_every)


class Worker:
    """A worker process of its own that reports its phase."""

    def __init__(self, one: worker.Job) -> None:
        context = runner._process_context()
        self.events, writer = context.Pipe(duplex=False)
        self.process = context.Process(target=worker.work, args=(one, writer), daemon=True)
        self.process.start()
        writer.close()
        self.began, self.phase = time.monotonic(), "starting"

    def live(self, seconds: float) -> bool:
        """Follow the process for so long; tell whether it still runs."""
        end = self.began + seconds
        while (left := end - time.monotonic()) > 0:
            if not self.events.poll(min(left, 0.02)):
                if not self.process.is_alive():
                    break
                continue
            try:
                self.phase = self.events.recv().phase
            except EOFError:
                self.process.join()
                break
        return self.process.is_alive()


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory, data: Any) -> tuple[Record, float]:
    """An uninterrupted run, and how long its process took when nothing had to be compiled or imported."""
    for number in range(2):
        root = tmp_path_factory.mktemp(f"reference{number}")
        one = Worker(job(root, data, 60))
        one.live(300)
        assert one.process.exitcode == 0
    return Store(root).record(Store(root).ids()[0]), time.monotonic() - one.began


def test_kills(tmp_path: Path, data: Any, reference: tuple[Record, float]) -> None:
    """Each trial is killed one to three times, every second one saving at every step, and must end as the reference."""
    record, duration = reference
    dice = random.Random(0)
    kills, trials, moments = 0, 0, Counter[str]()
    while kills < KILLS:
        root = tmp_path / f"trial{trials}"
        one = job(root, data, save_every=0.0 if trials % 2 else 60.0)
        for _ in range(dice.randint(1, 3)):
            process = Worker(one)
            if process.live(dice.uniform(0.0, 1.1 * duration)):
                os.kill(process.process.pid, signal.SIGKILL)
                process.process.join()
                kills += 1
                moments[process.phase] += 1
        last = Worker(one)
        last.live(300)
        assert last.process.exitcode == 0
        ended = Store(root).record(record.run_id)
        assert ended.timeless() == record.timeless()
        assert ended.files == record.files
        assert Store(root).ids() == [record.run_id]
        assert not list((root / ".unfinished").glob("*"))
        trials += 1
    print(f"\nkills: {kills} in {trials} runs ({dict(moments)}); lost 0, duplicated 0, different 0")


def test_several_processes_on_one_store(tmp_path: Path, data: Any, reference: tuple[Record, float]) -> None:
    for count in (2, 4):
        root = tmp_path / str(count)
        workers = [Worker(job(root, data, 60)) for _ in range(count)]
        for one in workers:
            one.live(300)
        codes = Counter(one.process.exitcode for one in workers)
        assert codes[0] >= 1
        assert set(codes) <= {0, worker.BUSY}
        assert Store(root).record(reference[0].run_id).files == reference[0].files
        print(f"\n{count} processes at once: exit codes {dict(codes)}")


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 0),
    st.floats(allow_nan=True),
    st.text(max_size=8),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=1),
)
FIELDS = [(table, field) for table, fields in TABLES.items() if isinstance(fields, dict) for field in fields]
seen = Counter[str]()


@settings(max_examples=400 if FULL else 120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(place=st.sampled_from([*FIELDS, *((t, "") for t in TABLES), ("budget", "momentum"), ("seeds", "")]), junk=JUNK)
def test_malformed_specs(data: Any, place: tuple[str, str], junk: Any) -> None:
    """Whatever stands in a field: a grid, or one line that names the field."""
    table, field = place
    tables = {k: dict(v) if isinstance(v, dict) else v for k, v in TABLES.items()}
    if field:
        tables[table][field] = junk
    else:
        tables[table] = junk
    refusal = ""
    try:
        runner.plan(spec.make_grid(tables), data)
    except UserError as error:
        refusal = str(error)
        assert len(refusal) > 10, "a refusal says something"
    assert "\n" not in refusal
    seen["refused" if refusal else "accepted"] += 1


def test_most_of_them_were_refused() -> None:
    print(f"\nmalformed specs: {seen['refused']} refused with one line, {seen['accepted']} harmless, 0 tracebacks")
    assert seen["refused"] >= (200 if FULL else 60)


def test_the_start_method_is_the_one_that_runs_use() -> None:
    assert runner._process_context().get_start_method() in multiprocessing.get_all_start_methods()
