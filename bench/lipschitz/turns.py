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

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from lcrbench.bench.lipschitz.ball import Ball
from lcrbench.bench.lipschitz.probe import Probe
from lcrbench.bench.lipschitz.results import kappas_of, omega_of

UNITS = 12
CYCLES = 20
BEYOND = 1e-3
"""How far behind a threshold a turned unit lies, as a share of its distance."""

Figure = Literal["omega", "kappa"]


class Turns:
    """The nearest units of each image: z (N, K), their gradients (N, K, 3, H, W), and how many units are no further."""

    def __init__(self, probe: Probe) -> None:
        oracle, x = probe.oracle, probe.tally.start.x
        rows = np.arange(len(x))
        z = oracle.first_signs()[torch.from_numpy(probe.place)].flatten(1).float().cpu()
        channels = oracle.first_signs().shape[1]
        each = z.shape[1] // channels
        # A channel's units share a kernel: the gradient of one in the middle stands for all.
        scale = torch.empty(channels)
        for c in range(channels):
            unit = np.full(1, c * each + (each // 2 + int(each**0.5) // 2) % each)
            scale[c] = oracle.pull_sign(x[:1], unit)[0].norm()
        self.away = z.abs() / scale.repeat_interleave(each).clamp_min(1e-30)
        order = self.away.argsort(1)[:, :UNITS]
        self.z = z.gather(1, order)
        self.jacobian = torch.stack([probe.pull_sign(rows, x, order[:, k].numpy()) for k in range(order.shape[1])], 1)

    def few(self, ball: Ball) -> np.ndarray:
        """Return the numbers of the images where some units can turn in a ball, and not many."""
        gradient = self.jacobian.flatten(2)
        dual = gradient.norm(dim=2) if ball.norm == "l2" else gradient.abs().sum(2)
        near = (self.z.abs() / dual.clamp_min(1e-30) <= ball.eps).any(1)
        wide = 1.0 if ball.norm == "l2" else float(np.sqrt(gradient.shape[2]))
        many = (self.away <= ball.eps * wide).sum(1) > 2 * UNITS if ball.norm == "l2" else torch.zeros(len(near)) > 0
        return np.flatnonzero((near & ~many).numpy())

    def reached(self, ball: Ball, x: Tensor, rows: np.ndarray, chosen: Tensor) -> Tensor:
        """Return points (n, 3, H, W) of the ball at which the units `chosen` (n, K) of images `rows` turn, if they can."""
        at = torch.from_numpy(rows)
        z, jacobian, d = self.z[at], self.jacobian[at], torch.zeros_like(x)
        side = torch.where(z >= 0, 1.0, -1.0)
        square = jacobian.flatten(2).square().sum(2).clamp_min(1e-30)
        beyond = BEYOND * z.abs() + 1e-7
        for _ in range(CYCLES):
            for k in range(z.shape[1]):
                now = z[:, k] + (jacobian[:, k] * d).sum((1, 2, 3))
                gap = (side[:, k] * now + beyond[:, k]).clamp_min(0) * chosen[:, k]
                d = d - (side[:, k] * gap / square[:, k]).view(-1, 1, 1, 1) * jacobian[:, k]
            d = ball.inside(x, d)
        return ball.settle(x, d)


def turn(probe: Probe, turns: Turns, k: int, figure: Figure, passes: int) -> int:
    """Search sets of turned units in the k-th ball for so many passes an image; return those that were spent."""
    tally = probe.tally
    ball = tally.balls[k]
    rows = turns.few(ball)
    if not len(rows):
        return 0
    part = tally.of(rows)
    units = turns.z.shape[1]
    sets, value = torch.zeros(len(rows), units, dtype=torch.bool), np.zeros(len(rows))
    for step in range(passes):
        tried = sets.clone()
        tried[:, step % units] ^= True
        points = turns.reached(ball, part.x, rows, tried)
        logits = probe.logits(rows, points)
        tally.offer(rows, points, logits, "climb")
        new = omega_of(part, logits) if figure == "omega" else kappas_of(part, logits).max(1)
        better = new > value
        sets[torch.from_numpy(better)] = tried[torch.from_numpy(better)]
        value = np.where(better, new, value)
    return passes
