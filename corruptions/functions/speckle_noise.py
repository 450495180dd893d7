"""Speckle noise: Gaussian noise in proportion to the sub-pixel."""

from __future__ import annotations

import functools

import numpy as np

from lcrbench.corruptions import exact, transition
from lcrbench.corruptions.draws import Draws
from lcrbench.corruptions.philox import U8, U32


def into(x: U8, out: U8, draws: Draws, scale: float) -> None:
    """255 * clip(x / 255 + x / 255 * scale * z), z ~ N(0, 1) for each sub-pixel."""
    transition.sample(x, out, draws, _table(scale))


@functools.lru_cache(maxsize=32)
def _table(scale: float) -> U32:
    """Return the alias tables of trunc(255 * clip(v / 255 + v / 255 * scale * z)), one row a level v."""
    v = np.arange(1.0, 256.0)[:, None]
    upper = (np.arange(1.0, 257.0)[None] - v) / (v * scale)  # the output is below level k + 1 while z is below this
    cumulative = np.ones((256, 256))
    cumulative[1:] = exact.normal_cdf(np.clip(upper, -9.0, 9.0))
    return transition.alias_table(transition.integer_weights(cumulative))
