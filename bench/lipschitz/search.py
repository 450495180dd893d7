"""Searches the local modulus of continuity of a deployed network: how far its logits can move within a radius.

For an image x in the box [0, 1]^d, logits f, predicted class c = argmax f(x), and a ball of radius eps in norm p,

    omega_p(x; eps) = max ||f(x + d) - f(x)||_2                          over ||d||_p <= eps, x + d in the box
    kappa_p(x; eps) = max_d max_{j != c} change_j(d) / margin_j          change_j = (f_j - f_c)(x + d) - (f_j - f_c)(x)
                                                                         margin_j = (f_c - f_j)(x)

omega is finite for every network, also one that jumps; it is in the units of the logits, which have no natural scale.
kappa has none: it stays as it is under f -> a f + b 1, and kappa >= 1 exactly where the ball holds a point at which
another class draws level. Both are maxima, and what a search finds is a *lower bound* of them: a found kappa below 1
proves nothing.

A search spends a budget of passes an image, forward and backward counted, in equal shares for the radii. It goes
in rounds, which end at fixed sums of passes (150, 600, 2,400, 9,600), so that a larger effort begins as a smaller one,
and each round's end can be compared with the next. A round parts its passes between

    descent    to the nearest flip, along gradients through windows around the signs (`surrogates`), from several radii
    walk       along the boundary, from what descents found and from images of other classes; sees flips alone
    nearer     to a nearer flip of each image (`nearer`), in networks of signs and from the second round on: in linf by
               climbs, in l2 by sets of first signs if the image changes these in a way that is known in closed form
    climb      in each ball, for omega and kappa, along gradients, then at random

Every point counts in every ball that holds it. At last the best points are checked to lie where they may, and evaluated
by the deployed network once more: those values are the ones reported, with who found them. Without gradients, asked for or
because the network has none, descents and gradient climbs are left out, and their passes go to walks and random search.

Randomness depends on (seed, image's index in the data set, norm, part of the search) alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from lcrbench.bench.evaluation.subject import Subject
from lcrbench.bench.lipschitz.ball import Ball, length
from lcrbench.bench.lipschitz.climb import carry, search_ball
from lcrbench.bench.lipschitz.descent import Chain, Run, descend, toward_flip
from lcrbench.bench.lipschitz.nearer import climb_next, sets_next
from lcrbench.bench.lipschitz.options import Options
from lcrbench.bench.lipschitz.oracle import Oracle, checked, chosen
from lcrbench.bench.lipschitz.probe import Probe
from lcrbench.bench.lipschitz.results import Found, Look, Mark, Modulus, Start, kappas_of, omega_of
from lcrbench.bench.lipschitz.sets import Units, units_of
from lcrbench.bench.lipschitz.surrogates import Surrogate, Window
from lcrbench.bench.lipschitz.tally import FIGURES, Tally
from lcrbench.bench.lipschitz.turns import Turns
from lcrbench.bench.lipschitz.walk import HALVINGS, bisected, walk
from lcrbench.bench.records.by_image import Effort, ImageKey
from lcrbench.bench.seeds import generator

SURROGATES: tuple[Surrogate, ...] = (Window(4.0), Window(2.0, deep=0.5), Window(4.0, deep=0.5), None)
SHARES = {"descent": 0.35, "walk": 0.35, "climb": 0.3}
BLIND_SHARES = {"descent": 0.0, "walk": 0.5, "climb": 0.5}
"""Shares of a round's passes, with gradients and without."""
NEXT = {"l2": 0.65, "linf": 0.7}
"""Share of a later round's passes, in a network of signs, that goes to a nearer flip; the others share what is left.

In l2 without known sets it goes to nothing of the kind: there descents and walks find more than climbs.
"""
OTHERS = 32
"""Images of the data set that may serve as ends of walks."""
STEPS = 30
"""Steps of one descent at most."""


_remembered: list[tuple[Subject, Options, Modulus]] = []


def modulus(subject: Subject, options: Options) -> Modulus:
    """Return the measurement of a subject; those of the last one are remembered: several metrics share one search."""
    for known, how, result in _remembered:
        if known is subject and how == options:
            return result
    oracle, start = begin(subject, options)
    result = gathered(start, list(rounds(oracle, start, options)))
    remember(subject, options, result)
    return result


