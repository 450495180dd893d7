"""Random arrays of one picture: words, uniform, whole and normal numbers, a function of (key, slot, index) alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcrbench.corruptions.draws import Draws
from lcrbench.corruptions.kernel import kernel
from lcrbench.corruptions.philox import F32, U32, fill, normal_table, normals

F64 = NDArray[np.float64]


@kernel
def _words(count: int, key: Any, slot: int, index: int) -> U32:
    out = np.empty((count + 3) // 4 * 4, np.uint32)
    fill(out, key, slot, index)
    return out


@kernel
def _normals(words: U32, value: F32, slope: F32) -> F32:
    out = np.empty(len(words), np.float32)
    normals(words, value, slope, out)
    return out


def words(draws: Draws, k: int, slot: int, count: int) -> U32:
    """Return random words (count,) of the batch's picture k."""
    return _words(count, draws.key, slot, int(draws.indices[k]))[:count]


def uniform(draws: Draws, k: int, slot: int, count: int, low: float = 0.0, high: float = 1.0) -> F64:
    """Return numbers (count,) uniform between low and high."""
    return low + (high - low) * ((words(draws, k, slot, count).astype(np.float64) + 0.5) * 2.0**-32)


def whole(draws: Draws, k: int, slot: int, count: int, low: int, high: int) -> NDArray[np.int64]:
    """Return whole numbers (count,), low <= n < high."""
    spread = words(draws, k, slot, count).astype(np.uint64) * np.uint64(high - low)
    return low + (spread >> np.uint64(32)).astype(np.int64)


def normal(draws: Draws, k: int, slot: int, count: int) -> F64:
    """Return standard normal numbers (count,), by the table of `philox.normal_table`."""
    return _normals(words(draws, k, slot, count), *normal_table()).astype(np.float64)
