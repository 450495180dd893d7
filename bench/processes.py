"""Starts, watches and ends the processes of runs and trials: one thread each, forked from a server that imported torch.

Parent and child do not depend on the server's life. The parent holds a descriptor of each child itself, by which it
learns of its end and sends it signals; the server, which an out-of-memory killer may choose, only adds the exit code. The
child watches its parent, and saves and stops when that is gone.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from multiprocessing import forkserver
from multiprocessing.connection import wait
from typing import Any

from lcrbench.errors import UserError

# One thread a process: two processes of one thread do twice the work of one process of two.
ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")

PRELOAD = ["lcrbench.bench.preload"]

LOOK, GRACE = 5.0, 60.0
"""Seconds between two looks, and those that a child without a parent has for its save."""

SHORT, LONGEST = ("/tmp", "/var/tmp", "/dev/shm"), 70
"""Folders for temporary files, and how many bytes the path of one may have: a socket in it has 32 more, and 103 at most."""

LOST = 255
"""The exit code of a child whose server died before it: multiprocessing says so, and no child of ours ends with it."""


def process_context() -> Any:
    """Return how processes are started: forked from a server that has imported torch already (Windows has none)."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context: Any = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    with _one_thread(), _deaf(), _short_path():
        # The server must outlive Ctrl-C and a SIGTERM to all, as batch systems send it, also while it imports: the parent
        # decides what ends when.
        forkserver.ensure_running()
    return context


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Let processes that are started meanwhile have one thread each; the environment of this one stays as it was."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ |= dict.fromkeys(ONE_THREAD, "1")
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _short_path() -> Iterator[None]:
    """Let the server's socket lie in a folder whose path is short enough: a batch system's TMPDIR often is not.

    Raises `UserError` where there is none.
    """
    given = tempfile.gettempdir()
    for folder in (given, *SHORT):
        if len(os.fsencode(folder)) <= LONGEST and os.access(folder, os.W_OK | os.X_OK):
            break
    else:
        raise UserError(f"TMPDIR: {given} is too long a path for the sockets of processes; set TMPDIR to a shorter one")
    tempfile.tempdir = folder
    try:
        yield
    finally:
        tempfile.tempdir = given


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Hide the script that is running from processes that are started meanwhile.

    They would import it, and so run it again, although all that they need lies in modules.
    """
    main: dict[str, Any] = vars(sys.modules["__main__"])
    before: dict[str, Any] = {name: main[name] for name in ("__file__", "__spec__") if name in main}
    for name in before:
        main[name] = None
    try:
        yield
    finally:
        main.update(before)


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """Let processes that are started meanwhile ignore Ctrl-C and SIGTERM."""
    ends = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    ours = {number: signal.signal(number, signal.SIG_IGN) for number in ends}
    try:
        yield
    finally:
        for number, handler in ours.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Let processes that are started meanwhile have one thread each, and not run the script that is running again."""
    with _one_thread(), _without_main():
        yield


class Child:
    """A process that was started here."""

    def __init__(self, function: Any, *args: Any) -> None:
        """Start it; raises `UserError` where the system gives no process."""
        for attempt in range(3):
            # Each time, because a server that has died is started anew here, deaf to Ctrl-C like the first.
            context = process_context()
            self.process = context.Process(target=function, args=args)  # no daemon: it may start readers
            try:
                with quiet():
                    self.process.start()
                break
            except (EOFError, OSError) as error:
                # The server died between the two. What it may have forked already finds no work, and ends.
                if attempt == 2:
                    raise UserError(f"no process can be started ({error or type(error).__name__})") from error
        assert self.process.pid is not None
        self.pid: int = self.process.pid
        self._descriptor: int | None = None
        with contextlib.suppress(AttributeError, OSError):  # an old kernel, no Linux, or a child that has ended already
            self._descriptor = os.pidfd_open(self.pid)

    @property
    def sentinel(self) -> int:
        """Return what becomes ready to `multiprocessing.connection.wait` when it ends."""
        return self.process.sentinel if self._descriptor is None else self._descriptor

    def alive(self) -> bool:
        """Tell whether it runs, whatever became of the server."""
        if self._descriptor is not None:
            return not wait([self._descriptor], 0)
        if self.process.is_alive():
            return True
        if self.process.exitcode != LOST:
            return False
        try:
            os.kill(self.pid, 0)
        except OSError:
            return False
        return True

    def send(self, number: int) -> None:
        """Send it a signal, if it runs."""
        with contextlib.suppress(OSError):
            if self._descriptor is not None:
                signal.pidfd_send_signal(self._descriptor, number)
            elif self.alive():
                os.kill(self.pid, number)

    def code(self) -> int:
        """Return the exit code of a process that has ended; `LOST` where the server cannot tell it."""
        self.process.join(LOOK)
        return LOST if self.process.exitcode is None else self.process.exitcode

    def close(self) -> None:
        """Give back what is held of a process that has ended."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def keep_memory() -> None:
    """Let this process keep the memory that it frees, where its system's library can be told so (glibc).

    Else what a training step frees may go back to the system, and the next step waits for the same pages again: up to a
    tenth of its time.
    """
    trim_threshold, mmap_threshold = -1, -3
    with contextlib.suppress(AttributeError, OSError, TypeError):
        library = ctypes.CDLL(None)
        library.mallopt(trim_threshold, 2**31 - 1)
        library.mallopt(mmap_threshold, 2**25)


def watch_parent(grace: float = GRACE) -> None:
    """Send this process SIGTERM when the one that started it is gone, and end it `grace` seconds later if it still runs."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    sentinel = parent.sentinel

    def watch() -> None:
        while not wait([sentinel], LOOK):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(grace)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
