"""Runs on the machines of a Ray cluster: `ray` starts or joins one here, `ray:ADDRESS` joins one (docs/howto/cluster.md).

All machines see the store, and the images, under the same path, and have the same lcrbench, which each worker compares.
A run whose worker or machine is lost is tried again elsewhere; a run's own failure is recorded, and not tried again.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lcrbench
from lcrbench.bench.executors import Cell, Outcome, Resources, Told
from lcrbench.bench.processes import ONE_THREAD
from lcrbench.bench.progress import Event
from lcrbench.bench.records.source import whole
from lcrbench.errors import UserError

RETRIES = 3
"""How often a run is tried again whose worker or machine was lost."""
BEAT = 0.5
"""Seconds between two words of a worker with its command."""


class Board:
    """Where workers tell how far they are, and learn that they are to stop: an actor on the command's own machine."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, str], Event] = {}
        self._begun: list[str] = []
        self._stopped: set[str] = set()

    def begin(self, job: str) -> bool:
        """Note that a job is begun, and tell whether it is to stop."""
        self._begun.append(job)
        return job in self._stopped

    def tell(self, job: str, events: list[Event]) -> bool:
        """Take what a worker tells, and tell whether it is to stop."""
        self._told |= {(job, event.phase): event for event in events}
        return job in self._stopped

    def take(self) -> tuple[list[str], list[tuple[str, Event]]]:
        """Return the jobs that have begun, and the latest event of each phase, since the last call."""
        begun, told = self._begun, [(job, event) for (job, _), event in self._told.items()]
        self._begun, self._told = [], {}
        return begun, told

    def stop(self, jobs: list[str]) -> None:
        """Let jobs stop."""
        self._stopped |= set(jobs)


def version() -> tuple[str, str]:
    """Return what must be the same on all machines: the version of lcrbench, and the hash of its code."""
    return lcrbench.__version__, whole()


def task(store: str, job: str, folder: str, expected: tuple[str, str], board: Any) -> tuple[Outcome, str]:
    """Work on a job in a Ray worker; return what was done, and why it was refused if it was."""
    import ray

    if version() != expected:
        mine, theirs = (f"lcrbench {number}, code {code}" for number, code in (version(), expected))
        return (
            "refused",
            f"a machine of the cluster has other code ({mine}; here {theirs}): install the same on all",
        )
    if not Path(store).is_dir():
        return "refused", f"a machine of the cluster finds no store at {store}: it must be shared, under the same path"
    with contextlib.suppress(OSError):
        # Where relative paths lead from, and entries named by an import path lie.
        os.chdir(folder)
        if folder not in sys.path:
            sys.path.insert(0, folder)
    from lcrbench.bench import worker

    if ray.get(board.begin.remote(job)):
        return "stopped", ""
    latest: dict[str, Event] = {}
    over = threading.Event()

    def follow() -> None:
        while not over.wait(BEAT):
            events = [latest.pop(phase) for phase in list(latest)]
            try:
                stop = ray.get(board.tell.remote(job, events))
            except Exception:
                stop = True  # the command that asked for the run is gone
            if stop and not over.is_set():
                # Repeated, because a signal before the training handles it has no effect.
                os.kill(os.getpid(), signal.SIGTERM)

    # Ray's own handler would end the worker.
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    following = threading.Thread(target=follow, daemon=True)
    following.start()
    try:
        outcome = worker.work(store, job, lambda event: latest.update({event.phase: event}))
    finally:
        over.set()
        following.join(5.0)
        signal.signal(signal.SIGTERM, before)
    with contextlib.suppress(Exception):
        ray.get(board.tell.remote(job, list(latest.values())))
    return outcome, ""


