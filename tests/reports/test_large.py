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
@pytest.mark.parametrize(("methods", "seeds", "settings"), [(20, 10, 10), (200, 10, 1)])
def test_two_thousand_runs(tmp_path: Path, methods: int, seeds: int, settings: int) -> None:
    store = large_store(tmp_path / "store", methods, seeds, settings)
    words = [sys.executable, "-c", MEASURE, str(store.root), str(tmp_path / "report")]
    # A busy core charges more seconds for the same work, so the better of two counts.
    for attempt in range(2):
        done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=280)
        cpu_seconds, gigabytes = json.loads(done.stdout)
        assert gigabytes < 1.5
        if cpu_seconds < 20:
            break
        assert attempt == 0, cpu_seconds
    assert (tmp_path / "report" / "index.html").stat().st_size < 5e6
