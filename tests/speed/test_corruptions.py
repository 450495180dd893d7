"""CPU time of each corruption against both distributions of `imagecorruptions`, interleaved in one run, on one core.

The fork `imagecorruptions-imaug` is the one installed; imagecorruptions 1.1.2 is put into `.benchmarks/` by pip and
needs shims to import at all. Times are means over the five severities; each image is corrupted with the constants of
its size, except for "like for like", where ours takes the ImageNet constants at 32 pixels, as imagecorruptions does.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from lcrbench.corruptions import corrupt, names

HERE = Path(__file__).parent
OLD = HERE.parents[1] / ".benchmarks" / "imagecorruptions-1.1.2"
GOLDEN = HERE.parent / "corruptions" / "golden.npz"
FLOORS = {32: (120, 200), 224: (40, 130)}  # the sum over the 15 common corruptions: times the fork, times 1.1.2
BATCH = {32: 400, 224: 16}
PEER_IMAGES = {32: 8, 224: 1}


class Times(NamedTuple):
    """Microseconds an image."""

    ours: float
    fork: float
    old: float | None
    like: float | None


class Peer:
    """A process that times one distribution of imagecorruptions."""

    def __init__(self, *folder: str) -> None:
        command = [sys.executable, str(HERE / "corruption_peer.py"), *folder]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def __call__(self, name: str, side: int) -> float:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{name} {side} {PEER_IMAGES[side]}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline()) * 1e6


def install_old() -> str:
    """Put imagecorruptions 1.1.2 into its folder, and return why it cannot be timed, or ''."""
    if (OLD / "imagecorruptions").is_dir():
        return ""
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--target",
        str(OLD),
        "imagecorruptions==1.1.2",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stderr.strip().splitlines()[-1] if done.returncode else ""


@pytest.fixture(scope="module")
def peers() -> Iterator[tuple[Peer, Peer | None]]:
    started = [Peer(), None if install_old() else Peer(str(OLD))]
    yield started[0], started[1]
    for peer in started:
        if peer:
            peer.process.kill()


@pytest.fixture(scope="module")
def table(request: pytest.FixtureRequest) -> Iterator[dict[tuple[int, str], Times]]:
    """Collects the times, and prints them at the end."""
    rows: dict[tuple[int, str], Times] = {}
    yield rows
    capture: Any = request.config.pluginmanager.get_plugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print("\n".join(render(rows)))


def total(rows: dict[tuple[int, str], Times], side: int) -> Times:
    common = [rows[side, name] for name in names("common")]
    old = None if any(row.old is None for row in common) else sum(row.old or 0.0 for row in common)
    like = None if any(row.like is None for row in common) else sum(row.like or 0.0 for row in common)
    return Times(sum(row.ours for row in common), sum(row.fork for row in common), old, like)


def render(rows: dict[tuple[int, str], Times]) -> list[str]:
    """Return the table as markdown."""
    out = ["", "", "CPU time in us an image, one core; mean over five severities"]
    for side in sorted({side for side, _ in rows}):
        heads = f"| {side} px | ours | imaug 1.1.5 | times | 1.1.2 | times | like for like |"
        out += ["", heads, "|---|---|---|---|---|---|---|"]
        lines = {name: row for (s, name), row in rows.items() if s == side}
        if all(name in lines for name in names("common")):
            lines["**the 15 common**"] = total(rows, side)
        for name, row in lines.items():
            old = ["-", "-"] if row.old is None else [f"{row.old:,.0f}", f"{row.old / row.ours:,.0f}x"]
            like = "-" if row.like is None else f"{row.fork / row.like:,.1f}x"
            cells = [name, f"{row.ours:,.1f}", f"{row.fork:,.0f}", f"{row.fork / row.ours:,.1f}x", *old, like]
            out.append(f"| {' | '.join(cells)} |")
        if side == 32 and "**the 15 common**" in lines:
            seconds = lines["**the 15 common**"].ours * 5 * 10_000 / 1e6
            out.append(f"\n10,000 images x 15 x 5: {seconds:.1f} s where memcpy moves {memcpy():.0f} GB/s")
    return out


def memcpy() -> float:
    """Return the gigabytes a second that a copy moves, read and written, out of reach of the caches."""
    source = np.ones(1 << 27, np.uint8)
    target = source.copy()
    times = []
    for _ in range(5):
        start = time.process_time()
        np.copyto(target, source)
        times.append(time.process_time() - start)
    return 2 * source.nbytes / min(times) / 1e9


def pictures(side: int) -> np.ndarray:
    with np.load(GOLDEN) as golden:
        images = golden[f"{'cifar' if side == 32 else 'imagenet'}/sto_inputs"]
    return np.ascontiguousarray(np.resize(images, (BATCH[side], *images.shape[1:])))


@pytest.mark.benchmark(timer=time.process_time)
@pytest.mark.parametrize("name", names("all"))
@pytest.mark.parametrize("side", [32, 224])
def test_corruption(benchmark: Any, peers: Any, table: dict[tuple[int, str], Times], side: int, name: str) -> None:
    images = pictures(side)

    def run(constants: str | None = None) -> None:
        for severity in range(1, 6):
            corrupt(images, name, severity, constants=constants)

    run()
    fork, old = peers
    slow = fork(name, side), old(name, side) if old else None
    benchmark.pedantic(run, rounds=3)
    ours = benchmark.stats.stats.min / len(images) / 5 * 1e6
    like = None
    if side == 32:
        run("imagenet")
        times = []
        for _ in range(2):
            start = time.process_time()
            run("imagenet")
            times.append(time.process_time() - start)
        like = min(times) / len(images) / 5 * 1e6
    again = fork(name, side), old(name, side) if old else None
    table[side, name] = Times(ours, min(slow[0], again[0]), min(slow[1], again[1]) if old else None, like)
    benchmark.extra_info.update(table[side, name]._asdict())


@pytest.mark.benchmark(timer=time.process_time)
@pytest.mark.parametrize("side", [32, 224])
def test_the_floors_are_kept(benchmark: Any, table: dict[tuple[int, str], Times], side: int) -> None:
    benchmark.pedantic(lambda: None)
    if any((side, name) not in table for name in names("common")):
        pytest.skip("needs the times of all corruptions, from the same run")
    row = total(table, side)
    fork, old = FLOORS[side]
    assert row.fork / row.ours >= fork
    assert row.old is None or row.old / row.ours >= old
