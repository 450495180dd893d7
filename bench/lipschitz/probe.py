"""A search's hold on a network: passes that are counted for each image, and randomness that each image has of its own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from lcrbench.bench.lipschitz.oracle import Oracle
from lcrbench.bench.lipschitz.results import not_finite
from lcrbench.bench.lipschitz.surrogates import Surrogate
from lcrbench.bench.lipschitz.tally import Tally
from lcrbench.bench.seeds import generator


class Probe:
    """An oracle, a tally, and the passes (N) that each image has taken. Rows name the images of points, also repeatedly."""

    def __init__(self, oracle: Oracle, tally: Tally, seed: int) -> None:
        self.oracle = oracle
        self.tally = tally
        self.seed = seed
        self.passes = np.zeros(len(tally.start.x), dtype=np.int64)
        place = {int(index): k for k, index in enumerate(oracle.indices)}
        self.place = np.array([place[int(index)] for index in tally.start.indices])

    def logits(self, rows: np.ndarray, points: Tensor) -> np.ndarray:
        """Return the deployed network's logits: one pass a point."""
        np.add.at(self.passes, rows, 1)
        return self.oracle.logits(points)

    def pull(
        self,
        rows: np.ndarray,
        points: Tensor,
        weigh: Callable[[np.ndarray, slice], np.ndarray],
        surrogate: Surrogate,
    ) -> tuple[np.ndarray, Tensor]:
        """Return logits and gradients as `Oracle.pull`, gradients of 0 where logits are not finite: two passes a point."""
        np.add.at(self.passes, rows, 2)
        logits, gradient = self.oracle.pull(points, weigh, self.place[rows], surrogate)
        if not np.isfinite(logits).all():
            gradient[torch.from_numpy(not_finite(logits))] = 0
        return logits, gradient

    def pull_sign(self, rows: np.ndarray, points: Tensor, units: np.ndarray) -> Tensor:
        """Return gradients as `Oracle.pull_sign`: two passes a point."""
        np.add.at(self.passes, rows, 2)
        return self.oracle.pull_sign(points, units)

    def generator(self, row: int, *axes: str | int) -> np.random.Generator:
        """Return a generator that depends on the seed, the image's index in the data set, the norm and `axes` alone."""
        return generator(self.seed, "search", self.tally.norm, int(self.tally.start.indices[row]), *axes)

    def normal(self, rows: np.ndarray, *axes: str | int) -> Tensor:
        """Return standard normal noise (n, 3, H, W), each row from its image's generator."""
        c, h, w = self.tally.start.x.shape[1:]
        noise = np.stack([self.generator(int(r), *axes).standard_normal((h, w, c), dtype=np.float32) for r in rows])
        return torch.from_numpy(noise).permute(0, 3, 1, 2)
