"""The examples of the documentation's gallery: each is worked through within ten seconds of a processor."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "docs" / "examples"
MOST = 10.0
"""CPU seconds of an example, those of its runs' processes included."""

WORK = """
import contextlib, json, os, sys, time
from multiprocessing import forkserver

def spent():
    # The server of processes holds what those have spent that it has seen end.
    server = forkserver._forkserver._forkserver_pid
    if server is None:
        return time.process_time()
    fields = open(f"/proc/{server}/stat").read().rpartition(")")[2].split()
    return time.process_time() + sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")

sys.path.insert(0, os.getcwd())
seconds = {}
for name in sys.argv[1:]:
    before = spent()
    with contextlib.redirect_stdout(sys.stderr):
        exec(compile(open(name).read(), name, "exec"), {"__name__": "__main__"})
    seconds[name] = spent() - before
print(json.dumps(seconds))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux, which counts what children spend")
def test_each_example_takes_ten_seconds_at_most() -> None:
    """One after the other in one process, as the site's build runs them."""
    names = sorted(p.name for p in EXAMPLES.glob("plot_*.py"))
    assert len(names) >= 4
    done = subprocess.run(
        [sys.executable, "-c", WORK, *names], cwd=EXAMPLES, env=os.environ | {"MPLBACKEND": "agg"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    seconds = json.loads(done.stdout)
    print(seconds)
    assert {n: s for n, s in seconds.items() if s > MOST} == {}
