"""Searches the local modulus of continuity of a deployed network: how far its logits can move within a radius.

For an image x in the box [0, 1]^d, logits f, predicted class c = argmax f(x), and a ball of radius eps in norm p,

    omega_p(x; eps) = max ||f(x + d) - f(x)||_2                          over ||d||_p <= eps, x + d in the box
    kappa_p(x; eps) = max_d max_{j != c} change_j(d) / margin_j          change_j = (f_j - f_c)(x + d) - (f_j - f_c)(x)
                                                                         margin_j = (f_c - f_j)(x)

omega is finite for every network, also one that jumps; it is in the units of the logits, which have no natural scale.
kappa has none: it stays as it is under f -> a f + b 1, and kappa >= 1 exactly where the ball holds a point at which
another class draws level. Both are maxima, and what a search finds is a *lower bound* of them: a found kappa below 1
proves nothing.

The search of one image and ball. Candidates are random points, and the points found at smaller radii ("warm"), which
makes the curves monotone. From the best candidate two chains climb, one for each figure, along the gradient at x + d of
<u, f>:

    omega    u = df / ||df||, df the change of the logits; where it vanishes, a class difference, so that a plateau does
             not end the chain; plus a random unit vector at every second step, for logits that have not moved yet
    kappa    u = e_j - e_c, j the class nearest to drawing level

The first half of a chain takes Frank-Wolfe steps, to the point of ball and box that is furthest along the direction; the
second half, from the best point so far, steps of 0.5 eps that are projected back. The direction is the running sum
sum_i 0.7^(t-i) g_i / ||g_i|| of the gradients. On a linear map Frank-Wolfe steps are power iterations and reach the
operator norm, where projected steps alone stay 15 % below.

At last the two best points are rounded to float32, their norm and box are verified in float64, and they are evaluated by
the deployed network once more: those values are the ones reported, together with who found them. The larger the share
of random finds, the less the gradients are worth (gradient masking).

Randomness depends on (seed, image's index in the data set, radius, candidate) alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from lcrbench.bench.evaluation.subject import Subject
from lcrbench.bench.lipschitz.ball import Ball
from lcrbench.bench.lipschitz.climb import climb
from lcrbench.bench.lipschitz.options import Options
from lcrbench.bench.lipschitz.oracle import Oracle, chosen
from lcrbench.bench.lipschitz.results import Found, Modulus, Start, best_of
from lcrbench.bench.records.by_image import ImageKey

_remembered: list[tuple[Subject, Options, Modulus]] = []


def modulus(subject: Subject, options: Options) -> Modulus:
    """Return the measurement of a subject; those of the last one are remembered: several metrics share one search."""
    for known, how, result in _remembered:
        if known is subject and how == options:
            return result
    oracle, start = begin(subject, options)
    results = list(balls(oracle, start, options))
    result = Modulus(start, tuple(f for f, _ in results), tuple(s for _, s in results))
    remember(subject, options, result)
    return result


def remember(subject: Subject, options: Options, result: Modulus) -> None:
    """Let `modulus` return a result for a subject and options, instead of searching."""
    _remembered[:] = [r for r in _remembered if r[0] is subject and r[1] != options] + [(subject, options, result)]


def keep(subject: Subject, options: Options, metric: str, ball: Ball, values: np.ndarray) -> None:
    """Keep a metric's figure of each image (n) beside the record; networks are ranked by it if the metric says so."""
    key = ImageKey.at(metric, options.effort, ball.norm, ball.eps)
    subject.keep(key, values, chosen(subject.test.labels, options.images))


def begin(subject: Subject, options: Options) -> tuple[Oracle, Start]:
    """Return the oracle of a subject and the images that its measurement starts from; refuses what cannot be measured."""
    oracle = Oracle.of(subject, options.images)
    x = oracle.points()
    return oracle, Start(oracle.indices, oracle.logits(x), x)


def balls(
    oracle: Oracle, start: Start, options: Options, known: Iterable[tuple[Found, tuple[float, ...]]] = ()
) -> Iterator[tuple[Found, tuple[float, ...]]]:
    """Yield what is found in each ball, and the mean omega of each single search; `known` are results to go on from."""
    given = {f.ball: (f, spread) for f, spread in known}
    earlier: list[Found] = []
    for ball in options.balls():
        if ball in given:
            found, spread = given[ball]
        else:
            # A smaller ball of the same norm lies inside this one, and so does an l2 ball in the linf ball of its radius.
            inside = [f for f in earlier if f.ball.eps <= ball.eps and f.ball.norm in ("l2", ball.norm)]
            warm = [f for norm in ("l2", "linf") for f in [g for g in inside if g.ball.norm == norm][-1:]]
            singles = [climb(oracle, start, ball, options, options.seed + k, warm) for k in range(options.searches)]
            found, spread = best_of(singles), tuple(float(f.omega.mean()) for f in singles)
        earlier.append(found)
        yield found, spread