class Ray:
    """The workers of a cluster."""

    def __init__(self, ray: Any, address: str) -> None:
        self._ray = ray
        if not ray.is_initialized():
            environment = {"env_vars": dict.fromkeys(ONE_THREAD, "1")}
            try:
                ray.init(address or None, logging_level="error", runtime_env=environment)
            except (ConnectionError, ValueError, RuntimeError, OSError) as error:
                first = str(error).strip().partition("\n")[0]
                raise UserError(f"cannot join the Ray cluster{address and ' at ' + address}: {first}") from error
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._board = ray.remote(Board).options(num_cpus=0, scheduling_strategy=here).remote()
        self._task = ray.remote(task)
        self._version = version()
        self._running: dict[Any, Cell] = {}
        self._began: set[str] = set()
        self._cancelled: set[Cell] = set()
        self._now: set[Cell] = set()

    def capacity(self) -> list[Resources]:
        """Return what each machine of the cluster has."""
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        return [Resources(n.get("CPU", 0.0), n.get("GPU", 0.0), n.get("memory", 0.0)) for n in nodes]

    def submit(self, cell: Cell, need: Resources) -> None:
        """Give the cluster a cell."""
        wanted: dict[str, Any] = {"num_cpus": need.cores, "num_gpus": need.gpus}
        if need.memory:
            wanted["memory"] = int(need.memory)
        started = self._task.options(**wanted, max_retries=RETRIES, retry_exceptions=False)
        given = (cell.store, cell.job, os.getcwd(), self._version, self._board)
        self._running[started.remote(*given)] = cell

    def events(self, timeout: float) -> Iterator[Told]:
        """Yield what the workers tell."""
        self._pass_on()
        ray = self._ray
        ready, _ = ray.wait(list(self._running), num_returns=1, timeout=timeout)
        if ready:
            ready, _ = ray.wait(list(self._running), num_returns=len(self._running), timeout=0)
        try:
            begun, told = ray.get(self._board.take.remote(), timeout=60)
        except ray.exceptions.RayError as error:
            raise UserError(
                "the connection to the Ray cluster is lost: give the same command again to go on"
            ) from error
        cells = {cell.job: cell for cell in self._running.values()}
        self._began |= set(begun)
        yield from (Told(cells[job], "started") for job in begun if job in cells)
        yield from (Told(cells[job], "progress", event) for job, event in told if job in cells)
        for reference in ready:
            yield self._ended(self._running.pop(reference), reference)

    def _ended(self, cell: Cell, reference: Any) -> Told:
        errors = self._ray.exceptions
        try:
            outcome, reason = self._ray.get(reference)
        except errors.TaskCancelledError:
            return Told(cell, "ended", outcome="stopped")
        except errors.RayTaskError as error:
            # Not of the run, whose failures are recorded: of what surrounds it.
            last = str(error).strip().splitlines()[-1]
            return Told(cell, "ended", outcome="refused", reason=f"a worker of the cluster failed: {last}")
        except errors.RayError as error:
            if cell in self._now:
                return Told(cell, "ended", outcome="stopped")
            name = type(error).__name__
            return Told(cell, "lost", reason=f"its worker was lost {RETRIES + 1} times ({name}): run again to go on")
        return Told(cell, "ended", outcome=outcome, reason=reason)

    def cancel(self, cell: Cell, now: bool = False) -> None:
        """Note that a cell is to stop: it is passed on by `events`, because a signal's handler may not ask the cluster."""
        self._cancelled.add(cell)
        if now:
            self._now.add(cell)

    def _pass_on(self) -> None:
        """Tell the workers what is cancelled; take back what has not begun, and end what is to end now."""
        if not self._cancelled:
            return
        asked, self._cancelled = self._cancelled, set()
        with contextlib.suppress(self._ray.exceptions.RayError):
            self._ray.get(self._board.stop.remote([cell.job for cell in asked]), timeout=60)
        for reference, cell in self._running.items():
            if cell in self._now:
                self._ray.cancel(reference, force=True)
            elif cell in asked and cell.job not in self._began:
                self._ray.cancel(reference)


def make(workers: int | None, address: str) -> Ray:
    """Return the executor of a cluster; raises `UserError` where Ray is not installed, or there is no such cluster."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise UserError("--on ray needs Ray, which is not installed: pip install 'lcrbench[ray]'") from None
    return Ray(ray, address)
