"""Searches near flips among sets of the first signs: the nearest point at which a set turns is known without a pass.

What lies behind the first signs sees the image by them alone, or nearly so. Near an image few of them can turn, and for each
set of them the nearest point at which exactly these must turn is the solution of a small quadratic program
(`lipschitz.compiled`). So the search is one over sets, and each pass shows what a whole set is worth.

Small changes of a set change the margin by much and not additively, and gradients hardly tell which: a local search, then,
in a ball of radius R = 0.8 r, r the distance of the nearest flip so far. One unit more or fewer, or one for another, in turn
through the units that can turn in that ball at all; taken if the score grows:

    score = log kappa - 0.15 log(||d|| / R) - 8 max(0, log(||d|| / R))

so that what is nearer breaks ties, and what is outside the ball has to come in. Where too many steps in a row bring nothing
better, it begins anew at none, from another unit on. There are two ways:

    from none    A climb soon gives up, because others find more. How soon is best differs between networks, so patience
                 follows the sequence 1 1 2 1 1 2 4 ..., which gives each length the same share of steps (Luby, Sinclair,
                 Zuckerman 1993, "Optimal speedup of Las Vegas algorithms").
    from a flip  The first climb begins at the signs that the nearest flip has turned, and each is patient.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from lcrbench.bench.lipschitz import compiled
from lcrbench.bench.lipschitz.probe import Probe
from lcrbench.bench.lipschitz.stem import Stem, read
from lcrbench.errors import UserError

NEAREST = 2048
"""Units of an image that can be in a set: the nearest ones."""
LARGEST_SET = 512
SHRINK, NEARER, OUTSIDE = 0.8, 0.15, 8.0
PATIENCE = {"none": (10, 0.03), "flip": (40, 0.3)}
"""Steps without a better set that end a climb, at least, and as a share of the units that can turn in its ball; from none,
those of a climb of length 1.
"""
NOTHING = np.log(1e-3)
"""Score of a set of none."""
AT_ONCE = 2**24
"""Windows that are held in memory at once."""
Begin = Literal["none", "flip"]


class Units:
    """The nearest units of each image, nearest first: `place` (N, M, 3), `base` (N, M, m), `tau`, `on`, `away` (N, M)."""

    def __init__(self, stem: Stem, x: Tensor) -> None:
        self.stem = stem
        self.weight = np.ascontiguousarray(stem.weight.numpy())
        self.length = np.sqrt(np.square(self.weight).sum((1, 2, 3)))
        self.geometry = (stem.stride[0], stem.padding[0], *stem.pool)
        self.each = max(1, AT_ONCE // stem.of_units(stem.windows(x[:1])).numel())
        parts = [self._nearest(x[start : start + self.each]) for start in range(0, len(x), self.each)]
        self.order, self.place, self.base, self.tau, self.on, self.away = (
            np.concatenate(part) for part in zip(*parts, strict=True)
        )
        self.able = np.isfinite(self.away).sum(1)
        """how many of an image's nearest units can turn at all (N)"""

    def _nearest(self, x: Tensor) -> tuple[np.ndarray, ...]:
        of_units = self.stem.of_units(self.stem.windows(x))
        n, c, area, m = of_units.shape
        tau = self.stem.tau.flatten(1).expand(n, -1, -1)
        reach = self.stem.of_units(self.stem.lengths(x.shape[2:])[0]).expand(n, -1, -1, -1)
        top, at = of_units.max(3)
        length = reach.gather(3, at[..., None])[..., 0]
        away = torch.where(torch.isfinite(tau), (top - tau).abs() / length.clamp_min(1e-30), torch.inf).flatten(1)
        order = away.argsort(dim=1, stable=True)[:, :NEAREST]
        wide = self.stem.tau.shape[2]
        place = torch.stack([order // area, order % area // wide, order % wide], 2)
        tau = tau.reshape(n, -1).gather(1, order)
        base = of_units.reshape(n, c * area, m).gather(1, order[..., None].expand(-1, -1, m))
        on = base.amax(2) >= tau
        return tuple(t.numpy() for t in (order, place, base, tau, on, away.gather(1, order)))

    def image(self, x: np.ndarray, row: int) -> compiled.Image:
        """Return image x (3, H, W) float64, which has number `row`, as the compiled loops take it."""
        units = (self.place[row], self.base[row], self.tau[row], self.on[row])
        return compiled.Image(x, self.weight, self.length, self.geometry, *units)

    def turned(self, points: Tensor) -> np.ndarray:
        """Return which units points have turned (N, M); one point an image."""
        tau = self.stem.tau.flatten(1)
        parts = [points[start : start + self.each] for start in range(0, len(points), self.each)]
        on = torch.cat([self.stem.of_units(self.stem.windows(part)).amax(3) >= tau for part in parts])
        return np.asarray(np.take_along_axis(on.flatten(1).numpy(), self.order, 1) != self.on)


def units_of(probe: Probe) -> Units | None:
    """Return the units of a probe's images; None where the first signs do not see windows of the image."""
    x = probe.tally.start.x
    try:
        stem = read(probe.oracle.subject.network, x[:1].to(probe.oracle.device))
    except UserError:
        return None
    square = stem.stride[0] == stem.stride[1] and stem.padding[0] == stem.padding[1]
    if not square:
        return None
    return Units(replace(stem, **{name: getattr(stem, name).cpu() for name in ("weight", "bias", "mean", "tau")}), x)


def search_sets(probe: Probe, units: Units, passes: int, name: str, rows: np.ndarray, begin: Begin) -> None:
    """Spend `passes` passes of each of the images `rows` on sets of first signs; the tally keeps what is found."""
    tally = probe.tally
    rows = rows[(tally.start.margins[rows] > 0) & (units.able[rows] > 0)]
    if passes < 1 or not len(rows):
        return
    walks = _Walks(probe, units, rows, [probe.generator(int(r), name) for r in rows], begin)
    x = tally.start.x[torch.from_numpy(rows)]
    for _ in range(passes):
        points = (x + torch.from_numpy(walks.proposed()).float()).clamp(0, 1)
        tried = tally.offer(rows, points, probe.logits(rows, points), "walk")
        walks.judge(tried.kappa, tried.distance)


class _Walks:
    """A set of each of the images `rows`, its score, and the one that is tried."""

    def __init__(
        self, probe: Probe, units: Units, rows: np.ndarray, draws: list[np.random.Generator], begin: Begin
    ) -> None:
        self.begin = begin
        self.tally, self.units, self.rows, self.draws = probe.tally, units, rows, draws
        n, m = len(rows), units.base.shape[2]
        self.x = np.ascontiguousarray(self.tally.start.x[torch.from_numpy(rows)].double().numpy())
        self.ids, self.new_ids = (np.zeros((n, LARGEST_SET), np.int64) for _ in range(2))
        self.lam, self.new_lam = (np.zeros((n, LARGEST_SET, m)) for _ in range(2))
        self.count, self.new_count = (np.zeros(n, np.int64) for _ in range(2))
        self.value = np.full((n, 2), np.nan)
        """kappa and distance of the set, nan for none"""
        self.idle, self.climbs = (np.zeros(n, np.int64) for _ in range(2))
        """steps since the set was last better, and how many climbs have ended"""
        self.among = np.zeros(n, np.int64)
        """how many units can turn in the ball that is searched, each on its own"""
        self.following = np.array([g.integers(units.away.shape[1]) for g in draws])
        turned = units.turned(self.tally.flips)[rows]
        self.fresh = (begin == "flip") & np.isfinite(self.tally.radius[rows]) & turned.any(1)
        for k in np.flatnonzero(self.fresh):
            found = np.flatnonzero(turned[k])[:LARGEST_SET]
            self.count[k] = len(found)
            self.ids[k, : len(found)] = found

    @property
    def target(self) -> np.ndarray:
        """Return the radius in which the walks search (n)."""
        radius = self.tally.radius[self.rows]
        return SHRINK * np.where(np.isfinite(radius), radius, self.tally.balls[-1].eps)

    def proposed(self) -> np.ndarray:
        """Return the displacement of the next set of each walk (n, 3, H, W)."""
        u, target = self.units, self.target
        d, y = np.zeros_like(self.x), np.zeros_like(self.x[0])
        for k, row in enumerate(self.rows):
            image = u.image(self.x[k], row)
            if self.fresh[k]:
                self.new_ids[k], self.new_lam[k], self.new_count[k] = self.ids[k], 0, self.count[k]
                compiled.nearest(image, self.new_ids[k], self.new_count[k], self.new_lam[k], target[k], y, d[k])
                continue
            self.among[k] = min(max(4, int(np.searchsorted(u.away[row], target[k]))), u.able[row])
            # At random: taken in turns, a unit of an even number would meet one of the two kinds alone.
            kind, seed = int(self.draws[k].integers(2)), int(self.draws[k].integers(2**62))
            turn = (kind, seed, int(self.following[k]), int(self.among[k]))
            old = (self.ids[k], self.count[k], self.lam[k], target[k])
            self.new_count[k], self.following[k] = compiled.changed(
                *turn, image, *old, self.new_ids[k], self.new_lam[k], y, d[k]
            )
        return d

    def judge(self, kappa: np.ndarray, distance: np.ndarray) -> None:
        """Take the better sets, and begin anew where none has been better for long."""
        target = self.target
        better = self.fresh | (_score(kappa, distance, target) > _score(self.value[:, 0], self.value[:, 1], target))
        for k in np.flatnonzero(better):
            n = self.new_count[k]
            self.ids[k, :n], self.lam[k, :n], self.count[k] = self.new_ids[k, :n], self.new_lam[k, :n], n
        self.value[better] = np.stack([kappa, distance], 1)[better]
        self.idle = np.where(better, 0, self.idle + 1)
        least, share = PATIENCE[self.begin]
        length = np.array([luby(int(n) + 1) for n in self.climbs]) if self.begin == "none" else 1
        ended = self.idle > length * np.maximum(least, share * self.among)
        self.climbs += ended
        self.count[ended], self.value[ended], self.idle[ended] = 0, np.nan, 0
        self.fresh = np.zeros_like(self.fresh)


def luby(number: int) -> int:
    """Return the term of the sequence 1 1 2 1 1 2 4 1 1 2 1 1 2 4 8 ..., numbers from 1."""
    bits = number.bit_length()
    return 2 ** (bits - 1) if number == 2**bits - 1 else luby(number - 2 ** (bits - 1) + 1)


def _score(kappa: np.ndarray, distance: np.ndarray, target: np.ndarray) -> np.ndarray:
    ratio = np.log(np.maximum(distance, 1e-12) / target)
    score = np.log(np.maximum(kappa, 1e-9)) - NEARER * ratio - OUTSIDE * np.maximum(0, ratio)
    return np.asarray(np.where(np.isnan(kappa), NOTHING, score))
