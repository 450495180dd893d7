"""Searches the local modulus of continuity of a deployed network: how far its logits can move within a radius.

For an image x in the box [0, 1]^d, logits f, predicted class c = argmax f(x), and a ball of radius eps in norm p,

    omega_p(x; eps) = max ||f(x + d) - f(x)||_2                          over ||d||_p <= eps, x + d in the box
    kappa_p(x; eps) = max_d max_{j != c} change_j(d) / margin_j          change_j = (f_j - f_c)(x + d) - (f_j - f_c)(x)
                                                                         margin_j = (f_c - f_j)(x)

omega is finite for every network, also one that jumps; it is in the units of the logits, which have no natural scale.
kappa has none: it stays as it is under f -> a f + b 1, and kappa >= 1 exactly where the ball holds a point at which
another class draws level. Both are maxima, and what a search finds is a *lower bound* of them: a found kappa below 1
proves nothing.

A search spends a budget of passes an image, forward and backward counted, in equal shares for the radii (`budget`). It goes
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
from lcrbench.bench.lipschitz.budget import Plan, inherited, plan, worth_turns
from lcrbench.bench.lipschitz.climb import carry, search_ball
from lcrbench.bench.lipschitz.descent import Chain, Run, descend, toward_flip
from lcrbench.bench.lipschitz.nearer import climb_next, sets_next
from lcrbench.bench.lipschitz.options import OTHERS, Options
from lcrbench.bench.lipschitz.oracle import Oracle, checked, chosen, need_finite
from lcrbench.bench.lipschitz.probe import Probe
from lcrbench.bench.lipschitz.results import Found, Look, Mark, Modulus, Start, kappas_of, not_finite, omega_of
from lcrbench.bench.lipschitz.sets import Units, units_of
from lcrbench.bench.lipschitz.state import restored, state_of
from lcrbench.bench.lipschitz.surrogates import Surrogate, Window
from lcrbench.bench.lipschitz.tally import FIGURES, Tally
from lcrbench.bench.lipschitz.turns import Turns
from lcrbench.bench.lipschitz.walk import bisected, walk
from lcrbench.bench.records.by_image import Effort, ImageKey
from lcrbench.bench.seeds import generator
from lcrbench.errors import UserError

SURROGATES: tuple[Surrogate, ...] = (Window(4.0), Window(2.0, deep=0.5), Window(4.0, deep=0.5), None)
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


def of_metric(subject: Subject, options: Options, metric: str) -> Modulus:
    """Return `modulus` for a metric, and note in its record how many points said nothing."""
    result = modulus(subject, options)
    if result.not_finite:
        subject.leave_out(
            metric,
            f"{result.not_finite:,} points that the search tried gave logits that are not finite: they count for nothing",
        )
    return result


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
    odd = sum(int(last.state[f"{norm} not finite"]) for norm in last.curves)
    return Modulus(start, tuple(r.look for r in ended[-2:]), last.curves, last.blind, odd)


def begin(subject: Subject, options: Options) -> tuple[Oracle, Start]:
    """Return the oracle of a subject and the images that its measurement starts from; refuses what cannot be measured."""
    oracle = Oracle.of(subject, options.images)
    x = oracle.points()
    diagonal = 255 * x[0].numel() ** 0.5
    if options.l2 and options.l2[-1] > diagonal:
        raise UserError(
            f"l2: a radius is at most {diagonal:.0f}/255, from one corner of the box of such images to the other, "
            f"not {options.l2[-1]:g}/255"
        )
    logits = oracle.logits(x)
    need_finite(logits, oracle.indices)
    return oracle, Start(oracle.indices, logits, x)


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
    before = dict.fromkeys(norms, 0)
    for number, effort in enumerate(options.looks()):
        assert effort.passes is not None
        shares = {n: effort.passes * len(p.tally.balls) // len(options.balls()) for n, p in probes.items()}
        each = {n: shares[n] - before[n] for n in norms}
        begins, before = before, dict(shares)
        # The first round has no passes to spare.
        if number == 1 and given and oracle.windows and worth_turns(each[norms[0]]):
            turns = Turns(next(iter(probes.values())))
            begins[norms[0]] += 2 * turns.z.shape[1]
        if number == 1 and given and "l2" in probes:
            units = units_of(probes["l2"])
        for norm, probe in probes.items():
            if number < len(saved):
                pools[norm], curves[norm] = restored(probe, saved[number])
                continue
            if norm == "linf" and "l2" in probes:
                begins[norm] += _inherit(probe, probes["l2"].tally, each[norm])
            known = units if norm == "l2" else None
            nearer = known is not None or (norm == "linf" and number > 0 and given and oracle.windows)
            planned = plan(norm, number, shares[norm] - begins[norm], gradients=given, nearer=nearer)
            mark = _marker(probe, curves[norm], planned.positions(begins[norm], shares[norm]))
            pools[norm] = _round(probe, pools[norm], ends, number, planned, given, turns, known, mark)
        _unchanged(oracle, start)
        found = {norm: [_verified(oracle, f, start) for f in p.tally.found()] for norm, p in probes.items()}
        yield Round(
            Look(
                effort.model_copy(update={"gradients": given}),
                tuple(f for of in found.values() for f in of),
                {norm: _verified_radius(oracle, p.tally, found[norm]) for norm, p in probes.items()},
            ),
            {norm: tuple(curve) for norm, curve in curves.items()},
            options.gradients and not given,
            {"gradients": np.array(given)}
            | {k: v for norm, p in probes.items() for k, v in state_of(p, pools[norm], curves[norm]).items()},
        )


def _inherit(probe: Probe, inner: Tally, passes: int) -> int:
    """Offer what was found in l2 balls to the linf balls, which hold them; return how many of a round's `passes` it took."""
    rows = np.arange(len(inner.start.x))
    balls = inherited(len(inner.balls), passes)
    known = [inner.flips, *(of[k].points for of in (inner.omega, inner.kappa) for k in balls)] if passes > 1 else []
    for points in known:
        probe.tally.offer(rows, points, probe.logits(rows, points), "climb")
    return len(known)


