"""Looks for a nearer flip of each image than is known: by sets of first signs, or by climbs in the ball that holds none yet.

Descents and walks shorten a flip that was found. In some networks of signs the first flip within a ball is what is hard to
find, because many small changes of all pixels together lead there: a climb for kappa inside that ball finds it.
"""

from __future__ import annotations

import numpy as np
import torch

from lcrbench.bench.lipschitz.climb import search_ball
from lcrbench.bench.lipschitz.descent import Chain
from lcrbench.bench.lipschitz.probe import Probe
from lcrbench.bench.lipschitz.sets import Units, search_sets
from lcrbench.bench.lipschitz.tally import FIGURES
from lcrbench.bench.lipschitz.turns import Turns
from lcrbench.bench.lipschitz.walk import walk

FAR = 0.3
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


def climb_next(probe: Probe, chains: list[Chain], passes: int, turns: Turns | None, name: str) -> list[Chain]:
    """Spend `passes` on a nearer flip of each image by climbs, in two halves; return the chains to go on from.

    An image climbs in the largest ball without a flip of it: where many directions lead to one, gradients see them. With a
    flip in all balls, it walks in the first half, and climbs in each ball in the second.
    """
    tally = probe.tally
    for half, part in enumerate((passes // 2, passes - passes // 2)):
        empty = np.array([sum(b.eps < r for b in tally.balls) for r in tally.radius])
        for count in range(1, len(tally.balls) + 1):
            rows = np.flatnonzero(empty == count)
            search_ball(probe, count - 1, "kappa", part, True, turns, f"{name} {half} {count}", rows)
        rows = np.flatnonzero(empty == 0)
        if not len(rows):
            continue
        if half == 0:
            chains = _walked(probe, chains, empty == 0, part, f"{name} walk")
        else:
            for k in range(len(tally.balls)):
                for figure in FIGURES:
                    search_ball(probe, k, figure, part // (2 * len(tally.balls)), True, turns, f"{name} {half}", rows)
    return chains


def _walked(probe: Probe, chains: list[Chain], some: np.ndarray, passes: int, name: str) -> list[Chain]:
    """Let the chains of the images `some` (N) walk; those of the others stay as they are."""
    walked = walk(probe, [Chain(c.points.clone(), np.where(some, c.radius, np.inf)) for c in chains], passes, name)
    where = torch.from_numpy(some).view(-1, 1, 1, 1)
    return [
        Chain(torch.where(where, new.points, old.points), np.where(some, new.radius, old.radius))
        for new, old in zip(walked, chains, strict=True)
    ]
