"""Gaussian noise on each sub-pixel."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from lcrbench.corruptions import exact, transition
from lcrbench.corruptions.draws import Draws
from lcrbench.corruptions.kernel import kernel
from lcrbench.corruptions.philox import U8, U32, fill, padded


def into(x: U8, out: U8, draws: Draws, scale: float) -> None:
    """255 * clip(x / 255 + scale * z), z ~ N(0, 1) for each sub-pixel."""
    # v + 255 * scale * z is truncated, and v is an integer: the shift floor(255 * scale * z) has one law for all
    # levels.
    table, bits, low = _shift_table(scale)
    _add_shift(transition.flat(x), transition.flat(out), draws.key, draws.indices, table, bits, low)


@functools.lru_cache(maxsize=32)
def _shift_table(scale: float) -> tuple[U32, int, int]:
    """Return the alias table of floor(255 * scale * z), its logarithmic length, and the shift of its first column."""
    reach = 255.0 * scale * 6.2  # 1 - Phi(6.2) is 1.2 * 2**-32
    bits = int(np.ceil(np.log2(2 * reach)))
    low = -(1 << (bits - 1))
    upper = np.arange(low + 1, low + 1 + (1 << bits)) / (255.0 * scale)
    weights = transition.integer_weights(exact.normal_cdf(np.clip(upper, -9.0, 9.0)))
    return transition.alias_table(weights[None])[0], bits, low


@kernel
def _add_shift(x: U8, out: U8, key: np.uint64, index: NDArray[np.int64], table: U32, bits: int, low: int) -> None:
    size = x.shape[1]
    words = np.empty(padded(size), np.uint32)
    entries = np.empty(transition.PIECE, np.uint32)
    down, mask = np.uint32(32 - bits), np.uint32((1 << bits) - 1)
    rest = np.uint32((np.uint64(1) << np.uint64(32 - bits)) - np.uint64(1))
    up = np.uint32(bits)
    first = np.int32(low)
    for i in range(len(x)):
        fill(words, key, 0, index[i])
        for start in range(0, size, transition.PIECE):
            source, target = x[i, start : start + transition.PIECE], out[i, start : start + transition.PIECE]
            drawn = words[start : start + len(source)]
            transition.look_up(drawn, table, down, entries)
            for j in range(len(source)):
                word, entry = drawn[j], entries[j]
                column = np.uint32(word >> down)
                chosen = column if np.uint32(word & rest) < np.uint32(entry >> up) else np.uint32(entry & mask)
                level = np.int32(np.int32(source[j]) + np.int32(chosen) + first)
                target[j] = np.uint8(min(max(level, np.int32(0)), np.int32(255)))
