"""Compiled loops of training steps: the same bits as the operations of torch that they stand for, in less time.

They serve what a step has on a processor, in one thread and in float32 (`serves`); elsewhere torch does the work.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba
import torch
from torch import Tensor

from lcrbench import kernels

Function = TypeVar("Function", bound=Callable[..., Any])
PACKAGE = Path(__file__).parent


def kernel(function: Function) -> Function:
    """Compile `function` on its first call, or load it from the cache; call it with one signature alone."""
    return kernels.kernel(function, PACKAGE)


def inline(function: Function) -> Function:
    """Compile a helper that only kernels call: LLVM makes it a part of theirs."""
    return numba.njit(forceinline=True, **kernels.OPTIONS)(function)  # type: ignore[no-any-return]


def serves(*tensors: Tensor) -> bool:
    """Tell whether loops over the memory of these tensors may stand for torch's operations.

    So they may where each is a plain tensor of float32 on the processor without gaps, all are laid out alike, no gradient is
    recorded, nobody counts or traces torch's operations, and torch would itself use one thread.
    """
    if not watched_by_nobody() or torch.is_grad_enabled() or torch.get_num_threads() != 1:
        return False
    first = tensors[0]
    return _dense(first) and all(
        type(x) is Tensor
        and x.is_cpu
        and x.dtype == torch.float32
        and x.shape == first.shape
        and x.stride() == first.stride()
        for x in tensors
    )


def watched_by_nobody() -> bool:
    """Tell whether nothing counts, traces or compiles torch's operations, which would miss those of a loop."""
    # First, because a compiler cannot follow the other question.
    if torch.compiler.is_compiling():
        return False
    counted: int = torch._C._len_torch_dispatch_stack()
    return not counted


def _dense(x: Tensor) -> bool:
    return x.is_contiguous() or (x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last))
