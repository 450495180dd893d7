"""Descends from an image to the nearest flip along surrogate gradients, with a radius that follows success.

From a radius r a point steps along the running sum of the gradients of f_j - f_c (j the class nearest to drawing level,
or a given target for the first half of the steps), of unit length each, and is drawn back to length r from the image.
Where it has flipped, r shrinks by a constant share; where it has not, r grows likewise, up to just below the nearest flip
so far. The step falls from r to r / 20 along a cosine. (The radius rule is that of decoupled direction and norm, Rony et
al. 2019, arXiv 1811.09600.)

A descent begins at the image, or goes on from the nearest flip so far, with steps of a third and a radius that moves less.
On networks of signs such descents find nearer flips several times as often as new ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lcrbench.bench.lipschitz.ball import lengths, shortened, steepest, unit
from lcrbench.bench.lipschitz.probe import Probe
from lcrbench.bench.lipschitz.results import Start, kappas_of
from lcrbench.bench.lipschitz.surrogates import Surrogate

MOMENTUM = 0.7
REACH, NEAR_REACH = 10.0, 4.0
"""Factors by which the radius can fall or grow over a whole descent: from the image, and from a flip."""
NEAR_STEP, NEAR_NOISE = 0.3, 0.1
"""First step and noise of a descent from a flip, as shares of the radius."""


@dataclass(frozen=True)
class Run:
    """One descent: the radius it begins with, in pixel units, what it differentiates through, and the class it aims at.

    `target` k > 0 is the class with the k-th largest logit besides the predicted one; 0 the nearest to drawing level.
    `noise` is the length of the random displacement that it begins with, as a share of the radius. With `again` it aims at
    no target, and goes on from an image's nearest flip so far, if there is one, whatever `radius` and `noise` say.
    """

    radius: float
    surrogate: Surrogate = None
    target: int = 0
    noise: float = 0.0
    again: bool = False


@dataclass
class Chain:
    """Flips of all images found by one run or walk: points (N, 3, H, W) and distances (N), infinite without one."""

    points: Tensor
    radius: np.ndarray

    def offer(self, kappa: np.ndarray, distance: np.ndarray, points: Tensor) -> np.ndarray:
        """Take the nearer flips of one point an image; return where it did."""
        better = (kappa >= 1) & (distance < self.radius)
        self.radius = np.where(better, distance, self.radius)
        where = torch.from_numpy(better)
        self.points[where] = points[where]
        return better


def descend(probe: Probe, run: Run, steps: int, name: str) -> Chain:
    """Return the nearest flips of a descent of `steps` steps (two passes each, and one at the end)."""
    tally, start = probe.tally, probe.tally.start
    x, norm = start.x, tally.norm
    rows = np.arange(len(x))
    chain = Chain(x.clone(), np.full(len(x), np.inf))
    near = np.isfinite(tally.radius) & run.again
    going_on = torch.from_numpy(near).view(-1, 1, 1, 1)
    radius = np.where(near, 0.97 * tally.radius, np.minimum(run.radius, 0.97 * tally.radius))
    d = torch.where(going_on, _at_length(norm, tally.flips - x, radius), 0.0)
    noise = np.where(near, NEAR_NOISE, run.noise)
    if noise.any():
        d = d + steepest(norm, probe.normal(rows, name)) * _wide(noise * radius)
        d = torch.where(going_on, _at_length(norm, d, radius), d)
    memory = torch.zeros_like(x)
    change = np.where(near, NEAR_REACH, REACH) ** (1 / steps) - 1
    first = np.where(near, NEAR_STEP, 1.0)
    order = np.argsort(-start.logits, axis=1, kind="stable")
    for step in range(steps):
        points = (x + d).clamp(0, 1)
        target = run.target if not run.again and 2 * step < steps else 0
        aimed = order[:, min(target, order.shape[1] - 1)] if target else None

        def toward(logits: np.ndarray, where: slice, aimed: np.ndarray | None = aimed) -> np.ndarray:
            part = Start(start.indices[where], start.logits[where], x[where])
            return toward_flip(part, logits, None if aimed is None else aimed[where])

        logits, gradient = probe.pull(rows, points, toward, run.surrogate)
        _, kappa, distance = tally.offer(rows, points, logits, "descent")
        chain.offer(kappa, distance, points)
        memory = MOMENTUM * memory + unit(gradient)
        flipped = kappa >= 1
        radius = np.where(flipped, np.minimum(radius, distance) * (1 - change), radius * (1 + change))
        radius = np.minimum(radius, 0.99 * tally.radius)
        d = points - x + _wide(first * shrinking(step, steps) * radius) * steepest(norm, memory)
        d = _at_length(norm, d, radius)
    points = (x + d).clamp(0, 1)
    _, kappa, distance = tally.offer(rows, points, probe.logits(rows, points), "descent")
    chain.offer(kappa, distance, points)
    return chain


def shrinking(step: int, steps: int) -> float:
    """Return a step's size as a share of the first one's: from 1 to .05 along a cosine."""
    return 0.05 + 0.95 * (1 + math.cos(math.pi * step / steps)) / 2


def toward_flip(start: Start, logits: np.ndarray, target: np.ndarray | None = None) -> np.ndarray:
    """Return e_j - e_c (n, classes): j the target, else the class nearest to drawing level, at the image by margin."""
    n = np.arange(len(logits))
    c = start.logits.argmax(1)
    if target is None:
        lead = start.logits.copy()
        lead[n, c] = -np.inf
        still = (logits == start.logits).all(1)
        # Rounded, so that rounding does not choose among classes that are equally near.
        target = np.where(still, lead.argmax(1), kappas_of(start, logits).round(6).argmax(1))
    u = np.zeros_like(logits)
    u[n, target] = 1
    u[n, c] = -1
    return u


def _wide(radius: np.ndarray) -> Tensor:
    return torch.from_numpy(radius).float().view(-1, 1, 1, 1)


def _at_length(norm: str, d: Tensor, radius: np.ndarray) -> Tensor:
    """Return d drawn to the length `radius`: in l2 shrunk or stretched, in linf clipped."""
    if norm == "l2":
        return d * (_wide(radius) / lengths(d).clamp_min(1e-30))
    return shortened(norm, d, torch.from_numpy(radius))
