"""Compiled loops of the whole suite: `kernel` compiles with numba once a machine, `inline` a helper of kernels.

The code of a package's kernels is kept in a folder of the user's cache that is named by a hash of every source file of
that package, of the corruption engine's cache and of numba's version and the processor: see `lcrbench.corruptions.kernel`.
"""

from __future__ import annotations

import functools
import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba.core import config

from lcrbench.corruptions.kernel import cache_folder

Function = TypeVar("Function", bound=Callable[..., Any])
OPTIONS = {"nogil": True, "error_model": "numpy"}


@functools.lru_cache(maxsize=8)
def version(package: Path) -> str:
    """Return a hash of the source files of a package's folder."""
    digest = hashlib.sha256()
    for source in sorted(package.rglob("*.py")):
        digest.update(source.relative_to(package).as_posix().encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()[:16]


def kernel(function: Function) -> Function:
    """Compile `function` on its first call, or load it from the cache; call it with one signature alone."""
    package = Path(str(sys.modules[function.__module__].__file__)).parent
    whole = cache_folder()
    folder = Path(whole) / f"{package.name}-{version(package)}" if whole else None
    try:
        if folder:
            folder.mkdir(exist_ok=True)
    except OSError:
        folder = None
    if not folder:
        return numba.njit(**OPTIONS)(function)  # type: ignore[no-any-return]
    # numba reads this setting when the decorator runs; it is put back at once.
    before, config.CACHE_DIR = config.CACHE_DIR, str(folder)
    try:
        return numba.njit(cache=True, **OPTIONS)(function)  # type: ignore[no-any-return]
    finally:
        config.CACHE_DIR = before


def inline(function: Function) -> Function:
    """Compile a helper that only kernels call: LLVM makes it a part of theirs."""
    return numba.njit(forceinline=True, **OPTIONS)(function)  # type: ignore[no-any-return]
