"""Impulse noise: salt and pepper on sub-pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lcrbench.corruptions import transition
from lcrbench.corruptions.draws import Draws
from lcrbench.corruptions.kernel import kernel
from lcrbench.corruptions.philox import U8, fill, padded


def into(x: U8, out: U8, draws: Draws, amount: float) -> None:
    """Each sub-pixel becomes 0 or 255 ("salt and pepper") with probability amount / 2 each."""
    _impulse(transition.flat(x), transition.flat(out), draws.key, draws.indices, np.uint32(round(amount * 2.0**31)))


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
