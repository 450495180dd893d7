"""Walks along the boundary from flips that were found, towards the image: the decision-based part of a search.

A walk holds a flipped point x + d of length r. Each step proposes a shorter one, and takes it if it is flipped too:

    l2      square    d without a square of pixels          pixels   d without some pixels    entries  without some entries
            noise     r (1 - s/4) u, u the direction of d + s r e, e white noise orthogonal to d, ||e|| = 1
            low       likewise with smooth noise, of 4, 8 or 16 cells a side, in colour or grey
    linf    the same changes of d, with random signs of length r in the place of nothing, clipped to r (1 - s/4)

s is the step's size, of each image, walk and kind on its own: times 1.6 after a success, times 0.88 otherwise, in
[0.003, 1]. A walk sees only whether a point is flipped, so that it works alike on networks with and without gradients.

Walks that start from different flips end at different distances, so several compete: all of them walk, the nearer half
goes on, until one is left. Its pool is each image's own.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lcrbench.bench.lipschitz.ball import Ball, lengths, shortened
from lcrbench.bench.lipschitz.descent import Chain
from lcrbench.bench.lipschitz.probe import Probe

KINDS = ("square", "noise", "pixels", "low", "entries")
HALVINGS = 8
GROW, SHRINK, LEAST, FIRST = 1.6, 0.88, 3e-3, 0.3
CELLS = (4, 8, 16)
PATCH = 4
"""Part of the image's side that a patch has at most."""
PATCH_LENGTH = 1.5
"""Length of a patch in l2, in lengths that its pixels have if all pixels of a displacement of length r move alike."""


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
        d = proposed(tally.norm, kind, points - x, radius, s, draws)
        tried = (x + d).clamp(0, 1)
        _, kappa, distance = tally.offer(rows, tried, probe.logits(rows, tried), "walk")
        better = (kappa >= 1) & (distance < radius)
        where = torch.from_numpy(better)
        points[where] = tried[where]
        radius = np.where(better, distance, radius)
        sizes[kind] = np.clip(np.where(better, s * GROW, s * SHRINK), LEAST, 1.0)
    pool.points[at] = points
    pool.radius[walks, rows] = radius


def proposed(
    norm: str, kind: str, d: Tensor, radius: np.ndarray, s: np.ndarray, draws: list[np.random.Generator]
) -> Tensor:
    """Return the next displacement of each walk (n, 3, H, W)."""
    _, c, h, w = d.shape
    size = torch.from_numpy(s).float().view(-1, 1, 1, 1)
    r = torch.from_numpy(radius).float().view(-1, 1, 1, 1)
    if kind in ("noise", "low"):
        e = _noise(kind, d.shape, draws)
        if norm == "linf":
            return shortened(norm, d + size * r * e, (r * (1 - size / 4)).flatten())
        e = e - d * ((e * d).sum((1, 2, 3), keepdim=True) / r.square().clamp_min(1e-30))
        e = e / lengths(e).clamp_min(1e-30)
        moved = d + size * r * e
        return moved * (r * (1 - size / 4) / lengths(moved).clamp_min(1e-30))
    if kind == "square":
        gone = _squares(h, w, np.maximum(1, np.round(1 + s * 0.6 * max(h, w))), draws)
    else:
        shape = (h, w, 1 if kind == "pixels" else c)
        share = 0.7 * s[:, None, None, None]
        gone = torch.from_numpy(np.stack([g.random(shape, dtype=np.float32) for g in draws]) < share)
        gone = gone.permute(0, 3, 1, 2)
    if norm == "l2":
        return d.masked_fill(gone, 0)
    signs = torch.from_numpy(np.stack([g.integers(0, 2, (c, 1, 1) if kind == "square" else (c, h, w)) for g in draws]))
    return shortened(norm, torch.where(gone, r * (2.0 * signs - 1), d), (r * (1 - size / 4)).flatten())


def _squares(h: int, w: int, side: np.ndarray, draws: list[np.random.Generator]) -> Tensor:
    """Return where a square of side `side` (n) at a random place of each image lies (n, 1, h, w)."""
    corner = np.stack([g.random(2) for g in draws])
    inside = _along(h, corner[:, 0], side)[:, :, None] & _along(w, corner[:, 1], side)[:, None, :]
    return torch.from_numpy(inside)[:, None]