def remember(subject: Subject, options: Options, result: Modulus) -> None:
    """Let `modulus` return a result for a subject and options, instead of searching."""
    _remembered[:] = [r for r in _remembered if r[0] is subject and r[1] != options] + [(subject, options, result)]


def keep(subject: Subject, effort: Effort, options: Options, metric: str, ball: Ball, values: np.ndarray) -> None:
    """Keep a metric's figure of each image (n) beside the record; networks are ranked by it if the metric says so."""
    key = ImageKey.at(metric, effort, ball.norm, ball.eps)
    subject.keep(key, values, chosen(subject.test.labels, options.images))


@dataclass(frozen=True)
class Round:
    """The end of a round: what was found, the curves by norm, whether the network is blind, and what the next needs."""

    look: Look
    curves: dict[str, tuple[Mark, ...]]
    blind: bool
    state: dict[str, np.ndarray]


def gathered(start: Start, ended: list[Round]) -> Modulus:
    """Return the measurement that a search's rounds make."""
    last = ended[-1]
    return Modulus(start, tuple(r.look for r in ended[-2:]), last.curves, last.blind)


def begin(subject: Subject, options: Options) -> tuple[Oracle, Start]:
    """Return the oracle of a subject and the images that its measurement starts from; refuses what cannot be measured."""
    oracle = Oracle.of(subject, options.images)
    x = oracle.points()
    return oracle, Start(oracle.indices, oracle.logits(x), x)


def rounds(
    oracle: Oracle, start: Start, options: Options, saved: Sequence[dict[str, np.ndarray]] = ()
) -> Iterator[Round]:
    """Yield each round's end; `saved` are states of the first rounds, to go on from."""
    norms = options.norms()
    given = options.gradients and (bool(saved[0]["gradients"]) if saved else not blind(oracle, start))
    probes = {n: Probe(oracle, Tally(start, [b for b in options.balls() if b.norm == n]), options.seed) for n in norms}
    turns, units = None, None
    pools: dict[str, list[Chain]] = {n: [] for n in norms}
    curves: dict[str, list[Mark]] = {n: [] for n in norms}
    ends = _ends(oracle, start, options.seed)
    for number, effort in enumerate(options.looks()):
        assert effort.passes is not None
        if number == 1 and given and oracle.windows:  # the first round has no passes to spare
            turns = Turns(next(iter(probes.values())))
        if number == 1 and given and "l2" in probes:
            units = units_of(probes["l2"])
        for norm, probe in probes.items():
            if number < len(saved):
                pools[norm], curves[norm] = _restore(probe, saved[number])
                continue
            if norm == "linf" and "l2" in probes:
                _inherit(probe, probes["l2"].tally)
            passes = effort.passes * len(probe.tally.balls) // len(options.balls()) - int(probe.passes.max())
            pools[norm] = _round(
                probe, pools[norm], ends, number, passes, given, turns, units if norm == "l2" else None, curves[norm]
            )
        yield Round(
            Look(
                effort.model_copy(update={"gradients": given}),
                tuple(_verified(oracle, f, start) for p in probes.values() for f in p.tally.found()),
                {norm: _verified_radius(oracle, p.tally) for norm, p in probes.items()},
            ),
            {norm: tuple(curve) for norm, curve in curves.items()},
            options.gradients and not given,
            {"gradients": np.array(given)}
            | {k: v for norm, p in probes.items() for k, v in _state(p, pools[norm], curves[norm]).items()},
        )


def _inherit(probe: Probe, inner: Tally) -> None:
    """Offer what was found in l2 balls to the linf balls, which hold them."""
    rows = np.arange(len(inner.start.x))
    known = [inner.flips, *(best.points for best in [*inner.omega, *inner.kappa])]
    for points in known:
        probe.tally.offer(rows, points, probe.logits(rows, points), "climb")


