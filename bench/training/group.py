"""The processes of one training: how they are started, connected, and exchange messages.

The process that works on a run is the first of the group. It starts the others for each training and each evaluation
(`--procs-per-run`), or calls those that torchrun has started, which serve until the command ends. Only the first one plans,
reads and writes the store, and reports. Numbers travel by gloo, and gradients on CUDA devices by NCCL.

A process that dies, fails or waits longer than `TIMEOUT` ends the group: every other one finds `Lost` at its next message.
The first one then records a failed run, which goes on from its save at the next command.

What is sent is JSON and tensors, never pickled, because a group's port does not check who connects.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
import traceback
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from lcrbench.bench import device as devices
from lcrbench.bench import processes
from lcrbench.bench.data.arrays import Dataset
from lcrbench.bench.data.subset import load_data
from lcrbench.bench.records.grid import Data
from lcrbench.bench.records.spec import TrainSpec
from lcrbench.bench.together import ALONE, Group, Saved
from lcrbench.bench.training import launched
from lcrbench.bench.training.checkpoint import Silent, packed, unpacked

if TYPE_CHECKING:
    from lcrbench.bench.evaluation.engine import Choice

T = TypeVar("T")

c10d: Any = dist
"""Its stores, which it does not export in a way that a type checker sees."""

TIMEOUT = 600.0
"""Seconds that a process waits for the others."""

GRACE = 10.0
"""Seconds in which a process that serves ends, once its training has."""

LET_GO = 1.0
"""Seconds for which the tensors of the last message are waited for; an error that is on its way holds them."""

LOOK = 0.2


class Lost(Exception):
    """The group is no more: another process ended, failed, or did not answer in time."""


@dataclass(frozen=True)
class Task:
    """A training, or the evaluation of its network, as the other processes of a group receive it.

    `engine` is that of the evaluation, and "" for the training; `cache` is where corrupted images are kept, "" for nowhere;
    `shown` is the hash of the data set whose test images are shown.
    """

    spec: TrainSpec
    source: Data
    device: str
    readers: int = 0
    engine: Choice | Literal[""] = ""
    cache: str = ""
    shown: str = ""

    def text(self) -> str:
        """Return it as JSON."""
        made = {"spec": self.spec.model_dump(mode="json"), "source": self.source.model_dump(mode="json")}
        names = ("device", "readers", "engine", "cache", "shown")
        return json.dumps(made | {name: getattr(self, name) for name in names})

    @classmethod
    def read(cls, text: str) -> Task:
        """Return what `text` wrote."""
        found = json.loads(text)
        spec, source = TrainSpec.model_validate(found["spec"]), Data.model_validate(found["source"])
        return cls(spec, source, found["device"], found["readers"], found["engine"], found["cache"], found["shown"])


class Processes:
    """A group of several processes; see `shards.Group`."""

    def __init__(self, store: Any, rank: int, world: int, device: str) -> None:
        """Wait for the others; raises `Lost` if they do not come."""
        self.store, self.rank, self.world, self.device = store, rank, world, device
        backend = "gloo" if device == "cpu" else "cpu:gloo,cuda:nccl"
        limit = timedelta(seconds=TIMEOUT)
        self._sent: list[weakref.ref[Tensor]] = []
        self._said(lambda: dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=limit))

    def gather(self, rows: Tensor) -> Tensor:
        """Return the rows (n, N) of all processes as one (world n, N), in their order."""
        found = rows.new_empty(self.world, *rows.shape)
        self._said(lambda: dist.all_gather([self._own(row) for row in found.unbind(0)], self._own(rows)))
        return found.flatten(0, 1)

    def numbers(self, own: Sequence[float]) -> list[list[float]]:
        """Return the numbers of each process, as many of each, in their order."""
        return self.gather(torch.tensor([list(own)], dtype=torch.float64)).tolist()

    def share(self, saved: Saved | None) -> Saved | None:
        """Return what the first process gives; the others give nothing."""
        content = packed(*saved) if saved else b""
        size = int(self.numbers([len(content)])[0][0])
        if not size:
            return None
        sent = (
            torch.frombuffer(bytearray(content), dtype=torch.uint8) if saved else torch.empty(size, dtype=torch.uint8)
        )
        self._said(lambda: dist.broadcast(self._own(sent), 0))
        return unpacked(sent.numpy().tobytes())

    def collect(self, tensors: dict[str, Tensor]) -> list[dict[str, Tensor]]:
        """Return the tensors of each process, by name."""
        content = packed(tensors, {}) if tensors else b""
        sizes = [int(n) for (n,) in self.numbers([len(content)])]
        if not any(sizes):
            return [{} for _ in sizes]
        padded = torch.zeros(1, max(sizes), dtype=torch.uint8)
        if content:
            padded[0, : len(content)] = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        rows = self.gather(padded)
        return [unpacked(row[:n].numpy().tobytes())[0] if n else {} for row, n in zip(rows, sizes, strict=True)]

    def fail(self, message: str) -> None:
        """Leave word of why this process ends."""
        with contextlib.suppress(RuntimeError):
            self.store.set("failed", f"process {self.rank + 1} of {self.world}: {message}")

    def close(self) -> None:
        """End the group for this process; the others find it `Lost` at their next message."""
        # In torch 2.6 a thread of gloo needs the interpreter to let go of a tensor, and the group joins its threads without
        # giving the interpreter away: for ever, where the last message has just come.
        end = time.monotonic() + LET_GO
        while any(sent() is not None for sent in self._sent) and time.monotonic() < end:
            time.sleep(0.001)
        with contextlib.suppress(RuntimeError, AssertionError, ValueError):
            dist.destroy_process_group()

    def _own(self, tensor: Tensor) -> Tensor:
        """Return a view of a tensor for one message alone, so that `close` knows whether the group still holds it."""
        view = tensor.detach()
        self._sent = [*(sent for sent in self._sent if sent() is not None), weakref.ref(view)]
        return view

    def _said(self, word: Callable[[], T]) -> T:
        try:
            return word()
        except RuntimeError as error:
            raise Lost(self._why(error)) from error

    def _why(self, error: RuntimeError) -> str:
        reason = f"one of them ended, or did not answer for {TIMEOUT:g} s"
        with contextlib.suppress(RuntimeError):
            end = time.monotonic() + 1.0
            # Who fails says so before it leaves; who was killed says nothing.
            while not (there := self.store.check(["failed"])) and time.monotonic() < end:
                time.sleep(LOOK / 2)
            if there:
                reason = self.store.get("failed").decode()
        return f"the {self.world} processes of the training are no longer together ({reason}): run again to go on"


@contextlib.contextmanager
def led(number: int, task: Task, dataset: Dataset | None = None) -> Iterator[Group]:
    """Have `number` processes compute a training or an evaluation, this one first; the others are gone after the block.

    Raises `Lost` when the others do not come; see `Processes` for what happens within.
    """
    if number == 1:
        yield ALONE
        return
    with _called(task) if launched.world() > 1 else _started(number, task, dataset) as store:
        group = Processes(store, 0, number, task.device)
        try:
            yield group
        finally:
            group.close()


@contextlib.contextmanager
def _called(task: Task) -> Iterator[Any]:
    """Call the processes that torchrun has started."""
    store = _common(leads=False)
    number = store.add("trainings", 1)
    store.set(f"training/{number}", task.text())
    yield c10d.PrefixStore(f"group/{number}", store)


@contextlib.contextmanager
def _started(number: int, task: Task, dataset: Dataset | None) -> Iterator[Any]:
    """Start the other processes on this machine, and end them."""
    # A process that has begun to use a CUDA device cannot be forked.
    forks = task.device == "cpu" and sys.platform == "linux"
    context: Any = multiprocessing.get_context("fork" if forks else "spawn")
    given = dataset if forks else None
    with tempfile.TemporaryDirectory(prefix="lcrbench-group-") as folder, _loopback():
        path = str(Path(folder, "store"))
        others = [context.Process(target=_help, args=(path, k, number, task, given)) for k in range(1, number)]
        try:
            with processes.quiet():
                for each in others:
                    each.start()
            yield c10d.FileStore(path, number)
        finally:
            end = time.monotonic() + GRACE
            for each in others:
                if each.pid is None:
                    continue
                each.join(max(0.0, end - time.monotonic()))
                if each.is_alive():
                    each.kill()
                    each.join()


@contextlib.contextmanager
def _loopback() -> Iterator[None]:
    """Restrict this process, and those that it starts meanwhile, to connections within this machine."""
    before = os.environ.get("GLOO_SOCKET_IFNAME")
    if sys.platform == "linux" and before is None:
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("GLOO_SOCKET_IFNAME", None)


def _help(path: str, rank: int, world: int, task: Task, dataset: Dataset | None) -> None:
    """Serve one training in a process that was started for it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        # Who works on the run decides when it ends.
        signal.signal(number, signal.SIG_IGN)
    processes.watch_parent(0.0)
    if not follow(c10d.FileStore(path, world), rank, world, rank, task, dataset):
        sys.exit(1)


