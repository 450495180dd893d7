"""Seeds derived by hash from the axes they depend on, and the generators made from them.

Nothing is global: code that draws derives a seed from the run's seed and the names of the axes that the draws may depend
on, and passes the generator on. Two uses share randomness only if they share every axis.
"""

from __future__ import annotations

import hashlib

import numpy as np


def derive(seed: int, *axes: str | int) -> int:
    """Return a 63-bit seed, the leading bits of sha256 over `seed` and `axes`.

    >>> derive(0, "data order", 1) == derive(0, "data order", 1) != derive(0, "data order", 2)
    True
    """
    text = "\x1f".join([str(seed), *(f"{type(a).__name__}:{a}" for a in axes)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *axes: str | int) -> np.random.Generator:
    """Return numpy's Philox generator for a derived seed; its methods may draw otherwise in another version
    of numpy, which is why records hold the version and the hashes of what was drawn."""
    return np.random.Generator(np.random.Philox(derive(seed, *axes)))
