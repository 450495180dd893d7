"""Random numbers without state: Philox4x32-10, a function of (key, counter).

Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011. The key is a hash of (seed, stream, corruption,
severity); the counter holds the image's index, the purpose of the draw (`slot`) and a running number. So each number
has a fixed place, and an image's result depends on nothing else: not on the batch, its order or the number of threads.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcrbench.corruptions import exact
from lcrbench.corruptions.kernel import inline, kernel

U8 = NDArray[np.uint8]
U32 = NDArray[np.uint32]
F32 = NDArray[np.float32]


@inline
def _round(a: Any, b: Any, c: Any, d: Any, k0: Any, k1: Any) -> Any:
    p = np.uint64(a) * np.uint64(0xD2511F53)
    q = np.uint64(c) * np.uint64(0xCD9E8D57)
    return np.uint32(q >> np.uint64(32)) ^ b ^ k0, np.uint32(q), np.uint32(p >> np.uint64(32)) ^ d ^ k1, np.uint32(p)


@inline
def fill(words: U32, key: Any, slot: Any, index: Any) -> None:
    """Fill `words`, whose length is a multiple of 4, from the counters (0.., slot, index low, index high).

    The four words of block j go to the places j, j + n / 4, j + n / 2 and j + 3 n / 4, so that the loop runs in vector
    registers.
    """
    quarter = len(words) // 4
    w0, w1 = words[:quarter], words[quarter : 2 * quarter]
    w2, w3 = words[2 * quarter : 3 * quarter], words[3 * quarter :]
    key_low, key_high = np.uint32(key), np.uint32(np.uint64(key) >> np.uint64(32))
    low, high = np.uint32(index), np.uint32(np.uint64(index) >> np.uint64(32))
    for j in range(quarter):
        a, b, c, d = np.uint32(j), np.uint32(slot), low, high
        k0, k1 = key_low, key_high
        for _ in range(10):
            a, b, c, d = _round(a, b, c, d, k0, k1)
            k0 = np.uint32(k0 + np.uint32(0x9E3779B9))
            k1 = np.uint32(k1 + np.uint32(0xBB67AE85))
        w0[j], w1[j], w2[j], w3[j] = a, b, c, d


@inline
def padded(count: int) -> int:
    """Return `count` rounded up to a multiple of 4."""
    return (count + 3) // 4 * 4


@inline
def uniform(word: Any) -> Any:
    """Return a float64 in (0, 1): the middle of the word's interval of length 2**-32."""
    return (np.float64(word) + 0.5) * 2.0**-32


@inline
def below(word: Any, n: Any) -> Any:
    """Return an integer in 0..n-1; its law is uniform to within n * 2**-32."""
    return np.int64((np.uint64(word) * np.uint64(n)) >> np.uint64(32))


@kernel
def first_words(key: Any, slot: Any, index: NDArray[np.int64]) -> U32:
    """Return the four words of block 0 of each picture: (n, 4). For the draws that a picture needs once."""
    out = np.empty((len(index), 4), np.uint32)
    for i in range(len(index)):
        fill(out[i], key, slot, index[i])
    return out


@functools.lru_cache(maxsize=1)
def normal_table() -> tuple[F32, F32]:
    """Return (value, slope) of the piecewise linear normal quantile that `normals` reads.

    A word's upper 31 bits m give p = m / 2**32 in (0, 1/2); as a float32, m has an exponent (31 octaves) and a
    mantissa, whose leading six bits divide the octave into 64 steps. So the table is fine where the quantile is steep,
    out to 6.2 sigma, and the result is within 1e-3 sigma of the exact quantile, with one float32 multiplication and
    addition.
    """
    octave, step = np.divmod(np.arange(31 * 64 + 1, dtype=np.float64), 64.0)
    edges = (1.0 + step / 64.0) * 2.0 ** (octave - 32.0)
    value = exact.normal_quantile(np.minimum(edges, 0.5))
    slope = np.append((value[1:] - value[:-1]) * 2.0**-17, 0.0)  # the last edge is p = 1/2 itself: m can round up to it
    return value.astype(np.float32), slope.astype(np.float32)


@inline
def normals(words: U32, value: F32, slope: F32, out: F32) -> None:
    """Turn words into standard normal numbers; the lowest bit gives the sign."""
    for j in range(len(out)):
        magnitude = np.float32(np.int32((words[j] >> np.uint32(1)) | np.uint32(1)))
        bits = np.uint32(magnitude.view(np.int32)) - np.uint32(127 << 23)
        place = np.int64(bits >> np.uint32(17))
        z = value[place] + slope[place] * np.float32(np.int32(bits & np.uint32(0x1FFFF)))
        out[j] = z if words[j] & np.uint32(1) else -z