def _along(extent: int, place: np.ndarray, side: np.ndarray) -> np.ndarray:
    """Return where along an axis a square lies (n, extent); its middle is at `place` in [0, 1) of the axis."""
    middle = np.floor(place * extent)[:, None]
    first = middle - np.floor(side / 2)[:, None]
    at = np.arange(extent)[None]
    return np.asarray((at >= first) & (at < first + side[:, None]))


def _noise(kind: str, shape: torch.Size, draws: list[np.random.Generator]) -> Tensor:
    """Return white or smooth noise of length 1 an image in l2, of entries around 1."""
    _, c, h, w = shape
    if kind == "noise":
        e = torch.from_numpy(np.stack([g.standard_normal((h, w, c), dtype=np.float32) for g in draws])).permute(
            0, 3, 1, 2
        )
    else:
        e = torch.empty(len(draws), c, h, w)
        plans = np.array([[g.integers(len(CELLS)), g.integers(2)] for g in draws])
        for k in range(len(CELLS)):
            for grey in (0, 1):
                which = np.flatnonzero((plans[:, 0] == k) & (plans[:, 1] == grey))
                if len(which):
                    cells = [
                        draws[i].standard_normal((1 if grey else c, CELLS[k], CELLS[k]), dtype=np.float32)
                        for i in which
                    ]
                    smooth = F.interpolate(torch.from_numpy(np.stack(cells)), size=(h, w), mode="bilinear")
                    e[torch.from_numpy(which)] = smooth.expand(-1, c, -1, -1)
    return e


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


def moved_within(ball: Ball, d: Tensor, s: np.ndarray, draws: list[np.random.Generator], step: int) -> Tensor:
    """Return changes of displacements d (n, 3, H, W) for a random search in a ball, which may leave it.

    In turn white noise and smooth noise of length s eps, and a square of random colour.
    """
    _, _, h, w = d.shape
    size = torch.from_numpy(s).float().view(-1, 1, 1, 1) * ball.eps
    kind = ("noise", "low", "square")[step % 3]
    if kind == "square":
        e = _coloured(d.shape, np.maximum(1, np.round(s * max(h, w))), draws)
    else:
        e = _noise(kind, d.shape, draws)
    if ball.norm == "linf":
        moved = d + 2 * size * e if kind != "square" else torch.where(e != 0, ball.eps * e.sign(), d)
        return moved.clamp(-ball.eps, ball.eps)
    return d + size * e / lengths(e).clamp_min(1e-30)


def patched(norm: str, radius: Tensor, d: Tensor, draws: list[np.random.Generator]) -> Tensor:
    """Return displacements d (n, 3, H, W) with a small square of a random colour each in the place of what is there.

    Its side is any up to a quarter of the image's. In linf its pixels move by the `radius` (n), each channel in one
    direction; in l2 they move by 1.5 r / sqrt(h w) in the root mean square, as if the whole radius went to all pixels alike.
    """
    _, _, h, w = d.shape
    e = _coloured(d.shape, np.array([g.integers(1, max(1, max(h, w) // PATCH) + 1) for g in draws]), draws)
    r = radius.to(d.dtype).view(-1, 1, 1, 1)
    if norm == "l2":
        share = (e != 0).any(1).float().mean((1, 2)).sqrt().view(-1, 1, 1, 1)
        moved = PATCH_LENGTH * share * r * e / lengths(e).clamp_min(1e-30)
    else:
        moved = r * e.sign()
    return torch.where(e != 0, moved, d)


def _coloured(shape: torch.Size, side: np.ndarray, draws: list[np.random.Generator]) -> Tensor:
    """Return a square of side `side` (n) of a random colour at a random place of each image, 0 elsewhere."""
    _, c, h, w = shape
    inside = _squares(h, w, side, draws)
    return inside * torch.from_numpy(np.stack([g.standard_normal((c, 1, 1), dtype=np.float32) for g in draws]))
