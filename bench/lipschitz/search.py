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

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from lcrbench.bench import stats
from lcrbench.bench.evaluation.inference import Subject
from lcrbench.bench.lipschitz.ball import NORMS, Ball
from lcrbench.bench.lipschitz.oracle import Oracle, chosen
from lcrbench.bench.records.record import Bound, in_255
from lcrbench.bench.seeds import generator
from lcrbench.errors import UserError, unknown

PROJECTED = 0.5
"""Length of a projected step as a share of the radius."""

MOMENTUM = 0.7
"""Weight of the earlier gradients of a chain. Pseudo-gradients are noisy: on small sign networks, at 5 steps, it finds
5 to 15 % more at l2 128/255 and linf 8/255 than none, and the same at l2 8/255."""


@dataclass(frozen=True)
class Options:
    """Which images and radii, and how hard to search.

    `l2` and `linf`: radii in 1/255 pixel units. `images`: number of test images, evenly spaced over the classes. An image
    and radius gets `restarts` rounds of `random` candidates and two chains of `steps` steps; `searches` repeats all of it
    with other seeds, and the best of them counts.
    """

    l2: tuple[float, ...] = (2.0, 8.0, 128.0)
    linf: tuple[float, ...] = ()
    images: int = 100
    random: int = 5
    steps: int = 5
    restarts: int = 1
    searches: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        for norm in NORMS:
            # 8 and 8.0 are one radius, and one spec.
            radii = tuple(sorted({float(r) for r in getattr(self, norm)}))
            object.__setattr__(self, norm, radii)
            for radius in radii:
                if not 0 < radius < float("inf"):
                    raise UserError(f"{norm}: a radius is a positive number of 1/255, not {radius:g}")
                if norm == "linf" and radius > 255:
                    raise UserError(
                        f"linf: a radius is at most 255/255, the whole range of a pixel, not {radius:g}/255"
                    )
        if not (self.l2 or self.linf):
            raise UserError("name at least one radius")
        least = {"images": 1, "random": 1, "restarts": 1, "searches": 1, "steps": 0, "seed": 0}
        for name, value in least.items():
            if getattr(self, name) < value:
                raise UserError(f"{name} is at least {value}, not {getattr(self, name)}")

    def balls(self) -> list[Ball]:
        """Return the balls in the order of the search: l2 first, each norm from the smallest radius."""
        return [Ball(norm, r / 255) for norm in NORMS for r in getattr(self, norm)]

    def efforts(self) -> list[Options]:
        """Return this effort, after the quick one on the same images and radii if this one looks harder.

        An order of two networks counts only if both find it.
        """
        one = PRESETS["quick"]
        quick = replace(self, random=one.random, steps=one.steps, restarts=one.restarts, searches=one.searches)
        return [quick, self] if self.passes > quick.passes else [self]

    @property
    def passes(self) -> int:
        """Return about how many passes of single images through the network the search takes."""
        chains = self.restarts * (self.random + 2 * (self.steps + bool(self.steps))) * self.searches
        return self.images * len(self.balls()) * (chains + 2)

    @property
    def effort(self) -> str:
        """Say how hard the search looks, in words for a table's note."""
        rounds = self.restarts * self.searches
        one = f"{self.random * rounds} random candidates and 2 x {self.steps * rounds} steps an image and radius"
        return one + (f", {self.searches} searches" if self.searches > 1 else "")


PRESETS = {
    "quick": Options(),
    "default": Options(l2=(2, 8, 32, 128), linf=(2, 8), images=500),
    "full": Options(
        l2=(1, 2, 4, 8, 16, 32, 64, 128, 255),
        linf=(1, 2, 4, 8),
        images=500,
        random=10,
        steps=10,
        restarts=2,
        searches=3,
    ),
}


def preset(name: str) -> Options:
    """Return the options of "quick", "default" or "full"."""
    if name not in PRESETS:
        raise unknown("Lipschitz preset", name, PRESETS)
    return PRESETS[name]


FOUND_BY = ("nobody", "random", "warm", "frank-wolfe", "projected")
"""Who found a point; the number in `Found` is the place in this list."""

FINDERS: dict[str, tuple[str, Bound]] = {f"found by {who}": ("fraction of images", "exact") for who in FOUND_BY[1:]}
"""Unit and bound of the statistics that `finders` returns."""


def finders(by: np.ndarray) -> dict[str, stats.Interval]:
    """Return for each part of the search the share of images whose largest figure it found, from a `Found`'s (n)."""
    return {name: stats.proportion(int((by == k).sum()), len(by)) for k, name in enumerate(FINDERS, 1)}


@dataclass(frozen=True)
class Found:
    """What was found for n images in one ball. All arrays have n rows; points are images (n, H, W, 3) float32."""

    ball: Ball
    omega: np.ndarray
    """||f(y) - f(x)||_2 at `omega_points`, in logits"""
    kappa: np.ndarray
    """largest margin change over margin at `kappa_points`; at an image that is itself a tie at least 1, infinite if moved"""
    omega_points: np.ndarray
    kappa_points: np.ndarray
    omega_by: np.ndarray
    kappa_by: np.ndarray

    @property
    def gain(self) -> np.ndarray:
        """Return omega / eps, in logits per pixel unit."""
        return self.omega / self.ball.eps

    @property
    def flipped(self) -> np.ndarray:
        """Tell for which images another class was found to draw level: kappa >= 1."""
        return self.kappa >= 1


