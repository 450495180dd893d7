"""Compiled loops of the packed engine (`lcrbench.kernels`)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba

from lcrbench import kernels

Function = TypeVar("Function", bound=Callable[..., Any])
PACKAGE = Path(__file__).parent


def kernel(function: Function) -> Function:
    """Compile `function` on its first call, or load it from the cache; call it with one signature alone."""
    return kernels.kernel(function, PACKAGE)


def inline(function: Function) -> Function:
    """Compile a helper that only kernels call: LLVM makes it a part of theirs."""
    return numba.njit(forceinline=True, **kernels.OPTIONS)(function)  # type: ignore[no-any-return]
