"""Searches at small radii among the first signs that can turn there at all, each along a direction known in closed form.

The first signs that an image meets see z, in most networks an affine function of the image, so that with J = dz/dx the
sign of unit i turns within a ball exactly if the half-space sgn(z_i) (z_i + <J_i, d>) < 0 meets it. Of each image the
`UNITS` units with the smallest |z_i| / ||J_i||_2 are known by one backward pass each. A set S of them turns at a point
that cyclic projections onto its half-spaces, the ball and the box find without a pass. Sets are searched by local search:
one unit more or fewer at a step, taken if the figure grows. The network judges each point: where z is not affine, a point
is a bad guess and nothing else.

Where more than twice as many units can turn in a ball, gradients see enough of them, and the search is left out.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lcrbench.bench.lipschitz.ball import Ball, lengths
from lcrbench.bench.lipschitz.probe import Probe
from lcrbench.bench.lipschitz.tally import Figure

UNITS = 12
CYCLES = 10
BEYOND = 1e-3
"""How far behind a threshold a turned unit lies, as a share of its distance."""


class Turns:
    """The nearest units of each image: z (N, K) and gradients (N, K, P) over the P pixels that they see."""

    def __init__(self, probe: Probe) -> None:
        oracle, x = probe.oracle, probe.tally.start.x
        rows = np.arange(len(x))
        z = oracle.first_signs()[torch.from_numpy(probe.place)].flatten(1).float().cpu()
        channels = oracle.first_signs().shape[1]
        each = z.shape[1] // channels
        # A channel's units share a kernel: the gradient of one in the middle stands for all.
        middle = np.arange(channels) * each + (each // 2 + int(each**0.5) // 2) % each
        scale = lengths(oracle.pull_sign(x[:1].expand(channels, -1, -1, -1), middle)).flatten()
        self.away = z.abs() / scale.repeat_interleave(each).clamp_min(1e-30)
        order = self.away.argsort(1)[:, :UNITS]
        self.z = z.gather(1, order)
        gradients = [probe.pull_sign(rows, x, order[:, k].numpy()).flatten(1) for k in range(order.shape[1])]
        jacobian = torch.stack(gradients, 1)
        # A convolution's unit sees few pixels: the others are left out.
        sees = (jacobian != 0).any(1)
        self.seen = sees.int().argsort(stable=True, dim=1, descending=True)[:, : max(1, int(sees.sum(1).max()))]
        self.jacobian = jacobian.gather(2, self.seen[:, None].expand(-1, jacobian.shape[1], -1))

    def few(self, ball: Ball) -> np.ndarray:
        """Return the numbers of the images where some units can turn in a ball, and not many."""
        dual = self.jacobian.norm(dim=2) if ball.norm == "l2" else self.jacobian.abs().sum(2)
        near = (self.z.abs() / dual.clamp_min(1e-30) <= ball.eps).any(1)
        # In linf a unit's reach grows by the 1-norm of its gradient: that of the nearest stands for all.
        reach = ball.eps * (dual[:, :1] / self.jacobian[:, :1].norm(dim=2).clamp_min(1e-30))
        many = (self.away <= reach).sum(1) > 2 * UNITS
        return np.flatnonzero((near & ~many).numpy())

    def reached(self, ball: Ball, x: Tensor, rows: np.ndarray, chosen: Tensor) -> Tensor:
        """Return points (n, 3, H, W) of the ball at which the units `chosen` (n, K) of images `rows` turn, if they can."""
        at = torch.from_numpy(rows)
        z, jacobian, seen = self.z[at], self.jacobian[at], self.seen[at]
        flat = x.flatten(1)
        pixels = flat.gather(1, seen)
        side = torch.where(z >= 0, 1.0, -1.0)
        square = jacobian.square().sum(2).clamp_min(1e-30)
        beyond = BEYOND * z.abs() + 1e-7
        d = torch.zeros_like(pixels)
        for _ in range(CYCLES):
            for k in range(z.shape[1]):
                now = z[:, k] + (jacobian[:, k] * d).sum(1)
                gap = (side[:, k] * now + beyond[:, k]).clamp_min(0) * chosen[:, k]
                d = d - (side[:, k] * gap / square[:, k])[:, None] * jacobian[:, k]
            d = ball.inside(pixels[:, :, None, None], d[:, :, None, None]).flatten(1)
        moved = torch.zeros_like(flat).scatter_(1, seen, d).view(x.shape)
        return ball.settle(x, moved)


def turn(probe: Probe, turns: Turns, k: int, figure: Figure, passes: int, rows: np.ndarray) -> None:
    """Search sets of turned units in the k-th ball for so many passes of each of the images `rows`."""
    if not len(rows):
        return
    tally = probe.tally
    ball = tally.balls[k]
    part = tally.of(rows)
    units = turns.z.shape[1]
    sets, value = torch.zeros(len(rows), units, dtype=torch.bool), np.zeros(len(rows))
    for step in range(passes):
        tried = sets.clone()
        tried[:, step % units] ^= True
        points = turns.reached(ball, part.x, rows, tried)
        new = tally.offer(rows, points, probe.logits(rows, points), "climb").value(figure)
        better = new > value
        sets[torch.from_numpy(better)] = tried[torch.from_numpy(better)]
        value = np.where(better, new, value)