def follow(store: Any, rank: int, world: int, local: int, task: Task, dataset: Dataset | None = None) -> bool:
    """Take part in one training or evaluation; return False if it failed here, after saying so."""
    from lcrbench.bench.evaluation import shares
    from lcrbench.bench.evaluation.cells import Cells
    from lcrbench.bench.evaluation.networks import built
    from lcrbench.bench.training.loop import Diverged, Stopped
    from lcrbench.bench.training.run import fit

    group = None
    try:
        device = devices.beside(task.device, local)
        devices.prepare(device)
        group = Processes(store, rank, world, device)
        dataset = dataset or load_data(task.source)
        if dataset.train_sha256 != task.spec.data.sha256 or (task.shown and dataset.whole_sha256 != task.shown):
            raise ValueError(f"the data at {task.source.source} are not those of the run")
        if task.engine:
            cells = Cells(Path(task.cache) if task.cache else None)
            shares.follow(group, built(task.spec), dataset.test, dataset.test_indices, cells, device, task.engine)
        else:
            fit(task.spec, dataset, Silent(), device=device, readers=task.readers, group=group)
    except (Diverged, Stopped, Lost):
        # The first process says what there is to say.
        pass
    except Exception as error:
        traceback.print_exc()
        if group:
            group.fail(f"{type(error).__name__}: {error}".partition("\n")[0])
        return False
    finally:
        if group:
            group.close()
    return True


