"""What the randomness of a batch depends on: (seed, stream, corruption, severity) and each image's index."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Draws(NamedTuple):
    """The key of a cell, and the index of each of its images, (n,), int64."""

    key: np.uint64
    indices: NDArray[np.int64]

    def generator(self, k: int) -> np.random.Generator:
        """Return numpy's Philox generator for the batch's image `k`: its own stream, whatever the batch."""
        counter = np.array([0, 0, 0, self.indices[k]], np.uint64)  # the first two words count what is drawn
        return np.random.Generator(np.random.Philox(counter=counter, key=np.array([self.key, 0], np.uint64)))


def derive_key(seed: int, stream: str, name: str, severity: int) -> np.uint64:
    """Return the 64-bit Philox key of one cell of a benchmark; the first word fixes the version of this scheme."""
    text = f"lcrbench-1\0{seed}\0{stream}\0{name}\0{severity}"
    return np.uint64(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little"))
