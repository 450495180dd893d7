"""What a search has found so far: the best points of each ball, and the nearest flips, over all points that were tried.

Every point that is evaluated counts in every ball that holds it, for both figures, whichever search evaluated it.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lcrbench.bench.lipschitz.ball import Ball, length
from lcrbench.bench.lipschitz.results import FOUND_BY, Found, Start, images_of, kappas_of, not_finite, omega_of

ROUNDING = 1e-6
"""Relative gain of a figure that may be rounding, and is none."""


Figure = Literal["omega", "kappa"]
FIGURES: tuple[Figure, ...] = ("omega", "kappa")


class Tried(NamedTuple):
    """What evaluated points are worth (n): both figures, and the distances from their images."""

    omega: np.ndarray
    kappa: np.ndarray
    distance: np.ndarray

    def value(self, figure: Figure) -> np.ndarray:
        """Return one figure (n)."""
        return self.omega if figure == "omega" else self.kappa


class Best:
    """The largest value of a figure so far for each image (N), its point, and who found it."""

    def __init__(self, x: Tensor) -> None:
        self.value = np.zeros(len(x))
        self.points = x.clone()
        self.by = np.zeros(len(x), dtype=np.int8)

    def offer(self, rows: np.ndarray, value: np.ndarray, points: Tensor, by: str) -> None:
        """Take what is better; an image may have several rows."""
        order = np.flatnonzero(value > self.value[rows] * (1 + ROUNDING))
        if not len(order):
            return
        order = order[np.argsort(value[order], kind="stable")]  # of several, the best comes last
        self.value[rows[order]] = value[order]
        self.by[rows[order]] = FOUND_BY.index(by)
        # Assignments with repeated indices have no order in torch: one row an image.
        last = {int(r): int(o) for r, o in zip(rows[order], order, strict=True)}
        self.points[list(last)] = points[list(last.values())]


class Tally:
    """The best points in the balls of one norm, and the nearest flip of each image."""

    def __init__(self, start: Start, balls: list[Ball]) -> None:
        self.start = start
        self.norm = balls[0].norm
        self.balls = balls
        self.omega = [Best(start.x) for _ in balls]
        self.kappa = [Best(start.x) for _ in balls]
        self.beyond: dict[Figure, Best] = {"omega": Best(start.x), "kappa": Best(start.x)}
        self.radius = np.full(len(start.x), np.inf)
        self.flips = start.x.clone()
        self.not_finite = 0
        """points that were offered with logits that are not finite"""

    def best(self, figure: Figure) -> list[Best]:
        """Return the best of a figure in each ball."""
        return self.omega if figure == "omega" else self.kappa

    def larger(self, k: int, figure: Figure) -> list[Best]:
        """Return the best of a figure in the balls larger than the k-th, and at any distance."""
        return [*self.best(figure)[k + 1 :], self.beyond[figure]]

    def of(self, rows: np.ndarray) -> Start:
        """Return the start of some rows."""
        if np.array_equal(rows, np.arange(len(self.start.x))):
            return self.start
        return Start(self.start.indices[rows], self.start.logits[rows], self.start.x[torch.from_numpy(rows)])

    def offer(self, rows: np.ndarray, points: Tensor, logits: np.ndarray, by: str) -> Tried:
        """Count evaluated points of images `rows`, and return what they are worth: nothing where logits are not finite."""
        part = self.of(rows)
        if not np.isfinite(logits).all():
            self.not_finite += int(not_finite(logits).sum())
        omega, kappa = omega_of(part, logits), kappas_of(part, logits).max(1)
        distance = length(self.norm, points.double() - part.x.double()).numpy()
        for ball, o, k in zip(self.balls, self.omega, self.kappa, strict=True):
            inside = distance <= ball.eps
            o.offer(rows, np.where(inside, omega, -np.inf), points, by)
            k.offer(rows, np.where(inside, kappa, -np.inf), points, by)
        self.beyond["omega"].offer(rows, omega, points, by)
        self.beyond["kappa"].offer(rows, kappa, points, by)
        for i in np.flatnonzero((kappa >= 1) & (distance < self.radius[rows])):
            if distance[i] < self.radius[rows[i]]:
                self.radius[rows[i]] = distance[i]
                self.flips[rows[i]] = points[i]
        return Tried(omega, kappa, distance)

    def found(self) -> list[Found]:
        """Return what was found in each ball, as it is now."""
        return [
            Found(b, o.value.copy(), k.value.copy(), images_of(o.points), images_of(k.points), o.by.copy(), k.by.copy())
            for b, o, k in zip(self.balls, self.omega, self.kappa, strict=True)
        ]