def _common(*, leads: bool) -> Any:
    """Return the store of the processes that torchrun has started; the first one `leads`; torchrun may host it."""
    hosted = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    address, port = os.environ.get("MASTER_ADDR", "127.0.0.1"), int(os.environ.get("MASTER_PORT", "29500"))
    store = c10d.TCPStore(
        address, port, is_master=leads and not hosted, timeout=timedelta(seconds=TIMEOUT), wait_for_workers=False
    )
    # Processes that torchrun has started again find nothing of those before.
    return c10d.PrefixStore(f"lcrbench/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)


def lead() -> Callable[[], None]:
    """Let the processes that torchrun has started wait for trainings; return what lets them go."""
    store = _common(leads=True)

    def leave() -> None:
        with contextlib.suppress(RuntimeError):
            store.set("end", "")
            end = time.monotonic() + GRACE
            # Until they have read it, if it is kept here.
            while store.add("left", 0) < launched.world() - 1 and time.monotonic() < end:
                time.sleep(LOOK)

    return leave


def serve() -> None:
    """Take part in trainings until the first process ends; end with the exit code 1 if one fails here."""
    asked: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        # Within a training the first process decides.
        signal.signal(number, lambda given, _: asked.append(given))
    store, done = _common(leads=False), 0
    try:
        while not asked:
            if store.check([f"training/{done + 1}"]):
                done += 1
                task = Task.read(store.get(f"training/{done}").decode())
                within = c10d.PrefixStore(f"group/{done}", store)
                if not follow(within, launched.rank(), launched.world(), launched.local_rank(), task):
                    sys.exit(1)
            elif store.check(["end"]):
                store.add("left", 1)
                return
            else:
                time.sleep(LOOK)
    except RuntimeError:
        # Who kept the store is gone, and with it the first process.
        return
