"""Climbs inside one ball, for the largest change of the logits (omega) and of the margins (kappa).

From the best point so far, those of the other balls drawn to this radius included, the first half of the steps goes to
the point of ball and box that is furthest along the running sum of the gradients (a Frank-Wolfe step: on a linear map these are power iterations and reach the
operator norm); the second half, from the best point so far, takes steps of 0.5 eps that are drawn back into the ball.
The gradients are those of <u, f>:

    omega    u = df / ||df||, df the change of the logits; where it vanishes, a class difference, so that a plateau does
             not end the climb; plus a random unit vector at every second step, for logits that have not moved yet
    kappa    u = e_j - e_c, j the class nearest to drawing level

What is left of the passes goes to random search, which needs no gradient: changes of the best point by white noise,
smooth noise and squares, taken if the figure grows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from lcrbench.bench.lipschitz.ball import Ball, length
from lcrbench.bench.lipschitz.descent import MOMENTUM, toward_flip
from lcrbench.bench.lipschitz.probe import Probe
from lcrbench.bench.lipschitz.results import Start, kappas_of, omega_of
from lcrbench.bench.lipschitz.surrogates import Surrogate
from lcrbench.bench.lipschitz.tally import ROUNDING as LEAST_GAIN
from lcrbench.bench.lipschitz.walk import FIRST, GROW, KINDS, LEAST, SHRINK, moved_within, proposed
from lcrbench.bench.seeds import generator

PROJECTED = 0.5
"""Length of a projected step as a share of the radius."""

PATIENCE = 25
"""Steps without success after which a walk into a ball ends."""

FURTHER = 4.0
"""Radii away from the image at which the next one begins."""

Figure = Literal["omega", "kappa"]


def carry(probe: Probe, k: int, figure: Figure) -> None:
    """Try in the k-th ball what is best in the others, drawn to its radius: a pass a ball."""
    tally = probe.tally
    ball, x = tally.balls[k], tally.start.x
    rows = np.arange(len(x))
    for other in getattr(tally, figure)[:k] + getattr(tally, figure)[k + 1 :]:
        d = other.points - x
        away = ball.length(d).clamp_min(1e-30).view(-1, 1, 1, 1)
        points = ball.settle(x, (d.double() * (ball.eps / away)).float())
        tally.offer(rows, points, probe.logits(rows, points), "climb")


def climb(probe: Probe, k: int, figure: Figure, surrogates: Sequence[Surrogate], steps: int, name: str) -> None:
    """Take `steps` gradient steps in the k-th ball, two passes each, and one at the end; the tally keeps what it finds.

    The surrogates take turns.
    """
    if steps < 1:
        return
    tally = probe.tally
    ball, best, x = tally.balls[k], getattr(tally, figure)[k], tally.start.x
    rows = np.arange(len(x))
    points, memory = best.points.clone(), torch.zeros_like(x)
    half = (steps + 1) // 2

    def weigh(logits: np.ndarray, where: slice) -> np.ndarray:
        part = Start(tally.start.indices[where], tally.start.logits[where], x[where])
        return toward_flip(part, logits) if figure == "kappa" else _for_omega(part, logits, probe.seed, step)

    for step in range(steps):
        logits, gradient = probe.pull(rows, points, weigh, surrogates[step % len(surrogates)])
        tally.offer(rows, points, logits, "climb")
        dead = gradient.flatten(1).abs().amax(1) == 0
        if bool(dead.any()):
            which = np.flatnonzero(dead.numpy())
            gradient[dead] = probe.normal(which, name, figure, k, step)
        gradient = gradient / gradient.flatten(1).norm(dim=1).clamp_min(1e-30).view(-1, 1, 1, 1)
        memory = MOMENTUM * memory + gradient
        if step < half:
            points = ball.settle(x, ball.furthest(x, memory))
        else:
            if step == half:
                points = best.points.clone()
            move = Ball(ball.norm, PROJECTED * ball.eps).furthest(torch.full_like(x, 0.5), memory)
            points = ball.settle(x, points - x + move)
    tally.offer(rows, points, probe.logits(rows, points), "climb")


def search_within(probe: Probe, k: int, figure: Figure, steps: int, name: str) -> None:
    """Take `steps` steps without gradients in the k-th ball, one pass each: in turn inside the ball and into it."""
    tally = probe.tally
    ball, best, x = tally.balls[k], getattr(tally, figure)[k], tally.start.x
    rows = np.arange(len(x))
    sizes = np.full(len(x), 0.3)
    draws = [probe.generator(int(r), name, figure, k) for r in rows]
    inward = _Inward(probe, k, figure)
    for step in range(steps):
        before = best.value.copy()
        points = ball.settle(x, moved_within(ball, best.points - x, sizes, draws, step))
        if step % 2:
            points = inward.proposed(points, draws, step // 2)
        logits = probe.logits(rows, points)
        tally.offer(rows, points, logits, "random")
        if step % 2:
            inward.judge(points, logits, step // 2)
        else:
            sizes = np.clip(np.where(best.value > before, sizes * 1.6, sizes * 0.9), 0.01, 1.0)


class _Inward:
    """Walks into the k-th ball from points outside it where the figure is larger, along the level of the best inside.

    A step is that of a boundary walk, taken where the figure stays above the level. A walk that comes in has raised the
    level, and the next begins at the nearest point outside that is above the new one.
    """

    def __init__(self, probe: Probe, k: int, figure: Figure) -> None:
        tally = probe.tally
        self.probe, self.k, self.figure = probe, k, figure
        self.points = tally.start.x.clone()
        self.value = np.zeros(len(self.points))
        self.radius = np.full(len(self.points), np.inf)
        self.failed = np.zeros(len(self.points), dtype=np.int64)
        self.sizes = {kind: np.full(len(self.points), FIRST) for kind in KINDS}

    @property
    def level(self) -> np.ndarray:
        return np.asarray(getattr(self.probe.tally, self.figure)[self.k].value * (1 + LEAST_GAIN) + 1e-12)

    def proposed(self, otherwise: Tensor, draws: list[np.random.Generator], step: int) -> Tensor:
        """Return the next points of the walks (N, 3, H, W); `otherwise` those of images that have none."""
        self._begin()
        rows = np.flatnonzero(np.isfinite(self.radius))
        points = otherwise.clone()
        if len(rows):
            at = torch.from_numpy(rows)
            x = self.probe.tally.start.x[at]
            kind = KINDS[step % len(KINDS)]
            norm = self.probe.tally.norm
            d = proposed(norm, kind, self.points[at] - x, self.radius[rows], self.sizes[kind][rows], [draws[r] for r in rows])
            points[at] = (x + d).clamp(0, 1)
        # A walk that no step shortens has come to its end, and a point further out begins another.
        rows = np.flatnonzero(self.failed >= PATIENCE)
        if len(rows):
            at = torch.from_numpy(rows)
            ball, x = self.probe.tally.balls[self.k], self.probe.tally.start.x[at]
            d = moved_within(Ball(ball.norm, FURTHER * ball.eps), torch.zeros_like(x), np.ones(len(rows)), [draws[r] for r in rows], step)
            points[at] = (x + d).clamp(0, 1)
        return points

    def judge(self, points: Tensor, logits: np.ndarray, step: int) -> None:
        """Take the steps that are nearer and above the level."""
        tally = self.probe.tally
        value = omega_of(tally.start, logits) if self.figure == "omega" else kappas_of(tally.start, logits).max(1)
        distance = length(tally.norm, points.double() - tally.start.x.double()).numpy()
        walking = np.isfinite(self.radius)
        inside = distance <= tally.balls[self.k].eps
        fresh = self.failed >= PATIENCE
        taken = walking & (fresh | (distance < self.radius)) & ((value > self.level) | (inside & (value >= self.level)))
        self.failed = np.where(taken, 0, self.failed + walking)
        for sizes in self.sizes.values():
            sizes[fresh & taken] = FIRST
        kind = KINDS[step % len(KINDS)]
        s = self.sizes[kind]
        self.sizes[kind] = np.where(walking, np.clip(np.where(taken, s * GROW, s * SHRINK), LEAST, 1.0), s)
        self.points[torch.from_numpy(taken)] = points[torch.from_numpy(taken)]
        self.value, self.radius = np.where(taken, value, self.value), np.where(taken, distance, self.radius)

    def _begin(self) -> None:
        """Begin where a walk has ended: at the nearest point outside whose figure is above the level."""
        tally = self.probe.tally
        ended = ~np.isfinite(self.radius) | (self.value <= self.level)
        self.radius = np.where(ended, np.inf, self.radius)
        for best in tally.larger(self.k, self.figure):
            away = length(tally.norm, best.points.double() - tally.start.x.double()).numpy()
            better = ended & (best.value > self.level) & (away < self.radius)
            where = torch.from_numpy(better)
            self.points[where] = best.points[where]
            self.value, self.radius = np.where(better, best.value, self.value), np.where(better, away, self.radius)
            for s in self.sizes.values():
                s[better] = FIRST


def _for_omega(start: Start, logits: np.ndarray, seed: int, step: int) -> np.ndarray:
    """Return df / ||df||, on a plateau a class difference; at every second step a random unit vector is added.

    Logits that have not moved yet have no weight in df, so that alone it would never look for a jump of theirs.
    """
    change = logits - start.logits
    flat = omega_of(start, logits) == 0
    if flat.any():
        change[flat] = toward_flip(start, logits)[flat]
    u = change / np.linalg.norm(change, axis=1, keepdims=True)
    if step % 2:
        rows = [generator(seed, "search logits", int(i), step).standard_normal(u.shape[1]) for i in start.indices]
        u += np.stack([r / np.linalg.norm(r) for r in rows])
    return np.asarray(u)
