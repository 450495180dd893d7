"""What a search's budget goes to: the parts of a round, so planned that no norm takes more than its share.

Radii have equal shares of an effort's passes. What an image takes varies by a few passes (steps are rounded, and some parts
have nothing to do for it), so each round is planned from what is left of the share. The marks of a convergence curve stand
where a part would end if all parts so far had taken what they may: there the curves of several seeds meet.
"""

from __future__ import annotations

from typing import NamedTuple

from lcrbench.bench.lipschitz.turns import UNITS
from lcrbench.bench.lipschitz.walk import HALVINGS

SHARES = {"descent": 0.35, "walk": 0.35, "climb": 0.3}
BLIND_SHARES = {"descent": 0.0, "walk": 0.5, "climb": 0.5}
"""Shares of a round's passes, with gradients and without."""
NEXT = {"l2": 0.65, "linf": 0.7}
"""Share of a later round's passes, in a network of signs, that goes to a nearer flip; the others share what is left.

In l2 without known sets it goes to nothing of the kind: there descents and walks find more than climbs.
"""
FEW, OVER = 3, 0.02
"""Share of the budget by which a search of so few radii may pass it: documented figures were found so."""
SPARE = 12
"""Passes by which a norm may pass its share, so that walks have their ends where a norm has few passes."""
INHERITED = 0.25
"""Share of a linf round's passes that may go to what was found in l2, at most."""
TURNED = 4
"""Rounds in which units are searched for have as many times the passes that it takes to know the units, at least."""
BISECTION = HALVINGS + 1
"""Passes of a bisection along a line."""


class Plan(NamedTuple):
    """Passes of a round's parts, and the number of `ends` that walks get; `settled`: the nearest flips are bisected."""

    descent: int
    ends: int
    walk: int
    settled: bool
    nearer: int
    climb: int

    def positions(self, begin: int, end: int) -> tuple[int, int, int, int]:
        """Return where marks stand after descents, walks, what seeks a nearer flip, and climbs, from `begin` to `end`."""
        first = begin + self.descent
        second = first + max(self.walk, self.bisected)
        return min(first, end), min(second, end), min(second + self.nearer, end), end

    @property
    def bisected(self) -> int:
        """Return the passes of all bisections."""
        return (self.ends + self.settled) * BISECTION


def plan(norm: str, number: int, passes: int, most: int, *, gradients: bool, nearer: bool) -> Plan:
    """Return the plan of a norm's round `number` of so many `passes`, which takes no more than `most`.

    Walks get what their ends and bisections need, also beyond their share; then it comes off the climbs. With `nearer`, a
    part of the round goes to a nearer flip.
    """
    passes, most = max(0, passes), max(0, most)
    share = SHARES if gradients else BLIND_SHARES
    of_next = int(NEXT[norm] * passes) if nearer else 0
    descent, walk, climb = (int((passes - of_next) * share[part]) for part in ("descent", "walk", "climb"))
    left = most - of_next - descent
    ends = 0 if not number and gradients else 2 if gradients else 4
    ends = min(ends, max(0, left // BISECTION - 1))
    settled = left >= BISECTION
    walk = min(walk, left)
    climb = min(climb, left - max(walk, (ends + settled) * BISECTION))
    return Plan(descent, ends, walk, settled, of_next, max(0, climb))


def spare(balls: int, budget: int, left: int, *, last: bool) -> int:
    """Return by how many passes a norm may pass its share: what norms before have `left`, within `SPARE`."""
    over = int(OVER * budget) if last and balls <= FEW else 0
    return min(SPARE, max(0, left) + over)


def worth_turns(passes: int) -> bool:
    """Tell whether a round of so many passes can pay for the gradients of the first signs that are nearest to turning."""
    return passes >= TURNED * 2 * UNITS


def inherited(balls: int, passes: int) -> list[int]:
    """Return the numbers of the l2 balls whose finds a linf round of so many passes tries: all, or some evenly spaced."""
    some = min(balls, max(0, (int(INHERITED * passes) - 1) // 2))
    return (
        sorted({round(k * (balls - 1) / max(1, some - 1)) for k in range(some)}) if some < balls else list(range(balls))
    )
