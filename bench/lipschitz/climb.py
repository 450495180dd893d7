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

from lcrbench.bench.lipschitz.ball import Ball
from lcrbench.bench.lipschitz.descent import MOMENTUM, toward_flip
from lcrbench.bench.lipschitz.probe import Probe
from lcrbench.bench.lipschitz.results import Start, omega_of
from lcrbench.bench.lipschitz.surrogates import Surrogate
from lcrbench.bench.lipschitz.walk import moved_within
from lcrbench.bench.seeds import generator

PROJECTED = 0.5
"""Length of a projected step as a share of the radius."""

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
    """Take `steps` steps of random search in the k-th ball, one pass each."""
    tally = probe.tally
    ball, best, x = tally.balls[k], getattr(tally, figure)[k], tally.start.x
    rows = np.arange(len(x))
    sizes = np.full(len(x), 0.3)
    draws = [probe.generator(int(r), name, figure, k) for r in rows]
    for step in range(steps):
        before = best.value.copy()
        points = ball.settle(x, moved_within(ball, best.points - x, sizes, draws, step))
        tally.offer(rows, points, probe.logits(rows, points), "random")
        sizes = np.clip(np.where(best.value > before, sizes * 1.6, sizes * 0.9), 0.01, 1.0)


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
