"""`kernel`: compiles an inner loop with numba, once a machine.

Compiled code is kept in the user's cache folder (`$XDG_CACHE_HOME/lcrbench`, or below `$NUMBA_CACHE_DIR` if that is
set), in a subfolder named by a hash of all that the code depends on: every source file of this package, the version of
numba, and the processor. numba's own check, the time stamp of the one file in which a kernel stands, would miss a
change in a helper that was inlined from another file. The hash also keeps different processors apart on a shared home
folder, and as each kernel is called with one signature only, two processes that compile at once write the same file,
each atomically.

Kernels release the GIL and never use fastmath: sums keep their order and products are not fused, so that the same
pixels come out on every processor.
"""

from __future__ import annotations

import functools
import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import llvmlite.binding as llvm  # type: ignore[import-untyped]
import numba
from numba.core import config

Function = TypeVar("Function", bound=Callable[..., Any])


@functools.lru_cache(maxsize=1)
def cache_folder() -> str:
    """Return the folder of compiled kernels, or '' where none can be written (each process then compiles anew)."""
    digest = hashlib.sha256()
    package = Path(__file__).parent
    for source in sorted(package.rglob("*.py")):
        digest.update(source.relative_to(package).as_posix().encode() + b"\0" + source.read_bytes())
    features = llvm.get_host_cpu_features().flatten()
    target = f"{config.CPU_NAME}/{config.CPU_FEATURES}"  # what a user sets to compile for another processor
    digest.update(f"{numba.__version__}/{llvm.get_host_cpu_name()}/{features}/{target}".encode())
    roots = [config.CACHE_DIR] if config.CACHE_DIR else [os.environ.get("XDG_CACHE_HOME"), Path.home() / ".cache"]
    for root in filter(None, roots):
        folder = Path(root) / "lcrbench" / f"kernels-{digest.hexdigest()[:16]}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError:
            continue
        return str(folder)
    return ""


def kernel(function: Function) -> Function:
    """Compile `function` on its first call, or load it from the cache."""
    folder = cache_folder()
    options = {"nogil": True, "error_model": "numpy"}
    if not folder:
        return numba.njit(**options)(function)  # type: ignore[no-any-return]
    # numba reads this setting when the decorator runs; it is put back at once, so that others' caches stay where they
    # were.
    before, config.CACHE_DIR = config.CACHE_DIR, folder
    try:
        return numba.njit(cache=True, **options)(function)  # type: ignore[no-any-return]
    finally:
        config.CACHE_DIR = before


def inline(function: Function) -> Function:
    """Compile a helper that only kernels call: it becomes a part of theirs."""
    return numba.njit(nogil=True, error_model="numpy", inline="never")(function)  # type: ignore[no-any-return]
