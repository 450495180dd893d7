"""The precision that what must not be rounded is computed in."""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """Return a tensor as it is in float64, and in float32 otherwise: under autocast it may come in less."""
    return x if x.dtype == torch.float64 else x.float()
