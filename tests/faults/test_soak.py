"""A thousand runs under one parent: neither it nor the server of processes grows. Some ten minutes: `pytest --slow -s`."""

from __future__ import annotations

import itertools
import sys
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest

from lcrbench.bench.progress import Progress
from tests.bench.helpers import SMALL, go

RUNS, EVERY = 1000, 100

GROWTH = 1.02
"""Least memory after the second hundred runs times this bounds that after the third, and so on."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="memory and descriptors are read from /proc"),
]


def held(pid: int | str) -> tuple[int, int]:
    """Return the anonymous memory of a process in kB, and the number of its open descriptors."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (memory,) = [int(line.split()[1]) for line in lines if line.startswith("RssAnon")]
    return memory, len(list(Path(f"/proc/{pid}/fd").iterdir()))


def test_a_thousand_runs_of_two_steps_leave_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tally: dict[str, str]
) -> None:
    seen: list[tuple[tuple[int, int], tuple[int, int]]] = []
    finish = Progress.finish

    def finished(self: Progress, *args: Any, **options: Any) -> None:
        finish(self, *args, **options)
        count.append(1)
        # Between two hundreds, because both processes end after their hundredth run and leave one fewer for a moment.
        if len(count) % EVERY == EVERY // 2:
            server: Any = forkserver._forkserver  # type: ignore[attr-defined]
            seen.append((held("self"), held(server._forkserver_pid)))

    count: list[int] = []
    monkeypatch.setattr(Progress, "finish", finished)
    tables = SMALL | {"budget": {"images": 100}, "seeds": list(range(RUNS)), "metrics": {"accuracy": {}}}
    records = go(tmp_path / "store", tables)
    assert len(records) == RUNS == len({r.run_id for r in records})
    assert all(r.status == "finished" for r in records)
    told = ("parent", seen[0][0], seen[-1][0]), ("server of processes", seen[0][1], seen[-1][1])
    for process, (first, opened), (last, still) in told:
        tally[f"{RUNS} runs, {process}"] = f"{first / 1e3:.0f} to {last / 1e3:.0f} MB, {opened} to {still} descriptors"
    # The first fifty fill caches.
    for process in (0, 1):
        memory = [each[process][0] for each in seen[1:]]
        descriptors = [each[process][1] for each in seen[1:]]
        assert all(b <= a * GROWTH for a, b in itertools.pairwise(memory)), memory
        assert max(descriptors) - min(descriptors) <= 4, descriptors
    assert not list((tmp_path / "store" / ".unfinished").glob("*"))
