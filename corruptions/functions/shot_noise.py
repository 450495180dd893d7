"""Shot noise: each sub-pixel is a Poisson count."""

from __future__ import annotations

import functools

import numpy as np

from lcrbench.corruptions import exact, transition
from lcrbench.corruptions.draws import Draws
from lcrbench.corruptions.philox import U8, U32


def into(x: U8, out: U8, draws: Draws, rate: float) -> None:
    """255 * clip(k / rate), k ~ Poisson(rate * x / 255) for each sub-pixel."""
    transition.sample(x, out, draws, _poisson_table(rate))


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
    return transition.alias_table(transition.integer_weights(cumulative))