def _round(
    probe: Probe,
    pool: list[Chain],
    ends: list[Tensor],
    number: int,
    planned: Plan,
    gradients: bool,
    turns: Turns | None,
    units: Units | None,
    mark: Callable[[int], None],
) -> list[Chain]:
    """Spend a round's passes as planned; return the chains to go on from."""
    tally = probe.tally
    chains = list(pool)
    if number:
        chains.append(Chain(tally.flips.clone(), tally.radius.copy()))
    if gradients:
        for name, run, steps in _runs(tally.balls, number, planned.descent, probe.oracle.windows):
            chains.append(descend(probe, run, steps, name))
        mark(0)
    some = 2 if gradients else 4
    chains += [bisected(probe, ends[(k + some * number) % len(ends)]) for k in range(planned.ends)]
    if chains:
        chains = walk(probe, chains, max(0, planned.walk - planned.bisected), f"round {number}")
    if planned.settled:
        bisected(probe, tally.flips)
    mark(1)
    if planned.nearer:
        if units is not None:
            sets_next(probe, units, planned.nearer, turns, f"round {number}")
        else:
            climb_next(probe, planned.nearer, turns, f"round {number} next")
        mark(2)
    each = planned.climb // (2 * len(tally.balls))
    for k in range(len(tally.balls)):
        for figure in FIGURES:
            left = each - carry(probe, k, figure, each)
            search_ball(probe, k, figure, left, gradients, turns, f"round {number}")
    mark(3)
    return chains


def _runs(balls: list[Ball], number: int, passes: int, windows: bool) -> Iterator[tuple[str, Run, int]]:
    """Yield the names, plans and steps of a round's descents: radii, windows, targets and noise take turns."""
    count = max(1, passes // (2 * STEPS + 1))
    steps = (passes // count - 1) // 2
    if steps < 1:
        return
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


def others(oracle: Oracle, seed: int) -> np.ndarray:
    """Return the images (n, H, W, 3) of the data set that may serve as ends of walks."""
    images = oracle.subject.test.images
    draw = generator(seed, "search", "ends")
    return checked(images[np.sort(draw.choice(len(images), min(OTHERS, len(images)), replace=False))])


def _ends(oracle: Oracle, start: Start, seed: int) -> list[Tensor]:
    """Return ends of walks: for each image the nearest, second nearest ... of other images that have another class."""
    points = oracle.points(others(oracle, seed))
    logits = oracle.logits(points)
    classes = logits.argmax(1)
    away = torch.cdist(start.x.flatten(1), points.flatten(1)).numpy()
    useless = (classes[None] == start.logits.argmax(1)[:, None]) | not_finite(logits)[None]
    away = np.where(useless, np.inf, away)
    order = np.argsort(away, axis=1, kind="stable")[:, :8]
    return [points[torch.from_numpy(order[:, k])] for k in range(order.shape[1])]


def _marker(probe: Probe, curve: list[Mark], positions: tuple[int, ...]) -> Callable[[int], None]:
    """Return what adds the mark of a part of a round, at one of the planned `positions`, to a curve."""

    def mark(part: int) -> None:
        # A part without passes has no mark of its own.
        while curve and curve[-1].passes >= positions[part]:
            curve.pop()
        kappa = [best.value for best in probe.tally.kappa]
        flips, medians = (tuple(float(f(k)) for k in kappa) for f in (lambda k: (k >= 1).mean(), np.median))
        curve.append(Mark(positions[part], flips, medians))

    return mark


def _unchanged(oracle: Oracle, start: Start) -> None:
    """Refuse a network that by now answers otherwise to the images themselves: what was found would mean nothing."""
    if not np.array_equal(oracle.logits(start.x), start.logits):
        raise UserError(
            "the network is not deterministic: the same images give other logits after the search than before it; "
            "its forward pass may draw random numbers or change what it remembers"
        )


def _verified_radius(oracle: Oracle, tally: Tally, found: list[Found]) -> np.ndarray:
    """Return the distance of the nearest flip that the deployed network confirms (n), infinite without one.

    A gradient's own forward pass can round otherwise; then the flips `found` in the balls, which are confirmed, count.
    """
    radius = np.full(len(tally.radius), np.inf)
    nearest = kappas_of(tally.start, oracle.logits(tally.flips)).max(1) >= 1
    balls = ((f.flipped, oracle.points(f.kappa_points)) for f in found)
    for flip, points in [(nearest, tally.flips), *balls]:
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
