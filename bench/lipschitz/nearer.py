"""Looks for a nearer flip of each image than is known: by sets of first signs, or by climbs in the ball that holds none yet.

Descents and walks shorten a flip that was found. In some networks of signs the first flip within a ball is what is hard to
find, because many small changes of all pixels together lead there: a climb for kappa inside that ball finds it. In linf a
climb of the same kind, in a ball smaller than the nearest flip's distance, also shortens a flip sooner than a walk does.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lcrbench.bench.lipschitz.ball import boxed, shortened
from lcrbench.bench.lipschitz.climb import search_ball
from lcrbench.bench.lipschitz.moves import patched
from lcrbench.bench.lipschitz.probe import Probe
from lcrbench.bench.lipschitz.sets import Units, search_sets
from lcrbench.bench.lipschitz.tally import FIGURES, Tally
from lcrbench.bench.lipschitz.turns import Turns

NEARER = 0.7
"""Radius in which a nearer flip is looked for, as a share of the nearest one's distance."""
FAR = 0.7
"""Share of the passes of sets that goes to a climb first, of an image without a flip in any ball."""
EACH = 0.5
"""Share of the passes of sets that goes to climbs in each ball first, of an image with a flip in all balls."""


def sets_next(probe: Probe, units: Units, passes: int, turns: Turns | None, name: str) -> None:
    """Spend `passes` on a nearer flip of each image by sets of first signs: half from none, half from the nearest flip.

    Which of the two finds more depends on the network. An image without a flip in any ball first climbs in the largest: so
    many signs turn there that sets tell less. One with a flip in all balls first climbs in each: omega and kappa are what
    is still looked for there.
    """
    empty, far, each = _empty(probe.tally), int(FAR * passes), int(EACH * passes)
    last = len(probe.tally.balls)
    search_ball(probe, last - 1, "kappa", far, True, turns, f"{name} far", np.flatnonzero(empty == last))
    climb_each(probe, each, turns, f"{name} each", np.flatnonzero(empty == 0))
    for rows, left in (
        (np.flatnonzero((empty > 0) & (empty < last)), passes),
        (np.flatnonzero(empty == last), passes - far),
        (np.flatnonzero(empty == 0), passes - each),
    ):
        search_sets(probe, units, left // 2, f"{name} sets anew", rows, "none")
        search_sets(probe, units, left - left // 2, f"{name} sets", rows, "flip")


def climb_next(probe: Probe, passes: int, turns: Turns | None, name: str) -> None:
    """Spend `passes` on a nearer flip of each image by climbs.

    An image climbs in the largest ball without a flip of it: where many directions lead to one, gradients see them. With a
    flip in all balls, half of its passes bring that nearer, and the other half go to climbs in each ball.
    """
    empty = _empty(probe.tally)
    for count in range(1, len(probe.tally.balls) + 1):
        rows = np.flatnonzero(empty == count)
        search_ball(probe, count - 1, "kappa", passes, True, turns, f"{name} {count}", rows)
    bring_nearer(probe, passes // 2, f"{name} nearer", np.flatnonzero(empty == 0))
    climb_each(probe, passes - passes // 2, turns, f"{name} each", np.flatnonzero(empty == 0))


def climb_each(probe: Probe, passes: int, turns: Turns | None, name: str, rows: np.ndarray) -> None:
    """Spend `passes` of each of the images `rows` on climbs for omega and kappa in each ball, in equal shares."""
    balls = probe.tally.balls
    for k in range(len(balls)):
        for figure in FIGURES:
            search_ball(probe, k, figure, passes // (2 * len(balls)), True, turns, name, rows)


def _empty(tally: Tally) -> np.ndarray:
    """Return the number of balls, from the smallest on, that hold no flip yet, of each image (n)."""
    return np.array([sum(b.eps < r for b in tally.balls) for r in tally.radius])


def bring_nearer(probe: Probe, passes: int, name: str, rows: np.ndarray) -> None:
    """Spend `passes` of each of the images `rows`, which have a flip, on patches in the ball of 0.7 r around the image.

    r is the distance of the nearest flip so far. From that flip, drawn into the ball, patches are tried, and taken where
    kappa grows. After a flip inside, the ball shrinks, and the point is drawn into it.
    """
    tally = probe.tally
    rows = rows[np.isfinite(tally.radius[rows])]
    if not len(rows):
        return
    at = torch.from_numpy(rows)
    x, draws = tally.start.x[at], [probe.generator(int(r), name) for r in rows]

    def reach() -> Tensor:
        return NEARER * torch.from_numpy(tally.radius[rows])

    def drawn(d: Tensor) -> Tensor:
        return shortened(tally.norm, boxed(x, d), reach())

    d = drawn(tally.flips[at] - x)
    tried, value = d, np.full(len(rows), -np.inf)
    for _ in range(passes):
        points, before = (x + tried).clamp(0, 1), tally.radius[rows]
        kappa = tally.offer(rows, points, probe.logits(rows, points), "walk").kappa
        better = kappa > value
        d = torch.where(torch.from_numpy(better).view(-1, 1, 1, 1), points - x, d)
        shrunk = tally.radius[rows] < before
        # What a drawn point is worth is not known before it is tried itself.
        value = np.where(shrunk, -np.inf, np.where(better, kappa, value))
        d = drawn(d)
        changed = drawn(patched(tally.norm, reach(), d, draws))
        tried = torch.where(torch.from_numpy(shrunk).view(-1, 1, 1, 1), d, changed)
