"""Noise by table: each sub-pixel is drawn from the exact law of its output level, given its input level.

A uint8 sub-pixel can only become one of 256 levels, so a noise is a 256 x 256 table of probabilities. It is computed
once, in units of 2**-32, and sampled with one random word a sub-pixel by Vose's alias method: no normal or Poisson
number is ever drawn, and the law is the official one to within 2**-32 a level.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcrbench.corruptions.draws import Draws
from lcrbench.corruptions.kernel import inline, kernel
from lcrbench.corruptions.philox import U8, U32, fill, padded


def sample(x: U8, out: U8, draws: Draws, table: U32) -> None:
    """Draw each sub-pixel from its level's row of alias tables."""
    _transition(flat(x), flat(out), draws.key, draws.indices, table)


def flat(x: U8) -> U8:
    """Return the pictures as rows of sub-pixels, (n, H W C)."""
    return x.reshape(len(x), -1)


def integer_weights(cumulative: NDArray[np.float64]) -> NDArray[np.int64]:
    """Turn a distribution function, (..., K) and rising to 1, into weights that sum to exactly 2**32."""
    steps = np.round(cumulative * 2.0**32).astype(np.int64)
    steps[..., -1] = 2**32
    return np.diff(steps, axis=-1, prepend=0)


def alias_table(weights: NDArray[np.int64]) -> U32:
    """Return Vose's alias tables of the rows of (R, K) weights, which sum to 2**32; K is a power of two.

    A random word's upper log2(K) bits choose a column, and the rest is compared with the threshold in the entry's upper
    bits: below it the result is the column, else the alias in the entry's lower bits.
    """
    return _vose(np.ascontiguousarray(weights))


@kernel
def _vose(weights: NDArray[np.int64]) -> U32:
    rows, columns = weights.shape
    bits = 0
    while (1 << bits) < columns:
        bits += 1
    quota = np.int64(1) << (32 - bits)
    table = np.empty((rows, columns), np.uint32)
    small = np.empty(columns, np.int64)
    large = np.empty(columns, np.int64)
    for r in range(rows):
        left = weights[r].copy()
        n_small = n_large = 0
        for c in range(columns):
            if left[c] < quota:
                small[n_small] = c
                n_small += 1
            else:
                large[n_large] = c
                n_large += 1
        while n_small > 0 and n_large > 0:
            n_small -= 1
            s, g = small[n_small], large[n_large - 1]
            table[r, s] = np.uint32((left[s] << bits) | g)
            left[g] -= quota - left[s]
            if left[g] < quota:
                n_large -= 1
                small[n_small] = g
                n_small += 1
        for k in range(n_large):  # exactly full: the alias is the column itself
            g = large[k]
            table[r, g] = np.uint32(((quota - 1) << bits) | g)
        for k in range(n_small):
            s = small[k]
            table[r, s] = np.uint32(((quota - 1) << bits) | s)
    return table


PIECE = 1024  # sub-pixels that are looked up together, so that what is done with the entries goes to vector registers


@inline
def look_up(words: U32, table: U32, down: Any, entries: U32) -> None:
    """Write the table's entry of each word's upper bits, of which `down` lower ones are dropped."""
    for j in range(np.uint64(len(words))):
        entries[j] = table[np.uint64(words[j] >> down)]


@kernel
def _transition(x: U8, out: U8, key: np.uint64, index: NDArray[np.int64], table: U32) -> None:
    size = x.shape[1]
    words = np.empty(padded(size), np.uint32)
    entries = np.empty(PIECE, np.uint32)
    flat = table.reshape(-1)
    for i in range(len(x)):
        fill(words, key, 0, index[i])
        for start in range(0, size, PIECE):
            source, target = x[i, start : start + PIECE], out[i, start : start + PIECE]
            drawn = words[start : start + len(source)]
            for j in range(np.uint64(len(source))):
                entries[j] = flat[
                    np.uint64((np.uint32(source[j]) << np.uint32(8)) | np.uint32(drawn[j] >> np.uint32(24)))
                ]
            for j in range(len(source)):
                word, entry = drawn[j], entries[j]
                keep = np.uint32(word & np.uint32(0xFFFFFF)) < np.uint32(entry >> np.uint32(8))
                target[j] = np.uint8(np.uint32(word >> np.uint32(24)) if keep else entry)
