"""Compiled loops of the corruption engine (`lcrbench.kernels`)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba

from lcrbench import kernels

Function = TypeVar("Function", bound=Callable[..., Any])
PACKAGE = Path(__file__).parent

kernel = kernels.of(PACKAGE)
forced = kernels.forced


def cache_folder() -> str:
    """Return the folder of the engine's compiled kernels, or '' where none can be written."""
    return kernels.cache_folder(PACKAGE)


def inline(function: Function) -> Function:
    """Compile a helper that only kernels call: it becomes a part of theirs."""
    return numba.njit(inline="never", **kernels.OPTIONS)(function)  # type: ignore[no-any-return]
