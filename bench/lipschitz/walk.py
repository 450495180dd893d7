"""Walks along the boundary from flips that were found, towards the image: the decision-based part of a search.

A walk holds a flipped point x + d of length r. Each step proposes a shorter one (`moves.shorter`), and takes it if it is
flipped too.

A step's size s, of each image, walk and kind of move on its own, grows 1.6 times after a success and shrinks 0.88 times
otherwise, in [0.003, 1]. A walk sees only whether a point is flipped, so that it works alike with and without gradients.

Walks that start from different flips end at different distances, so several compete: all of them walk, the nearer half
goes on, until one is left. Its pool is each image's own.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lcrbench.bench.lipschitz.descent import Chain
from lcrbench.bench.lipschitz.moves import KINDS, shorter
from lcrbench.bench.lipschitz.probe import Probe

HALVINGS = 8
GROW, SHRINK, LEAST, FIRST = 1.6, 0.88, 3e-3, 0.3


def walk(probe: Probe, chains: list[Chain], passes: int, name: str, keep: int = 2) -> list[Chain]:
    """Return the nearest `keep` chains of a tournament over `passes` passes an image. Images without a flip stay."""
    pool = _Pool(chains)
    sizes = [len(chains)]
    while sizes[-1] > 1:
        sizes.append(sizes[-1] // 2)
    left = passes
    for level, size in enumerate(sizes):
        pool.cut(max(size, keep) if level == len(sizes) - 1 else size)
        steps = left // (len(sizes) - level) // size
        left -= steps * size
        _race(probe, pool, size, steps, f"{name} {level}")
    pool.cut(keep)
    return pool.chains()


class _Pool:
    """Chains side by side: radii (m, N) and points (m, N, 3, H, W), for each image by distance."""

    def __init__(self, chains: list[Chain]) -> None:
        self.radius = np.stack([c.radius for c in chains])
        self.points = torch.stack([c.points for c in chains])

    def cut(self, size: int) -> None:
        """Keep each image's nearest chains; copies of the nearest stand in for missing ones."""
        order = np.argsort(self.radius, axis=0, kind="stable")[:size]
        missing = np.isinf(np.take_along_axis(self.radius, order, 0))
        order = np.where(missing, order[:1], order)
        if len(order) < size:
            order = np.concatenate([order, np.repeat(order[:1], size - len(order), axis=0)])
        self.radius = np.take_along_axis(self.radius, order, 0)
        self.points = self.points[torch.from_numpy(order), torch.arange(order.shape[1])]

    def chains(self) -> list[Chain]:
        return [Chain(p, r) for p, r in zip(self.points, self.radius, strict=True)]


def _race(probe: Probe, pool: _Pool, size: int, steps: int, name: str) -> None:
    """Let the first `size` walks of each image take `steps` steps."""
    walks, rows = np.nonzero(np.isfinite(pool.radius[:size]))
    if not len(rows):
        return
    tally = probe.tally
    x = tally.start.x[torch.from_numpy(rows)]
    sizes = {kind: np.full(len(rows), FIRST) for kind in KINDS}
    draws = [probe.generator(int(r), name, int(k)) for k, r in zip(walks, rows, strict=True)]
    at = (torch.from_numpy(walks), torch.from_numpy(rows))
    points, radius = pool.points[at], pool.radius[walks, rows]
    for step in range(steps):
        kind = KINDS[step % len(KINDS)]
        s = sizes[kind]
        d = shorter(tally.norm, kind, points - x, radius, s, draws)
        tried = (x + d).clamp(0, 1)
        _, kappa, distance = tally.offer(rows, tried, probe.logits(rows, tried), "walk")
        better = (kappa >= 1) & (distance < radius)
        where = torch.from_numpy(better)
        points[where] = tried[where]
        radius = np.where(better, distance, radius)
        sizes[kind] = np.clip(np.where(better, s * GROW, s * SHRINK), LEAST, 1.0)
    pool.points[at] = points
    pool.radius[walks, rows] = radius


def bisected(probe: Probe, ends: Tensor, halvings: int = HALVINGS) -> Chain:
    """Return the flips nearest to the images on the lines to `ends` (N), by bisection: a pass a halving, and one first."""
    tally = probe.tally
    x, rows = tally.start.x, np.arange(len(tally.start.x))
    chain = Chain(x.clone(), np.full(len(x), np.inf))
    low, high = np.zeros(len(rows)), np.ones(len(rows))
    for k in range(halvings + 1):
        t = (low + high) / 2 if k else high
        points = (x + torch.from_numpy(t).float().view(-1, 1, 1, 1) * (ends - x)).clamp(0, 1)
        _, kappa, distance = tally.offer(rows, points, probe.logits(rows, points), "walk")
        flip = kappa >= 1
        chain.offer(kappa, distance, points)
        if k:
            low, high = np.where(flip, low, t), np.where(flip, t, high)
    return chain
