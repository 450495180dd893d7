"""What the server of processes does once, so that no process of a run does it again: 3 s each.

Torch imports its compiler with the first optimizer, numba registers what it can compile with the first function, and the
closure of what a number depends on is read from every file of it.
"""

from __future__ import annotations

import numba
import pandas as pd
import scipy.stats
import torch._dynamo

from lcrbench import corruptions
from lcrbench.bench import worker
from lcrbench.bench.records import source

__all__ = ["corruptions", "pd", "scipy", "torch", "worker"]


def _first(x: int) -> int:
    return x


numba.njit("int64(int64)")(_first)
source.closure([worker.__name__])
