"""Random moves of a displacement d of an image's point, (n, 3, H, W), each drawn from the generator of its own image.

For walks, which look for a shorter displacement than d of length r:

    l2      square    d without a square of pixels          pixels   d without some pixels    entries  without some entries
            noise     r (1 - s/4) u, u the direction of d + s r e, e white noise orthogonal to d, ||e|| = 1
            low       likewise with smooth noise, of 4, 8 or 16 cells a side, in colour or grey
    linf    the same changes of d, with random signs of length r in the place of nothing, clipped to r (1 - s/4)

For climbs in a ball, which look for any other d: white or smooth noise, a square of any size, or a patch, a small square.
s is the size of a move, in (0, 1].
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lcrbench.bench.lipschitz.ball import Ball, lengths, shortened, unit

KINDS = ("square", "noise", "pixels", "low", "entries")
"""Kinds of moves to a shorter displacement."""
CELLS = (4, 8, 16)
"""Cells a side of smooth noise."""
PATCH = 4
"""Sides of the largest patch in a side of the image."""
PATCH_LENGTH = 1.5
"""Length that a patch may add in l2, in lengths of its pixels where all pixels of a displacement of length r move alike."""


def shorter(
    norm: str, kind: str, d: Tensor, radius: np.ndarray, s: np.ndarray, draws: list[np.random.Generator]
) -> Tensor:
    """Return a shorter displacement of a `kind` of `KINDS` for each walk (n, 3, H, W), from d of lengths `radius` (n)."""
    _, c, h, w = d.shape
    size = torch.from_numpy(s).float().view(-1, 1, 1, 1)
    r = torch.from_numpy(radius).float().view(-1, 1, 1, 1)
    if kind in ("noise", "low"):
        e = _noise(kind, d.shape, draws)
        if norm == "linf":
            return shortened(norm, d + size * r * e, (r * (1 - size / 4)).flatten())
        e = e - d * ((e * d).sum((1, 2, 3), keepdim=True) / r.square().clamp_min(1e-30))
        e = unit(e)
        aside = d + size * r * e
        return aside * (r * (1 - size / 4) / lengths(aside).clamp_min(1e-30))
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


def moved(ball: Ball, d: Tensor, s: np.ndarray, draws: list[np.random.Generator], step: int) -> Tensor:
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
        changed = d + 2 * size * e if kind != "square" else torch.where(e != 0, ball.eps * e.sign(), d)
        return changed.clamp(-ball.eps, ball.eps)
    return d + size * e / lengths(e).clamp_min(1e-30)


def patched(norm: str, radius: Tensor, d: Tensor, draws: list[np.random.Generator]) -> Tensor:
    """Return displacements d (n, 3, H, W) with a small square of a random colour each in the place of what is there.

    Its side is any up to a quarter of the image's. In linf its pixels move by the `radius` r (n), each channel in one
    direction. In l2 it takes the length that it and another square of that side had, which becomes 0: d keeps its length,
    and the pixels outside keep their places, on which signs that have turned depend. Where d is shorter than r, what is left
    goes to the square too, up to a length of 1.5 r / sqrt(h w) in the root mean square of its pixels, as if 1.5 r went to
    all pixels alike.
    """
    _, _, h, w = d.shape
    side = np.array([g.integers(1, max(1, max(h, w) // PATCH) + 1) for g in draws])
    e = _coloured(d.shape, side, draws)
    taken = e != 0
    r = radius.to(d.dtype).view(-1, 1, 1, 1)
    if norm == "linf":
        return torch.where(taken, r * e.sign(), d)
    given = _squares(h, w, side, draws)
    had = lengths(d * (given | taken)).square()
    left = (r.square() - lengths(d).square()).clamp_min(0)
    share = taken.any(1).float().mean((1, 2)).view(-1, 1, 1, 1)
    length = (had + torch.minimum(left, (PATCH_LENGTH * r).square() * share)).sqrt()
    return torch.where(taken, length * e / lengths(e).clamp_min(1e-30), d.masked_fill(given, 0))


def _coloured(shape: torch.Size, side: np.ndarray, draws: list[np.random.Generator]) -> Tensor:
    """Return a square of side `side` (n) of a random colour at a random place of each image, 0 elsewhere."""
    _, c, h, w = shape
    inside = _squares(h, w, side, draws)
    return inside * torch.from_numpy(np.stack([g.standard_normal((c, 1, 1), dtype=np.float32) for g in draws]))


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
