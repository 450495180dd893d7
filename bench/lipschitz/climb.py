"""Climbs inside one ball, for the largest change of the logits (omega) and of the margins (kappa).

A climb begins at the best point so far, those of the other balls drawn to this radius included. The first half of its steps
goes each to the point of ball and box that is furthest along the running sum of the gradients (a Frank-Wolfe step: on a
linear map these are power iterations and reach the operator norm). The second half, from the best point so far, takes steps
along that sum that are drawn back into the ball, and shrink from eps to a twentieth of that along a cosine.

In networks of signs all steps are such as those of the second half, 24 at most, in up to three runs, each through another
surrogate and from the best point so far. The first run begins with a step of eps, the others with .3 eps.

The gradients are those of <u, f>:

    omega    u = df / ||df||, df the change of the logits; where it vanishes, a class difference, so that a plateau does
             not end the climb; plus a random unit vector at every second step, for logits that have not moved yet
    kappa    u = e_j - e_c, j the class nearest to drawing level

What is left of the passes goes to random search, which needs no gradient: changes of the best point, taken if the figure
grows. In networks of signs that is half of them or more, because 24 steps along gradients find what gradients can: near
where they end, kappa is nearly as rough as noise, and what counts is how many points are tried. Six of eight steps try a
patch, a small square of a random colour (`moves.patched`): at 32 pixels a side patches find more than the other kinds. The
others are changes by noise and larger squares, and steps of a walk into the ball from outside. On images of fewer than 256
pixels, where noise finds more, patches are half of the steps.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lcrbench.bench.lipschitz.ball import Ball, length, steepest, unit
from lcrbench.bench.lipschitz.descent import MOMENTUM, shrinking, toward_flip
from lcrbench.bench.lipschitz.moves import KINDS, moved, patched, shorter
from lcrbench.bench.lipschitz.probe import Probe
from lcrbench.bench.lipschitz.results import Start, omega_of
from lcrbench.bench.lipschitz.surrogates import Surrogate, Window
from lcrbench.bench.lipschitz.tally import ROUNDING, Figure, Tried
from lcrbench.bench.lipschitz.turns import Turns, turn
from lcrbench.bench.lipschitz.walk import FIRST, GROW, LEAST, SHRINK
from lcrbench.bench.seeds import generator

CLIMBED: tuple[Surrogate, ...] = (Window(4.0), None, Window(2.0, deep=0.5))
"""What climbs differentiate through in networks of signs, one after the other: which finds most depends on the network."""
RUN = 8
"""Steps through one of them at least, in a climb of as many; a short climb leaves the last ones out."""
SHRINKING_MOMENTUM = 0.9
"""Share of the running sum of the gradients that a step which shrinks keeps."""
LONGEST = 24
"""Steps along gradients in a climb at most, in networks of signs."""
FIRST_STEP, LATER_STEP = 1.0, 0.3
"""First step, as a share of the radius, and that of the runs after the first."""

PLAN = (*("patch",) * 3, "noise", *("patch",) * 3, "inward")
"""Steps of a random search, in turn."""
FEW, PLAN_OF_FEW = 256, ("patch", "noise", "patch", "inward")
"""Steps on images of fewer pixels."""

GRADIENTS, GRADIENTS_OF_SIGNS = 0.75, 0.5
"""Share of a climb's passes that goes to gradients; in networks of signs, where they say less."""

PATIENCE = 25
"""Steps without success after which a walk into a ball ends."""

FURTHER = 4.0
"""Radii away from the image at which the next one begins."""


def carry(probe: Probe, k: int, figure: Figure, most: int) -> int:
    """Try in the k-th ball what is best in the two next to it, drawn to its radius; return the passes, at most `most`."""
    tally = probe.tally
    ball, x = tally.balls[k], tally.start.x
    rows = np.arange(len(x))
    first = max(0, min(k - 1, len(tally.balls) - 3))
    near = [j for j in range(first, min(first + 3, len(tally.balls))) if j != k][: max(0, most)]
    for j in near:
        other = tally.best(figure)[j]
        d = other.points - x
        away = ball.length(d).clamp_min(1e-30).view(-1, 1, 1, 1)
        points = ball.settle(x, (d.double() * (ball.eps / away)).float())
        tally.offer(rows, points, probe.logits(rows, points), "climb")
    return len(near)


