"""Looks for a nearer flip of each image than is known: by sets of first signs, or by climbs in the ball that holds none yet.

Descents and walks shorten a flip that was found. In some networks of signs the first flip within a ball is what is hard to
find, because many small changes of all pixels together lead there: a climb for kappa inside that ball finds it. In linf a
climb of the same kind, in a ball smaller than the nearest flip's distance, also shortens a flip sooner than a walk does.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lcrbench.bench.lipschitz.ball import shortened
from lcrbench.bench.lipschitz.climb import search_ball
from lcrbench.bench.lipschitz.probe import Probe
from lcrbench.bench.lipschitz.sets import Units, search_sets
from lcrbench.bench.lipschitz.tally import FIGURES
from lcrbench.bench.lipschitz.turns import Turns
from lcrbench.bench.lipschitz.walk import patched

NEARER = 0.7
"""Radius in which a nearer flip is looked for, as a share of the nearest one's distance."""
FAR = 0.7
"""Share of the passes of sets that goes to a climb first, of an image without a flip in any ball."""


def sets_next(probe: Probe, units: Units, passes: int, turns: Turns | None, name: str) -> None:
    """Spend `passes` on a nearer flip of each image by sets of first signs: half from none, half from the nearest flip.

    Which of the two finds more depends on the network. An image without a flip in any ball first climbs in the largest: so
    many signs turn there that sets tell less.
    """
    tally = probe.tally
    far = tally.radius > tally.balls[-1].eps
    near, rows, last = np.flatnonzero(~far), np.flatnonzero(far), len(tally.balls) - 1
    climbed = int(FAR * passes)
    search_ball(probe, last, "kappa", climbed, True, turns, f"{name} far", rows)
    for some, left in ((near, passes), (rows, passes - climbed)):
        search_sets(probe, units, left // 2, f"{name} sets anew", some, "none")
        search_sets(probe, units, left - left // 2, f"{name} sets", some, "flip")


def climb_next(probe: Probe, passes: int, turns: Turns | None, name: str) -> None:
    """Spend `passes` on a nearer flip of each image by climbs, in two halves.

    An image climbs in the largest ball without a flip of it: where many directions lead to one, gradients see them. With a
    flip in all balls, its flip is brought nearer in the first half, and it climbs in each ball in the second.
    """
    tally = probe.tally
    for half, part in enumerate((passes // 2, passes - passes // 2)):
        empty = np.array([sum(b.eps < r for b in tally.balls) for r in tally.radius])
        for count in range(1, len(tally.balls) + 1):
            rows = np.flatnonzero(empty == count)
            search_ball(probe, count - 1, "kappa", part, True, turns, f"{name} {half} {count}", rows)
        rows = np.flatnonzero(empty == 0)
        if half == 0:
            bring_nearer(probe, part, f"{name} nearer", rows)
            continue
        for k in range(len(tally.balls)):
            for figure in FIGURES:
                search_ball(probe, k, figure, part // (2 * len(tally.balls)), True, turns, f"{name} {half}", rows)


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
        return shortened(tally.norm, d.clamp(-x, 1 - x), reach())

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
