"""Searches the local modulus of continuity of a deployed network: how far its logits can move within a radius.

For an image x in the box [0, 1]^d, logits f, predicted class c = argmax f(x), and a ball of radius eps in norm p,

    omega_p(x; eps) = max ||f(x + d) - f(x)||_2                          over ||d||_p <= eps, x + d in the box
    kappa_p(x; eps) = max_d max_{j != c} change_j(d) / margin_j          change_j = (f_j - f_c)(x + d) - (f_j - f_c)(x)
                                                                         margin_j = (f_c - f_j)(x)

omega is finite for every network, also one that jumps; it is in the units of the logits, which have no natural scale.
kappa has none: it stays as it is under f -> a f + b 1, and kappa >= 1 exactly where the ball holds a point at which
another class draws level. Both are maxima, and what a search finds is a *lower bound* of them: a found kappa below 1
proves nothing.

The search of a norm spends a budget of passes an image, forward and backward counted, the same for every network. It goes
in rounds, which end at fixed sums of passes (80, 320, 1,280, 5,120), so that a larger effort begins as a smaller one and
each round's end can be compared with the next. A round parts its passes between

    descent    to the nearest flip, along gradients through windows around the signs (`surrogates`), from several radii
    walk       along the boundary, from what descents found and from images of other classes; sees flips alone
    climb      in each ball, for omega and kappa, along gradients, then at random

Every point counts in every ball that holds it. At last the best points are checked to lie where they may, and evaluated
by the deployed network once more: those values are the ones reported, with who found them. Without gradients, asked for or
because the network has none, descents and gradient climbs are left out, and their passes go to walks and random search.

Randomness depends on (seed, image's index in the data set, norm, part of the search) alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from lcrbench.bench.evaluation.subject import Subject
from lcrbench.bench.lipschitz.ball import Ball
from lcrbench.bench.lipschitz.climb import climb, search_within
from lcrbench.bench.lipschitz.descent import Chain, Run, descend, toward_flip
from lcrbench.bench.lipschitz.options import Options
from lcrbench.bench.lipschitz.oracle import Oracle, checked
from lcrbench.bench.lipschitz.probe import Probe
from lcrbench.bench.lipschitz.results import Found, Start, kappas_of, omega_of
from lcrbench.bench.lipschitz.surrogates import Surrogate, Window
from lcrbench.bench.lipschitz.tally import Tally
from lcrbench.bench.lipschitz.walk import bisected, walk
from lcrbench.bench.seeds import generator

SURROGATES: tuple[Surrogate, ...] = (Window(4.0), Window(2.0, deep=0.5), Window(4.0, deep=0.5), None)
SHARES = {"descent": 0.4, "walk": 0.4, "climb": 0.2}
"""Shares of a round's passes."""
OTHERS = 32
"""Images of the data set that may serve as ends of walks."""
STEPS = 30
"""Steps of one descent at most."""


@dataclass(frozen=True)
class Mark:
    """A point of the convergence curve: passes an image, and in each ball the share of flips, median kappa, mean omega."""

    passes: int
    flips: tuple[float, ...]
    kappa: tuple[float, ...]
    omega: tuple[float, ...]


@dataclass(frozen=True)
class Round:
    """What a search has found when a round ends: its passes an image in all, each ball's finds, the curve, its state."""

    passes: int
    found: tuple[Found, ...]
    radius: np.ndarray
    """distance of the nearest flip (N), infinite without one"""
    curve: tuple[Mark, ...]
    state: dict[str, np.ndarray]


def begin(subject: Subject, options: Options) -> tuple[Oracle, Start]:
    """Return the oracle of a subject and the images that its measurement starts from; refuses what cannot be measured."""
    oracle = Oracle.of(subject, options.images)
    x = oracle.points()
    return oracle, Start(oracle.indices, oracle.logits(x), x)


def rounds(
    oracle: Oracle, start: Start, options: Options, norm: str, saved: list[dict[str, np.ndarray]]
) -> Iterator[Round]:
    """Yield what is found in the balls of a norm at the end of each round; `saved` are the states of rounds to go on from."""
    balls = [b for b in options.balls() if b.norm == norm]
    gradients = options.gradients and not blind(oracle, start)
    probe = Probe(oracle, Tally(start, balls), options.seed)
    pool: list[Chain] = []
    ends = _ends(oracle, start, options.seed)
    curve: list[Mark] = []
    spent = 0
    for number, until in enumerate(options.rounds()):
        if number < len(saved):
            pool, curve = _restore(probe, saved[number])
        else:
            passes = until - spent
            pool = _round(probe, pool, ends, number, passes, gradients, curve)
        spent = until
        found = tuple(_verified(oracle, probe.tally.found(k), start) for k in range(len(balls)))
        yield Round(until, found, probe.tally.radius.copy(), tuple(curve), _state(probe, pool, curve))