def search_ball(
    probe: Probe,
    k: int,
    figure: Figure,
    passes: int,
    gradients: bool,
    turns: Turns | None,
    name: str,
    rows: np.ndarray | None = None,
) -> None:
    """Spend `passes` on a figure in the k-th ball: a third on sets of first signs where few can turn, then climbs."""
    rows = np.arange(len(probe.tally.start.x)) if rows is None else rows
    few = np.intersect1d(turns.few(probe.tally.balls[k]), rows) if turns is not None else rows[:0]
    for some, left in ((few, passes - passes // 3), (np.setdiff1d(rows, few), passes)):
        if turns is not None and left < passes:
            turn(probe, turns, k, figure, passes // 3, some)
        signs = probe.oracle.windows
        steps = max(0, (int((GRADIENTS_OF_SIGNS if signs else GRADIENTS) * left) - 1) // 2) if gradients else 0
        if signs:
            steps = min(steps, LONGEST)
        climb(probe, k, figure, steps, name, some)
        search_within(probe, k, figure, left - (2 * steps + 1 if steps else 0), f"{name} at random", some)


def climb(probe: Probe, k: int, figure: Figure, steps: int, name: str, rows: np.ndarray | None = None) -> None:
    """Take `steps` gradient steps in the k-th ball, two passes each, and one at the end; the tally keeps what it finds.

    `rows` are the images' numbers, all by default.
    """
    tally = probe.tally
    rows = np.arange(len(tally.start.x)) if rows is None else rows
    if steps < 1 or not len(rows):
        return
    best, at = tally.best(figure)[k], torch.from_numpy(rows)
    way = _Way(probe, k, figure, name, rows)
    if probe.oracle.windows:
        runs = CLIMBED[: max(1, steps // RUN)]
        for j, surrogate in enumerate(runs):
            some = steps * (j + 1) // len(runs) - steps * j // len(runs)
            points = way.steps(best.points[at], some, surrogate, LATER_STEP if j else FIRST_STEP)
    else:
        way.corners(best.points[at], (steps + 1) // 2)
        points = way.steps(best.points[at], steps // 2, None, FIRST_STEP)
    tally.offer(rows, points, probe.logits(rows, points), "climb")


class _Way:
    """The gradient steps of a climb of images `rows` in the k-th ball; every point is offered to the tally."""

    def __init__(self, probe: Probe, k: int, figure: Figure, name: str, rows: np.ndarray) -> None:
        self.probe, self.rows, self.figure = probe, rows, figure
        self.ball, self.part = probe.tally.balls[k], probe.tally.of(rows)
        self.axes, self.taken = (name, figure, k), 0

    def corners(self, points: Tensor, steps: int) -> None:
        """Go each step to the point furthest along the running sum of the gradients; the tally keeps the best."""
        x, memory = self.part.x, torch.zeros_like(points)
        for _ in range(steps):
            memory = MOMENTUM * memory + self._gradient(points, None)
            points = self.ball.settle(x, self.ball.furthest(x, memory))

    def steps(self, points: Tensor, steps: int, surrogate: Surrogate, first: float) -> Tensor:
        """Take steps that shrink from `first` radii to a twentieth of that along a cosine; return the point after the last.

        Each is drawn back into the ball.
        """
        x, memory = self.part.x, torch.zeros_like(points)
        for step in range(steps):
            memory = SHRINKING_MOMENTUM * memory + self._gradient(points, surrogate)
            size = first * self.ball.eps * shrinking(step, steps)
            points = self.ball.settle(x, points - x + size * steepest(self.ball.norm, memory))
        return points

    def _gradient(self, points: Tensor, surrogate: Surrogate) -> Tensor:
        """Offer the points, and return the figure's gradients there, of length 1 each; random ones where they vanish."""

        def weigh(logits: np.ndarray, where: slice) -> np.ndarray:
            some = Start(self.part.indices[where], self.part.logits[where], self.part.x[where])
            if self.figure == "kappa":
                return toward_flip(some, logits)
            return _for_omega(some, logits, self.probe.seed, self.taken)

        logits, gradient = self.probe.pull(self.rows, points, weigh, surrogate)
        self.probe.tally.offer(self.rows, points, logits, "climb")
        dead = gradient.flatten(1).abs().amax(1) == 0
        if bool(dead.any()):
            gradient[dead] = self.probe.normal(self.rows[dead.numpy()], *self.axes, self.taken)
        self.taken += 1
        return unit(gradient)


def search_within(probe: Probe, k: int, figure: Figure, steps: int, name: str, rows: np.ndarray | None = None) -> None:
    """Take `steps` steps without gradients in the k-th ball, one pass each, in the turns of `PLAN`, or of `PLAN_OF_FEW`.

    `rows` are the images' numbers, all by default.
    """
    tally = probe.tally
    rows = np.arange(len(tally.start.x)) if rows is None else rows
    if not len(rows) or steps < 1:
        return
    ball, best, at = tally.balls[k], tally.best(figure)[k], torch.from_numpy(rows)
    x = tally.start.x[at]
    sizes = np.full(len(rows), 0.3)
    draws = [probe.generator(int(r), name, figure, k) for r in rows]
    walks = _Inward(probe, k, figure, rows)
    radius = torch.full((len(rows),), ball.eps)
    plan = PLAN if x[0, 0].numel() >= FEW else PLAN_OF_FEW
    for step in range(steps):
        before, d = best.value[rows], best.points[at] - x
        kind = plan[step % len(plan)]
        if kind == "patch":
            points = ball.settle(x, patched(ball.norm, radius, d, draws))
        elif kind == "noise":
            points = ball.settle(x, moved(ball, d, sizes, draws, step // len(plan)))
        else:
            points = walks.proposed(d, sizes, draws, step // len(plan))
        tried = tally.offer(rows, points, probe.logits(rows, points), "random")
        if kind == "inward":
            walks.judge(points, tried, step // len(plan))
        elif kind == "noise":
            sizes = np.clip(np.where(best.value[rows] > before, sizes * 1.6, sizes * 0.9), 0.01, 1.0)


class _Inward:
    """Walks into the k-th ball from points outside it where the figure is larger, along the level of the best inside.

    A step is that of a boundary walk, taken where the figure stays above the level. A walk that comes in has raised the
    level, and the next begins at the nearest point outside that is above the new one. A walk that `PATIENCE` steps have
    not shortened ends, and a random point further out begins the next.
    """

    def __init__(self, probe: Probe, k: int, figure: Figure, rows: np.ndarray) -> None:
        self.tally, self.k, self.figure, self.rows = probe.tally, k, figure, rows
        self.ball = self.tally.balls[k]
        self.part = self.tally.of(rows)
        self.points = self.part.x.clone()
        self.value = np.zeros(len(rows))
        self.radius = np.full(len(rows), np.inf)
        self.failed = np.zeros(len(rows), dtype=np.int64)
        self.sizes = {kind: np.full(len(rows), FIRST) for kind in KINDS}

    @property
    def level(self) -> np.ndarray:
        return np.asarray(self.tally.best(self.figure)[self.k].value[self.rows] * (1 + ROUNDING) + 1e-12)

    def proposed(self, d: Tensor, sizes: np.ndarray, draws: list[np.random.Generator], step: int) -> Tensor:
        """Return the next points of the walks (n, 3, H, W); of images that have none, d changed by a move of `sizes` (n)."""
        self._begin()
        points = torch.empty_like(self.points)
        walking = np.isfinite(self.radius)
        none, on, ended = (
            np.flatnonzero(which)
            for which in (~walking, walking & (self.failed < PATIENCE), walking & (self.failed >= PATIENCE))
        )
        if len(none):
            at = torch.from_numpy(none)
            own = [draws[r] for r in none]
            points[at] = self.ball.settle(self.part.x[at], moved(self.ball, d[at], sizes[none], own, step))
        if len(on):
            at, kind = torch.from_numpy(on), KINDS[step % len(KINDS)]
            x, own = self.part.x[at], [draws[r] for r in on]
            d = shorter(self.ball.norm, kind, self.points[at] - x, self.radius[on], self.sizes[kind][on], own)
            points[at] = (x + d).clamp(0, 1)
        if len(ended):
            at = torch.from_numpy(ended)
            x, own = self.part.x[at], [draws[r] for r in ended]
            wide = Ball(self.ball.norm, FURTHER * self.ball.eps)
            points[at] = (x + moved(wide, torch.zeros_like(x), np.ones(len(ended)), own, step)).clamp(0, 1)
        return points

    def judge(self, points: Tensor, tried: Tried, step: int) -> None:
        """Take the steps that are nearer and above the level; a new walk begins above it at any distance."""
        value, distance = tried.value(self.figure), tried.distance
        walking, new = np.isfinite(self.radius), self.failed >= PATIENCE
        # A point inside has just become the level itself.
        above = (value > self.level) | ((distance <= self.ball.eps) & (value >= self.level))
        taken = walking & (new | (distance < self.radius)) & above
        self.failed = np.where(taken, 0, self.failed + walking)
        for kind, s in self.sizes.items():
            if kind == KINDS[step % len(KINDS)]:
                s[walking] = np.clip(np.where(taken, s * GROW, s * SHRINK), LEAST, 1.0)[walking]
            s[new & taken] = FIRST
        self.points[torch.from_numpy(taken)] = points[torch.from_numpy(taken)]
        self.value, self.radius = np.where(taken, value, self.value), np.where(taken, distance, self.radius)

    def _begin(self) -> None:
        """Begin where a walk is below the level: at the nearest point outside that is above."""
        ended = ~np.isfinite(self.radius) | (self.value <= self.level)
        self.radius = np.where(ended, np.inf, self.radius)
        for best in self.tally.larger(self.k, self.figure):
            points, value = best.points[torch.from_numpy(self.rows)], best.value[self.rows]
            away = length(self.ball.norm, points.double() - self.part.x.double()).numpy()
            nearer = ended & (value > self.level) & (away < self.radius)
            self.points[torch.from_numpy(nearer)] = points[torch.from_numpy(nearer)]
            self.value, self.radius = np.where(nearer, value, self.value), np.where(nearer, away, self.radius)
            self.failed[nearer] = 0
            for s in self.sizes.values():
                s[nearer] = FIRST


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
