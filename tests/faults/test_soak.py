"""Many runs under one parent: neither it nor the server of processes grows. Some fifteen minutes: `pytest --slow -s`."""

from __future__ import annotations

import subprocess
import sys
import time
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest

from lcrbench.bench.progress import Progress
from tests.bench.helpers import SMALL, go

RUNS, EVERY = 1000, 100

GROWTH = 1.02
"""The memory after some hundred runs times this bounds that after all."""

CELLS, LAST = 500, 490
"""The cells of a grid, and after how many its command is looked at last: behind them it imports what draws the report."""

GRID = [
    "run", "quick", "--methods", "bnn irnet irnet+lcr recu full_precision", "--seeds", " ".join(map(str, range(CELLS // 5))),
    "--size", "16", "--train", "200", "--test", "50", "--images", "100", "--batch", "50", "--corruptions", "fog",
    "--severities", "1", "--set", "metrics={accuracy = {}}", "--workers", "2", "--device", "cpu", "--store", "store",
]  # fmt: skip

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
        assert max(memory) <= memory[0] * GROWTH, memory
        assert max(descriptors) - min(descriptors) <= 4, descriptors
    assert not list((tmp_path / "store" / ".unfinished").glob("*"))


def test_the_command_of_five_hundred_tiny_cells_does_not_grow(tmp_path: Path, tally: dict[str, str]) -> None:
    """From the hundredth cell on."""
    marks, seen = [*range(100, LAST, 50), LAST], list[tuple[int, tuple[int, int]]]()
    made = tmp_path / "store" / "evaluations"
    with (tmp_path / "said").open("w") as said:
        command = subprocess.Popen(
            [sys.executable, "-m", "lcrbench.bench.cli", *GRID],
            cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=said, stderr=said,
        )  # fmt: skip
        try:
            while command.poll() is None:
                done = len(list(made.glob("[!.]*"))) if made.exists() else 0
                if len(seen) < len(marks) and done >= marks[len(seen)]:
                    seen.append((done, held(command.pid)))
                time.sleep(0.1)
        finally:
            if command.poll() is None:
                command.terminate()
                command.wait()
    assert command.returncode == 0, (tmp_path / "said").read_text()
    assert len(list(made.glob("[!.]*"))) == CELLS
    assert len(seen) == len(marks)
    (start, (first, opened)), (end, (last, still)) = seen[0], seen[-1]
    assert start < marks[1]
    assert end < CELLS
    tally[f"{CELLS} cells, their command"] = (
        f"{first / 1e3:.1f} MB after {start}, {last / 1e3:.1f} MB after {end}, {opened} to {still} descriptors"
    )
    assert last <= first * GROWTH, seen
    assert abs(still - opened) <= 4, seen