@dataclass(frozen=True)
class Start:
    """The images of a measurement before anything moves: indices (n), logits (n, classes), and the points x."""

    indices: np.ndarray
    logits: np.ndarray
    x: Tensor

    @property
    def margins(self) -> np.ndarray:
        """Return f_c - max_{j != c} f_j (n), in logits; c the predicted class."""
        top = np.sort(self.logits, axis=1)
        return np.asarray(top[:, -1] - top[:, -2])

    @property
    def scale(self) -> float:
        """Return the root mean square over images of the logits, each row centred: the natural unit of these logits."""
        centred = self.logits - self.logits.mean(1, keepdims=True)
        return float(np.sqrt(np.square(centred).sum(1).mean()))


@dataclass(frozen=True)
class Modulus:
    """A whole measurement: the start, and what was found in each ball, in the order of `Options.balls`.

    `spread` has for each ball the mean omega that each single search found, to tell how much the search's seed matters.
    """

    start: Start
    found: tuple[Found, ...]
    spread: tuple[tuple[float, ...], ...]

    def of(self, norm: str) -> list[Found]:
        """Return what was found in the balls of one norm, by increasing radius."""
        return [f for f in self.found if f.ball.norm == norm]


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


def keep(subject: Subject, options: Options, figure: str, ball: Ball, values: np.ndarray) -> None:
    """Leave a figure of each image for the run's by_image file, under "lipschitz/EFFORT/FIGURE/NORM/RADIUS in 1/255".

    "lipschitz/images" are the images' indices, and "lipschitz/pixels" a hash of what they show: figures of images of another
    data set or size do not compare.
    """
    indices = chosen(subject.test.labels, options.images)
    if not np.array_equal(subject.by_image.get("lipschitz/images", ()), indices):
        images = np.ascontiguousarray(subject.test.images[indices])
        digest = hashlib.sha256(f"{images.shape} {images.dtype}".encode() + images.tobytes()).digest()
        subject.by_image["lipschitz/images"] = indices
        subject.by_image["lipschitz/pixels"] = np.frombuffer(digest, dtype=np.uint8)
    name = f"lipschitz/{options.effort}/{figure}/{ball.norm}/{in_255(ball.eps):.9g}"
    subject.by_image[name] = values.astype(np.float32)


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
            singles = [_search(oracle, start, ball, options, options.seed + k, warm) for k in range(options.searches)]
            found, spread = _best(singles), tuple(float(f.omega.mean()) for f in singles)
        earlier.append(found)
        yield found, spread


HALVINGS = 8


def flip_radii(subject: Subject, result: Modulus, norm: str) -> np.ndarray:
    """Return for each image the smallest ||y - x||_p at which a flip was found, infinite without one (n).

    The flip in the smallest ball that has one is moved back towards x by bisection; every point is evaluated.
    """
    start, found = result.start, result.of(norm)
    oracle = Oracle(subject, _images(start.x))
    radii = np.full(len(start.indices), np.inf)
    away = torch.zeros_like(start.x)
    for f in reversed(found):
        where = torch.from_numpy(f.flipped)
        away[where] = (oracle.points(f.kappa_points) - start.x)[where]
    low, high = np.zeros(len(radii)), np.ones(len(radii))
    has = away.flatten(1).abs().amax(1).numpy() > 0
    if not has.any():
        return radii
    ball = found[-1].ball
    for k in range(HALVINGS + 1):
        t = (low + high) / 2 if k else high
        points, length = _along(start, away, t, ball)
        flip = (kappas_of(start, oracle.logits(points)).max(1) >= 1) & has
        radii = np.where(flip, np.minimum(radii, length), radii)
        low, high = np.where(flip, low, t), np.where(flip, t, high)
        if k == 0:
            low, high = np.zeros(len(radii)), np.ones(len(radii))
    return radii


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
    oracle = Oracle(subject, _images(start.x))
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


def omega_of(start: Start, logits: np.ndarray) -> np.ndarray:
    """Return ||f(y) - f(x)||_2 (n)."""
    return np.asarray(np.linalg.norm(logits - start.logits, axis=1))


def kappas_of(start: Start, logits: np.ndarray) -> np.ndarray:
    """Return change_j / margin_j for each class (n, classes); -inf for the predicted class.

    It is written 1 + (f_j - f_c)(y) / margin_j, which is the same, and at least 1 exactly where f_j draws level: so it is 1
    where the image itself is a tie that has not moved.
    """
    n = np.arange(len(logits))
    c = start.logits.argmax(1)
    margin = start.logits[n, c][:, None] - start.logits
    lead = logits - logits[n, c][:, None]
    tie = np.where(lead > 0, np.inf, np.where(lead < 0, -np.inf, 1.0))
    ratio = np.where(margin > 0, 1 + lead / np.where(margin > 0, margin, 1), tie)
    ratio[n, c] = -np.inf
    return np.asarray(ratio)


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


def _search(oracle: Oracle, start: Start, ball: Ball, options: Options, seed: int, warm: list[Found]) -> Found:
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
        _images(omega.points),
        _images(kappa.points),
        omega.by,
        kappa.by,
    )


def _images(points: Tensor) -> np.ndarray:
    return np.ascontiguousarray(points.permute(0, 2, 3, 1).numpy())


def _best(found: list[Found]) -> Found:
    """Return for each image the best of several searches in one ball."""
    first, *others = found
    parts = {f.name: getattr(first, f.name).copy() for f in fields(Found) if f.name != "ball"}
    for other in others:
        for figure in ("omega", "kappa"):
            better = getattr(other, figure) > parts[figure]
            for name in (figure, f"{figure}_points", f"{figure}_by"):
                parts[name][better] = getattr(other, name)[better]
    return Found(first.ball, **parts)
