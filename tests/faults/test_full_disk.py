"""A full disk at each write of a run: told in one line, nothing stored before is harmed, and the run goes on later."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lcrbench.bench import worker
from lcrbench.bench.records.store import Store
from lcrbench.errors import UserError
from tests.bench import helpers
from tests.bench.helpers import bits

FULL = bool(os.environ.get("LCRBENCH_FAULTS"))
TABLES: dict[str, Any] = {
    "data": {"train": 100, "test": 20},
    "methods": ["reactnet:two_step=true+distill"],
    "budget": {"images": 100},
    "recipe": {"batch": 50, "lr": 0.05},
    "evaluation": {"corruptions": ["contrast"], "severities": [1], "block": 20},
    "metrics": {"accuracy": {}},
}


def job(root: Path, seed: int = 0) -> worker.Job:
    return helpers.job(root, TABLES | {"seeds": [seed]}, save_every=0.0)


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


class FailingDisk:
    """Stands between a program and the disk beneath a folder; the n-th call that writes there finds no space left.

    A write leaves half of its content behind, as on a real disk.
    """

    def __init__(self, root: Path, fail_at: int, patch: pytest.MonkeyPatch) -> None:
        self.root, self.fail_at, self.calls = str(root), fail_at, 0
        for name in ("write_bytes", "write_text", "mkdir", "rename", "replace"):
            patch.setattr(Path, name, self.guard(getattr(Path, name), name))
        patch.setattr(os, "fsync", self.guard(os.fsync, "fsync"))

    def guard(self, real: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(target: Any, *args: Any, **kwargs: Any) -> Any:
            here = name == "fsync" or str(target).startswith(self.root)
            # A lease that is not renewed is no failure: it is left out.
            if here and ".lease" not in str(target):
                self.calls += 1
                if self.calls == self.fail_at:
                    if name.startswith("write"):
                        with Path(target).open("wb" if name == "write_bytes" else "w") as file:
                            file.write(args[0][: len(args[0]) // 2])
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
            return real(target, *args, **kwargs)

        return call


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    before = signal.getsignal(signal.SIGTERM)
    root = tmp_path_factory.mktemp("expected")
    found = bits(root, worker.run_one(job(root)))
    signal.signal(signal.SIGTERM, before)
    return found


def contents(store: Path) -> dict[str, bytes]:
    """Return every file of a store's trainings and evaluations."""
    return {str(p.relative_to(store)): p.read_bytes() for p in sorted(store.glob("[!.]*/[!.]*/*"))}


def attempt(store: Path) -> str:
    """Return what a run says that cannot end, or nothing."""
    try:
        worker.run_one(job(store))
    except UserError as error:
        return str(error)
    return ""


def test_each_write_of_a_run_may_find_the_disk_full(
    tmp_path: Path, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tally: dict[str, str]
) -> None:
    """A store that holds another run; in the short form every ninth write fails."""
    filled = tmp_path / "filled"
    worker.run_one(job(filled, seed=1))
    before = contents(filled)
    told, fail_at = 0, 1
    while True:
        store = tmp_path / "store"
        shutil.copytree(filled, store)
        with monkeypatch.context() as patch:
            disk = FailingDisk(store, fail_at, patch)
            message = attempt(store)
        if disk.calls < fail_at:
            assert not message
            break
        assert "No space left on device" in message, f"write {fail_at}: {message!r}"
        assert "\n" not in message
        told += 1
        assert before.items() <= contents(store).items()
        for run_id in Store(store).ids():
            Store(store).verify(run_id)
        assert bits(store, worker.run_one(job(store))) == expected
        shutil.rmtree(store)
        fail_at += 1 if FULL else 9
    tally["disk full"] = (
        f"at {told} of {disk.calls} writes, one after the other: told {told}, damaged 0, resumed {told}"
    )
    assert told >= (30 if FULL else 3)


@pytest.mark.parametrize(("size", "code"), [pytest.param("64k", 3, marks=pytest.mark.slow), ("4k", 2)])
def test_the_command_says_it(tmp_path: Path, size: str, code: int) -> None:
    """Where there is room for the record of a failed run, the run has failed; where there is none, the command has."""
    place = small_disk(tmp_path, size)
    try:
        command = [sys.executable, "-m", "lcrbench.bench.cli", "run", "quick", "--images", "200", "--train", "100"]
        command += ["--test", "20", "--methods", "bnn"]
        command += ["--corruptions", "contrast", "--severities", "1", "--store", str(place / "s"), "--device", "cpu"]
        command += ["--out", str(tmp_path / "report")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == code, done.stderr
        assert "No space left on device" in done.stderr
        assert "Traceback" not in done.stderr
        assert done.stderr.splitlines()[-1].startswith("lcrbench: ")
        assert done.stderr.count("\n") == code - 1
    finally:
        subprocess.run(["umount", str(place)], check=True)


def small_disk(tmp_path: Path, size: str) -> Path:
    """Return a small file system of its own; skips where none can be mounted."""
    place = tmp_path / "small"
    place.mkdir()
    try:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], capture_output=True, text=True
        )
    except OSError as error:
        pytest.skip(f"no mount here: {error}")
    if done.returncode:
        pytest.skip(f"no small file system can be mounted here: {done.stderr.strip()}")
    return place


@pytest.mark.parametrize("size", range(0, 2400, 200) if FULL else (300, 1100))
def test_a_small_disk(tmp_path: Path, expected: dict[str, Any], size: int) -> None:
    """A real file system of so many KiB, which is full somewhere in the run; then there is room, and it goes on."""
    place = small_disk(tmp_path, f"{size + 16}k")
    try:
        store = place / "s"
        message = attempt(store)
        assert not message or ("No space left on device" in message and "\n" not in message)
        subprocess.run(["mount", "-o", "remount,size=64m", str(place)], check=True)
        assert bits(store, worker.run_one(job(store))) == expected
    finally:
        subprocess.run(["umount", str(place)], check=True)
