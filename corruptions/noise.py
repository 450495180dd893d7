"""The noises: each sub-pixel is drawn from the exact law of its output level, given its input level.

A uint8 sub-pixel can only become one of 256 levels, so a noise is a 256 x 256 table of probabilities. It is computed
once, in units of 2**-32, and sampled with one random word a sub-pixel by Vose's alias method: no normal or Poisson
number is ever drawn, and the law is the official one to within 2**-32 a level.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from lcrbench.corruptions import exact
from lcrbench.corruptions.kernel import kernel
from lcrbench.corruptions.philox import U8, U32, Draws, fill, padded


def gaussian_noise(x: U8, out: U8, draws: Draws, scale: float) -> None:
    """255 * clip(x / 255 + scale * z), z ~ N(0, 1) for each sub-pixel."""
    # v + 255 * scale * z is truncated, and v is an integer: the shift floor(255 * scale * z) has one law for all
    # levels.
    table, bits, low = _shift_table(scale)
    _add_shift(_flat(x), _flat(out), draws.key, draws.indices, table, bits, low)


def shot_noise(x: U8, out: U8, draws: Draws, rate: float) -> None:
    """255 * clip(k / rate), k ~ Poisson(rate * x / 255) for each sub-pixel."""
    sample(x, out, draws, _poisson_table(rate))


def impulse_noise(x: U8, out: U8, draws: Draws, amount: float) -> None:
    """Each sub-pixel becomes 0 or 255 ("salt and pepper") with probability amount / 2 each."""
    _impulse(_flat(x), _flat(out), draws.key, draws.indices, np.uint32(round(amount * 2.0**31)))


def sample(x: U8, out: U8, draws: Draws, table: U32) -> None:
    """Draw each sub-pixel from its level's row of alias tables."""
    _transition(_flat(x), _flat(out), draws.key, draws.indices, table)


def _flat(x: U8) -> U8:
    return x.reshape(len(x), -1)


def _integer_weights(cumulative: NDArray[np.float64]) -> NDArray[np.int64]:
    """Turn a distribution function, (..., K) and rising to 1, into weights that sum to exactly 2**32."""
    steps = np.round(cumulative * 2.0**32).astype(np.int64)
    steps[..., -1] = 2**32
    return np.diff(steps, axis=-1, prepend=0)


@functools.lru_cache(maxsize=32)
def _shift_table(scale: float) -> tuple[U32, int, int]:
    """Return the alias table of floor(255 * scale * z), its logarithmic length, and the shift of its first column."""
    reach = 255.0 * scale * 6.2  # 1 - Phi(6.2) is 1.2 * 2**-32
    bits = int(np.ceil(np.log2(2 * reach)))
    low = -(1 << (bits - 1))
    upper = np.arange(low + 1, low + 1 + (1 << bits)) / (255.0 * scale)
    weights = _integer_weights(exact.normal_cdf(np.clip(upper, -9.0, 9.0)))
    return _alias_table(weights[None])[0], bits, low


@functools.lru_cache(maxsize=32)
def speckle_table(scale: float) -> U32:
    """Return the alias tables of trunc(255 * clip(v / 255 + v / 255 * scale * z)), one row a level v."""
    v = np.arange(1.0, 256.0)[:, None]
    upper = (np.arange(1.0, 257.0)[None] - v) / (v * scale)  # the output is below level k + 1 while z is below this
    cumulative = np.ones((256, 256))
    cumulative[1:] = exact.normal_cdf(np.clip(upper, -9.0, 9.0))
    return _alias_table(_integer_weights(cumulative))


@functools.lru_cache(maxsize=32)
def _poisson_table(rate: float) -> U32:
    """Return the alias tables of trunc(255 * clip(k / rate)), k ~ Poisson(v / 255 * rate), one row a level v."""
    mean = np.arange(256) / 255.0 * rate
    term = exact.exp(-mean)
    probability = np.zeros((256, 256))
    k = 0
    while k <= rate:
        level = int(min(k / float(rate), 1.0) * 255)
        probability[:, level] += term
        k += 1
        term = term * mean / k
    # What is left is k > rate, which clips to 255.
    cumulative = np.minimum(np.cumsum(probability, axis=1), 1.0)
    return _alias_table(_integer_weights(cumulative))


def _alias_table(weights: NDArray[np.int64]) -> U32:
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


@kernel
def _add_shift(x: U8, out: U8, key: np.uint64, index: NDArray[np.int64], table: U32, bits: int, low: int) -> None:
    size = x.shape[1]
    words = np.empty(padded(size), np.uint32)
    down, mask = np.uint32(32 - bits), np.uint32((1 << bits) - 1)
    rest = np.uint32((np.uint64(1) << np.uint64(32 - bits)) - np.uint64(1))
    up = np.uint32(bits)
    first = np.int32(low)
    for i in range(len(x)):
        fill(words, key, 0, index[i])
        source, target = x[i], out[i]
        for j in range(size):
            word = words[j]
            column = np.uint32(word >> down)
            entry = table[column]
            chosen = column if np.uint32(word & rest) < np.uint32(entry >> up) else np.uint32(entry & mask)
            level = np.int32(np.int32(source[j]) + np.int32(chosen) + first)
            target[j] = np.uint8(min(max(level, np.int32(0)), np.int32(255)))


@kernel
def _transition(x: U8, out: U8, key: np.uint64, index: NDArray[np.int64], table: U32) -> None:
    size = x.shape[1]
    words = np.empty(padded(size), np.uint32)
    entries = table.reshape(-1)
    for i in range(len(x)):
        fill(words, key, 0, index[i])
        source, target = x[i], out[i]
        for j in range(size):
            word = words[j]
            column = np.uint32(word >> np.uint32(24))
            entry = entries[np.uint32((np.uint32(source[j]) << np.uint32(8)) | column)]
            keep = np.uint32(word & np.uint32(0xFFFFFF)) < np.uint32(entry >> np.uint32(8))
            target[j] = np.uint8(column if keep else entry)


@kernel
def _impulse(x: U8, out: U8, key: np.uint64, index: NDArray[np.int64], half: np.uint32) -> None:
    size = x.shape[1]
    words = np.empty(padded(size), np.uint32)
    salt = np.uint32(0xFFFFFFFF) - half
    for i in range(len(x)):
        fill(words, key, 0, index[i])
        source, target = x[i], out[i]
        for j in range(size):
            word = words[j]
            value = source[j]
            if word < half:
                value = np.uint8(0)
            if word > salt:
                value = np.uint8(255)
            target[j] = value
