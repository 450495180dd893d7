"""One search of one ball: random candidates, warm points, and two chains that climb; see search.py for the method."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from lcrbench.bench.lipschitz.ball import Ball
from lcrbench.bench.lipschitz.options import Options
from lcrbench.bench.lipschitz.oracle import Oracle
from lcrbench.bench.lipschitz.results import FOUND_BY, Found, Start, images_of, kappas_of, omega_of
from lcrbench.bench.seeds import generator

PROJECTED = 0.5
"""Length of a projected step as a share of the radius."""

MOMENTUM = 0.7
"""Weight of the earlier gradients of a chain. Pseudo-gradients are noisy: on small sign networks, at 5 steps, it finds
5 to 15 % more at l2 128/255 and linf 8/255 than none, and the same at l2 8/255."""


class _Best:
    """The best point so far of each image, for one figure."""

    def __init__(self, x: Tensor) -> None:
        self.value = np.zeros(len(x))
        self.points = x.clone()
        self.by = np.zeros(len(x), dtype=np.int8)

    def offer(self, value: np.ndarray, points: Tensor, by: str) -> None:
        better = value > self.value
        self.value = np.where(better, value, self.value)
        self.by = np.where(better, FOUND_BY.index(by), self.by).astype(np.int8)
        where = torch.from_numpy(better)
        self.points[where] = points[where]


def climb(oracle: Oracle, start: Start, ball: Ball, options: Options, seed: int, warm: list[Found]) -> Found:
    """Return what one search of a ball finds; `warm` are results in balls that lie inside this one."""
    x = start.x
    omega, kappa = _Best(x), _Best(x)

    def offer(logits: np.ndarray, points: Tensor, by: str) -> None:
        omega.offer(omega_of(start, logits), points, by)
        kappa.offer(kappas_of(start, logits).max(1), points, by)

    def draw(*axes: int | str) -> Tensor:
        size = tuple(x.permute(0, 2, 3, 1).shape[1:])
        rows = [generator(seed, "modulus", int(i), ball.norm, repr(ball.eps), *axes) for i in start.indices]
        noise = np.stack([g.standard_normal(size, dtype=np.float32) for g in rows])
        return torch.from_numpy(noise).permute(0, 3, 1, 2)

    for smaller in warm:
        omega.offer(smaller.omega, oracle.points(smaller.omega_points), "warm")
        kappa.offer(smaller.kappa, oracle.points(smaller.kappa_points), "warm")
    for restart in range(options.restarts):
        for k in range(options.random):
            points = ball.settle(x, ball.furthest(x, draw(restart, k)))
            offer(oracle.logits(points), points, "random")
        for name, best, weigh in (("omega", omega, _for_omega), ("kappa", kappa, _for_kappa)):
            points = best.points
            half = (options.steps + 1) // 2
            memory = torch.zeros_like(x)
            for step in range(options.steps):

                def u(logits: np.ndarray, where: slice, weigh: _Weigh = weigh, step: int = step) -> np.ndarray:
                    part = Start(start.indices[where], start.logits[where], x[where])
                    return weigh(part, logits, seed, step)

                logits, gradient = oracle.pull(points, u)
                offer(logits, points, "frank-wolfe" if step <= half else "projected")
                dead = gradient.flatten(1).abs().amax(1) == 0
                if bool(dead.any()):
                    gradient[dead] = draw(restart, name, step)[dead]
                gradient = gradient / gradient.flatten(1).norm(dim=1).clamp_min(1e-30).view(-1, 1, 1, 1)
                memory = MOMENTUM * memory + gradient
                if step < half:
                    points = ball.settle(x, ball.furthest(x, memory))
                else:
                    if step == half:
                        points = best.points
                    move = Ball(ball.norm, PROJECTED * ball.eps).furthest(torch.full_like(x, 0.5), memory)
                    points = ball.settle(x, points - x + move)
            if options.steps:
                offer(oracle.logits(points), points, "projected" if options.steps > half else "frank-wolfe")
    return _verified(oracle, start, ball, omega, kappa)


_Weigh = Callable[[Start, np.ndarray, int, int], np.ndarray]


def _for_omega(start: Start, logits: np.ndarray, seed: int, step: int) -> np.ndarray:
    """Return df / ||df||, on a plateau a class difference; at every second step a random unit vector is added.

    Logits that have not moved yet have no weight in df, so that alone it would never look for a jump of theirs.
    """
    change = logits - start.logits
    flat = np.linalg.norm(change, axis=1) == 0
    if flat.any():
        change[flat] = _for_kappa(start, logits, seed, step)[flat]
    u = change / np.linalg.norm(change, axis=1, keepdims=True)
    if step % 2:
        rows = [generator(seed, "modulus logits", int(i), step).standard_normal(u.shape[1]) for i in start.indices]
        u += np.stack([r / np.linalg.norm(r) for r in rows])
    return np.asarray(u)


def _for_kappa(start: Start, logits: np.ndarray, seed: int, step: int) -> np.ndarray:
    """Return e_j - e_c for the class j nearest to drawing level: the largest ratio, and at the image the least margin."""
    n = np.arange(len(logits))
    c = start.logits.argmax(1)
    lead = start.logits.copy()
    lead[n, c] = -np.inf
    still = (logits == start.logits).all(1)
    j = np.where(still, lead.argmax(1), kappas_of(start, logits).argmax(1))
    u = np.zeros_like(logits)
    u[n, j] = 1
    u[n, c] = -1
    return u


def _verified(oracle: Oracle, start: Start, ball: Ball, omega: _Best, kappa: _Best) -> Found:
    """Evaluate the best points once more by the deployed network, after checking that they are where they may be."""
    for best in (omega, kappa):
        inside = ball.length(best.points.double() - start.x.double()) <= ball.eps
        if not bool(inside.all() and (best.points >= 0).all() and (best.points <= 1).all()):
            raise RuntimeError(
                f"the search left the {ball.norm} ball of radius {ball.eps} or the box: a fault of lcrbench"
            )
    return Found(
        ball,
        omega_of(start, oracle.logits(omega.points)),
        np.maximum(kappas_of(start, oracle.logits(kappa.points)).max(1), 0),
        images_of(omega.points),
        images_of(kappa.points),
        omega.by,
        kappa.by,
    )