def _round(
    probe: Probe,
    pool: list[Chain],
    ends: list[Tensor],
    number: int,
    passes: int,
    gradients: bool,
    turns: Turns | None,
    units: Units | None,
    curve: list[Mark],
) -> list[Chain]:
    """Spend a round's passes; return the chains to go on from."""
    tally = probe.tally
    share = SHARES if gradients else BLIND_SHARES
    climbs = tally.norm == "linf" and number > 0 and gradients and probe.oracle.windows
    of_next = int(NEXT[tally.norm] * passes) if units is not None or climbs else 0
    passes -= of_next
    chains = list(pool)
    if number:
        chains.append(Chain(tally.flips.clone(), tally.radius.copy()))
    mark = _marker(probe, curve)
    if gradients:
        for name, run, steps in _runs(tally.balls, number, int(passes * share["descent"]), probe.oracle.windows):
            chains.append(descend(probe, run, steps, name))
        mark()
    left = int(passes * share["walk"])
    if number or not gradients:
        some = 2 if gradients else 4
        chains += [bisected(probe, ends[(k + some * number) % len(ends)]) for k in range(some)]
        left -= some * (HALVINGS + 1)
    chains = walk(probe, chains, left - HALVINGS - 1, f"round {number}")
    bisected(probe, tally.flips)
    mark()
    if of_next:
        if units is not None:
            sets_next(probe, units, of_next, turns, f"round {number}")
        else:
            climb_next(probe, of_next, turns, f"round {number} next")
        mark()
    budget = int(passes * share["climb"]) // (2 * len(tally.balls)) - (len(tally.balls) - 1)
    for k in range(len(tally.balls)):
        for figure in FIGURES:
            carry(probe, k, figure)
            search_ball(probe, k, figure, budget, gradients, turns, f"round {number}")
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
        target, noise = (0, 0.0) if plain else (turn % 3, 0.5)
        # In a smooth network what is near the nearest flip is known. The others meet each target.
        again = windows and number > 0 and turn % 5 not in (0, 3)
        run = Run(radii[turn % 3], surrogate, target, noise, again)
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
    """Return the arrays of a norm from which the next round follows."""
    tally = probe.tally
    state = {"passes": probe.passes.copy(), "radius": tally.radius.copy(), "flips": tally.flips.numpy().copy()}
    for figure in FIGURES:
        for k, best in enumerate(tally.best(figure)):
            state |= {f"{figure} {k}": best.value.copy(), f"{figure} {k} points": best.points.numpy().copy()}
            state[f"{figure} {k} by"] = best.by.copy()
        best = tally.beyond[figure]
        state |= {f"{figure} beyond": best.value.copy(), f"{figure} beyond points": best.points.numpy().copy()}
    for k, chain in enumerate(pool):
        state |= {f"chain {k}": chain.radius.copy(), f"chain {k} points": chain.points.numpy().copy()}
    state["curve"] = np.array([(m.passes, *m.flips, *m.kappa, *m.omega) for m in curve])
    return {f"{tally.norm} {name}": array for name, array in state.items()}


def _restore(probe: Probe, state: dict[str, np.ndarray]) -> tuple[list[Chain], list[Mark]]:
    """Set a norm's tally and passes to a state, and return its chains and curve."""
    tally, n = probe.tally, len(probe.tally.balls)

    def of(name: str) -> np.ndarray:
        return state[f"{tally.norm} {name}"].copy()

    probe.passes, tally.radius, tally.flips = of("passes"), of("radius"), torch.from_numpy(of("flips"))
    for figure in FIGURES:
        for k, best in enumerate(tally.best(figure)):
            best.value, best.by = of(f"{figure} {k}"), of(f"{figure} {k} by")
            best.points = torch.from_numpy(of(f"{figure} {k} points"))
        best = tally.beyond[figure]
        best.value, best.points = of(f"{figure} beyond"), torch.from_numpy(of(f"{figure} beyond points"))
    pool: list[Chain] = []
    while f"{tally.norm} chain {len(pool)}" in state:
        name = f"chain {len(pool)}"
        pool.append(Chain(torch.from_numpy(of(f"{name} points")), of(name)))
    rows = [tuple(map(float, row)) for row in of("curve")]
    return pool, [Mark(int(r[0]), r[1 : 1 + n], r[1 + n : 1 + 2 * n], r[1 + 2 * n :]) for r in rows]


def _verified_radius(oracle: Oracle, tally: Tally) -> np.ndarray:
    """Return the distance of the nearest flip that the deployed network confirms (n), infinite without one.

    A gradient's own forward pass can round otherwise; then the flips of the balls, which are confirmed, count.
    """
    radius = np.full(len(tally.radius), np.inf)
    for points in [tally.flips, *(best.points for best in tally.kappa)]:
        flip = kappas_of(tally.start, oracle.logits(points)).max(1) >= 1
        away = length(tally.norm, points.double() - tally.start.x.double()).numpy()
        radius = np.where(flip, np.minimum(radius, away), radius)
    return radius


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
