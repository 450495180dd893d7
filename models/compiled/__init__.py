"""Compiled loops of training steps: the same bits as the operations of torch that they stand for, in less time.

They serve what a step has on a processor, in one thread and in float32 (`serves`); elsewhere torch does the work.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from lcrbench import kernels

kernel = kernels.of(Path(__file__).parent)
inline = kernels.forced


def serves(*tensors: Tensor) -> bool:
    """Tell whether loops over the memory of these tensors may stand for torch's operations.

    So they may where each is a plain tensor of float32 on the processor without gaps, all are laid out alike, no gradient is
    recorded, no tool counts or traces torch's operations, and torch would itself use one thread.
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
    """Tell whether no tool counts, traces or compiles torch's operations: it would miss those of a loop."""
    # First, because a compiler cannot follow the other question.
    if torch.compiler.is_compiling():
        return False
    counted: int = torch._C._len_torch_dispatch_stack()
    return not counted


def _dense(x: Tensor) -> bool:
    return x.is_contiguous() or (x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last))
