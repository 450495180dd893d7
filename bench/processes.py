"""How processes of runs and trials are started: one thread each, forked from a server that has imported torch once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from multiprocessing import forkserver
from typing import Any

# One thread a process: two processes of one thread do twice the work of one process of two.
ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


def process_context() -> Any:
    """Return how processes are started: forked from a server that has imported torch already (Windows has none)."""
    os.environ |= dict.fromkeys(ONE_THREAD, "1")
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context: Any = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["lcrbench.bench.worker"])
    # The server must outlive Ctrl-C and a SIGTERM to all, as batch systems send it, also while it imports: the parent
    # decides what ends when, and learns from the server how its processes ended.
    ends = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
    ours = {number: signal.signal(number, signal.SIG_IGN) for number in ends}
    forkserver.ensure_running()
    for number, handler in ours.items():
        signal.signal(number, handler)
    return context