def _round(
    probe: Probe, pool: list[Chain], ends: list[Tensor], number: int, passes: int, gradients: bool, curve: list[Mark]
) -> list[Chain]:
    """Spend a round's passes; return the chains to go on from."""
    tally = probe.tally
    share = dict(SHARES) if gradients else {"descent": 0.0, "walk": 0.7, "climb": 0.3}
    chains = list(pool)
    mark = _marker(probe, curve)
    if gradients:
        for name, run, steps in _runs(tally.balls, number, int(passes * share["descent"]), probe.oracle.windows):
            chains.append(descend(probe, run, steps, name))
        mark()
    left = int(passes * share["walk"])
    if number or not gradients:
        some = 2 if gradients else 4
        chains += [bisected(probe, ends[(k + some * number) % len(ends)]) for k in range(some)]
        left -= some * 9
    chains = walk(probe, chains, left, f"round {number}")
    mark()
    for k in range(len(tally.balls)):
        for figure in ("omega", "kappa"):
            budget = int(passes * share["climb"]) // (2 * len(tally.balls))
            steps = (2 * budget // 3 - 1) // 2 if gradients else 0
            window: Surrogate = None if number % 2 else Window(4.0)
            climb(probe, k, figure, window, steps, f"round {number}")
            search_within(probe, k, figure, budget - (2 * steps + 1 if steps else 0), f"round {number} at random")
    mark()
    return chains


def _runs(balls: list[Ball], number: int, passes: int, windows: bool) -> Iterator[tuple[str, Run, int]]:
    """Yield the names, plans and steps of a round's descents: radii, windows, targets and noise take turns."""
    count = max(1, passes // (2 * STEPS + 1))
    steps = (passes // count - 1) // 2
    small, large = balls[0].eps, balls[-1].eps
    radii = (large, small, (small * large) ** 0.5)
    for k in range(count):
        turn = k + (2**number - 1 if number else 0)
        plain = turn < len(radii)
        surrogate = SURROGATES[turn % len(SURROGATES)] if windows else None
        run = Run(radii[turn % 3], surrogate, 0 if plain else turn % 3, 0.0 if plain else 0.5)
        yield f"round {number} descent {k}", run, steps


def blind(oracle: Oracle, start: Start) -> bool:
    """Tell whether a network gives (nearly) no gradient: zero for 95 % of the images, for the class difference there."""

    def toward(logits: np.ndarray, where: slice) -> np.ndarray:
        return toward_flip(Start(start.indices[where], start.logits[where], start.x[where]), logits)

    _, gradient = oracle.pull(start.x, toward)
    return float((gradient.flatten(1).abs().amax(1) == 0).float().mean()) >= 0.95


def _ends(oracle: Oracle, start: Start, seed: int) -> list[Tensor]:
    """Return ends of walks: for each image the nearest, second nearest ... of other images that have another class."""
    images = oracle.subject.test.images
    draw = generator(seed, "search", "ends")
    some = np.sort(draw.choice(len(images), min(OTHERS, len(images)), replace=False))
    points = oracle.points(checked(images[some]))
    classes = oracle.logits(points).argmax(1)
    away = torch.cdist(start.x.flatten(1), points.flatten(1)).numpy()
    away = np.where(classes[None] == start.logits.argmax(1)[:, None], np.inf, away)
    order = np.argsort(away, axis=1, kind="stable")[:, :8]
    return [points[torch.from_numpy(order[:, k])] for k in range(order.shape[1])]


def _marker(probe: Probe, curve: list[Mark]) -> Callable[[], None]:
    def mark() -> None:
        tally = probe.tally
        curve.append(
            Mark(
                int(probe.passes.max()),
                tuple(float((k.value >= 1).mean()) for k in tally.kappa),
                tuple(float(np.median(k.value)) for k in tally.kappa),
                tuple(float(o.value.mean()) for o in tally.omega),
            )
        )

    return mark


def _state(probe: Probe, pool: list[Chain], curve: list[Mark]) -> dict[str, np.ndarray]:
    """Return the arrays from which the next round follows."""
    tally = probe.tally
    state = {"passes": probe.passes.copy(), "radius": tally.radius.copy(), "flips": tally.flips.numpy().copy()}
    for figure in ("omega", "kappa"):
        for k, best in enumerate(getattr(tally, figure)):
            state |= {f"{figure} {k}": best.value.copy(), f"{figure} {k} points": best.points.numpy().copy()}
            state[f"{figure} {k} by"] = best.by.copy()
    for k, chain in enumerate(pool):
        state |= {f"chain {k}": chain.radius.copy(), f"chain {k} points": chain.points.numpy().copy()}
    state["curve"] = np.array([(m.passes, *m.flips, *m.kappa, *m.omega) for m in curve])
    return state


def _restore(probe: Probe, state: dict[str, np.ndarray]) -> tuple[list[Chain], list[Mark]]:
    """Set tally and passes to a state, and return its chains and curve."""
    tally, n = probe.tally, len(probe.tally.balls)
    probe.passes = state["passes"].copy()
    tally.radius, tally.flips = state["radius"].copy(), torch.from_numpy(state["flips"].copy())
    for figure in ("omega", "kappa"):
        for k, best in enumerate(getattr(tally, figure)):
            best.value, best.by = state[f"{figure} {k}"].copy(), state[f"{figure} {k} by"].copy()
            best.points = torch.from_numpy(state[f"{figure} {k} points"].copy())
    pool = []
    while (name := f"chain {len(pool)}") in state:
        pool.append(Chain(torch.from_numpy(state[f"{name} points"].copy()), state[name].copy()))
    parts = [tuple(map(float, row)) for row in state["curve"]]
    curve = [Mark(int(r[0]), r[1 : 1 + n], r[1 + n : 1 + 2 * n], r[1 + 2 * n :]) for r in parts]
    return pool, curve


def _verified(oracle: Oracle, found: Found, start: Start) -> Found:
    """Return finds as the deployed network values them once more, after checking that the points are where they may be."""
    omega, kappa = oracle.points(found.omega_points), oracle.points(found.kappa_points)
    for points in (omega, kappa):
        inside = found.ball.length(points.double() - start.x.double()) <= found.ball.eps
        if not bool(inside.all() and (points >= 0).all() and (points <= 1).all()):
            ball = found.ball
            raise RuntimeError(
                f"the search left the {ball.norm} ball of radius {ball.eps} or the box: a fault of lcrbench"
            )
    return replace(
        found,
        omega=omega_of(start, oracle.logits(omega)),
        kappa=np.maximum(kappas_of(start, oracle.logits(kappa)).max(1), 0),
    )
