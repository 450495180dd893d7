"""Training in bfloat16: convolutions and matrix products are computed in it, and what must not be rounded in float32.

Under `precision = "bf16"` the loop runs the forward pass under torch's autocast; the backward pass then has the same types.
Weights, their gradients and the optimizer are float32. Autocast would hand batch norm and the sign bfloat16 inputs: hooks
widen what enters norms and binary layers, so that both compute in float32. Binary layers binarize weights outside of
autocast; signs are exact in bfloat16, and sums of them are rounded to 8 bits where they leave the convolution. Logits, and
what terms watch, are widened before a loss is computed (`models.api.observe`).

It pays where the processor multiplies bfloat16 (AVX-512 BF16, AMX, or a GPU). Without these it runs, and is slow.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from lcrbench.models.binary import BinaryConv2d

WIDE = (_NormBase, nn.GroupNorm, nn.LayerNorm, BinaryConv2d)
"""Parts that get their input in float32; `_NormBase` is batch and instance norm."""


def cast_of(precision: str) -> torch.dtype | None:
    """Return the type of convolutions and products; None for that of their operands."""
    return torch.bfloat16 if precision == "bf16" else None


@contextmanager
def widened(network: nn.Module, precision: str) -> Iterator[None]:
    """Let norms and binary layers compute in float32 inside the block; nothing is changed for "fp32"."""
    parts = [m for m in network.modules() if isinstance(m, WIDE)] if cast_of(precision) else []
    handles = [part.register_forward_pre_hook(_widen) for part in parts]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _widen(module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...] | None:
    if isinstance(given[0], Tensor) and given[0].dtype == torch.bfloat16:
        return (given[0].float(), *given[1:])
    return None
