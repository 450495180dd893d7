"""Other people's machines: a run and its report where users, folders, limits and streams are not what we have.

Each runs the command as it is started there: two trainings in processes of their own, corrupted images, the report. What
needs a name space or a mount is skipped where none can be made.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lcrbench.bench.records.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")]

RUN = [
    "run", "quick", "--methods", "bnn", "--size", "16", "--train", "200", "--test", "50", "--images", "200", "--batch", "50",
    "--corruptions", "contrast", "--severities", "1", "--set", "metrics={accuracy = {}}", "--seeds", "0 1",
    "--workers", "2", "--device", "cpu", "--store", "store",
]  # fmt: skip
COMMAND = shlex.join([sys.executable, "-m", "lcrbench.bench.cli", *RUN])
NO_HOME = "env -u HOME -u XDG_CACHE_HOME -u MPLCONFIGDIR"

MACHINES = {
    "another user without a name or a home": f"unshare --user --map-user=12345 --map-group=12345 {NO_HOME} {{}}",
    "no home": f"{NO_HOME} {{}}",
    "a home that is no folder": f"{NO_HOME} HOME=/dev/null {{}}",
    "a home that may only be read": "unshare --mount sh -c 'mount -t tmpfs -o ro tmpfs home && "
    f"{NO_HOME} HOME=$PWD/home \"$@\"' - {{}}",
    "no shared memory": "unshare --mount sh -c 'mount -t tmpfs -o ro tmpfs /dev/shm && \"$@\"' - {}",
    "64 MB for temporary files": "unshare --mount sh -c 'mount -t tmpfs -o size=64m tmpfs home && "
    "TMPDIR=$PWD/home \"$@\"' - {}",
    "a long path for temporary files": f"sh -c 'mkdir -p home/{'x' * 90} && TMPDIR=$PWD/home/{'x' * 90} \"$@\"' - {{}}",
    "64 open files": "sh -c 'ulimit -n 64; \"$@\"' - {}",
    "no terminal": "setsid env TERM=dumb {}",
    "no standard streams": "sh -c '\"$@\" <&- >&- 2>&-' - {}",
}  # fmt: skip


@pytest.mark.parametrize("machine", MACHINES)
def test_a_run_ends_in_its_report(tmp_path: Path, machine: str, tally: dict[str, str]) -> None:
    line = MACHINES[machine]
    (tmp_path / "home").mkdir()
    if "unshare" in line:
        if shutil.which("unshare") is None:
            pytest.skip("there is no unshare here")
        tried = subprocess.run(
            ["sh", "-c", line.format("true")], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        if tried.returncode:
            pytest.skip(f"cannot be made here: {tried.stderr.strip()}")
    # The streams are the caller's here, but no terminal: what is printed goes into files.
    with (tmp_path / "out").open("w") as out, (tmp_path / "err").open("w") as err:
        done = subprocess.run(
            ["sh", "-c", line.format(COMMAND)],
            cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=out, stderr=err, timeout=500, check=False,
        )  # fmt: skip
    said = (tmp_path / "err").read_text()
    assert done.returncode == 0, said
    assert "Traceback" not in said
    store = Store(tmp_path / "store")
    assert [store.record(name).status for name in store.ids()] == ["finished", "finished"]
    for name in store.ids():
        store.verify(name)
    assert (tmp_path / "store" / "reports" / "quick" / "index.html").is_file()
    # No folder of the name "~", and nothing left beside the store.
    assert {p.name for p in tmp_path.iterdir()} <= {"home", "out", "err", "store"}
    if machine == "no standard streams":
        assert os.stat(tmp_path / "err").st_size == 0
    tally[f"on a machine: {machine}"] = "2 runs and their report"
