"""Gains in a shell, along the rays from an image to the points that a search found."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lcrbench.bench.evaluation.subject import Subject
from lcrbench.bench.lipschitz.ball import Ball
from lcrbench.bench.lipschitz.oracle import Oracle
from lcrbench.bench.lipschitz.results import Modulus, Start, images_of, omega_of

HALVINGS = 8


def _along(start: Start, away: Tensor, t: np.ndarray, ball: Ball) -> tuple[Tensor, np.ndarray]:
    """Return the points x + t * away in the box, and their distances from x in the ball's norm (n)."""
    points = (start.x + torch.from_numpy(t).float().view(-1, 1, 1, 1) * away).clamp(0, 1)
    return points, ball.length(points.double() - start.x.double()).numpy()


def shell_gains(subject: Subject, result: Modulus, norm: str) -> list[np.ndarray]:
    """Return for each ball of a norm the largest found ratio of the logits' change to the distance, (n) each:

        L_[r, eps](x) = max ||f(x + d) - f(x)||_2 / ||d||_p      over r <= ||d||_p <= eps, x + d in the box, r = eps / 2

    in logits per pixel unit, a lower bound. A jump counts at the distance where it happens and not at the ball's edge: on
    the rays to the points with the largest change, those of smaller balls too, the ratio is followed by bisection towards
    x; every point is evaluated.
    """
    start, found = result.start, result.of(norm)
    oracle = Oracle(subject, images_of(start.x))
    gains = []
    for k, f in enumerate(found):
        best = np.zeros(len(start.indices))
        least = f.ball.eps / 2
        for points in [g.omega_points for g in found[: k + 1] if g is f or g.ball.eps >= least]:
            away = oracle.points(points) - start.x
            reach = f.ball.length(away.double()).numpy()
            if not (reach > 0).any():
                continue
            # A hair inside both radii, so that rounding to float32 does not put points outside. What was found nearer to x
            # than the shell is carried out to its far side.
            safe = np.maximum(reach, 1e-30)
            low = least * (1 + 1e-5) / safe
            high = np.where(reach >= least, np.maximum(low, 1), f.ball.eps * (1 - 1e-5) / safe)
            ratio = np.zeros_like(reach)
            for step in range(HALVINGS + 2):
                t = high if step == 0 else low if step == 1 else (low + high) / 2
                y, length = _along(start, away, t, f.ball)
                inside = (length >= least) & (length <= f.ball.eps)
                here = np.where(inside, omega_of(start, oracle.logits(y)) / np.maximum(length, 1e-30), 0)
                better = here >= ratio
                ratio = np.maximum(ratio, here)
                if step == 1:
                    high = np.where(better, low, high)
                elif step > 1:
                    low, high = np.where(better, low, t), np.where(better, t, high)
            best = np.maximum(best, ratio)
        gains.append(best)
    return gains
