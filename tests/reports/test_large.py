"""A report over a very large store is still quick to build and light to open."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from .make_large import large_store

MEASURE = """
import json, resource, sys, time
from pathlib import Path
from lcrbench.bench.records.store import Store
from lcrbench.reports import report
report.write(Store(Path(sys.argv[1])), Path(sys.argv[2]))
print(json.dumps([time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("methods", "seeds", "settings", "seconds", "gigabytes", "megabytes"),
    [(20, 10, 10, 20, 1.5, 5), (200, 10, 1, 20, 1.5, 5), (50, 10, 10, 80, 3.2, 8), (500, 10, 1, 130, 3.2, 8)],
)
def test_thousands_of_runs(
    tmp_path: Path, methods: int, seeds: int, settings: int, seconds: float, gigabytes: float, megabytes: float
) -> None:
    """2,000 runs, and 5,000: bounded CPU seconds, memory, and size of the page."""
    store = large_store(tmp_path / "store", methods, seeds, settings)
    words = [sys.executable, "-c", MEASURE, str(store.root), str(tmp_path / "report")]
    # A busy core charges more seconds for the same work, so the better of two counts.
    for attempt in range(2):
        done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=900)
        cpu_seconds, memory = json.loads(done.stdout)
        assert memory < gigabytes
        if cpu_seconds < seconds:
            break
        assert attempt == 0, cpu_seconds
    assert (tmp_path / "report" / "index.html").stat().st_size < megabytes * 1e6
