"""What a search's budget goes to: the parts of a round, so planned that no norm takes more than its share.

Radii have equal shares of an effort's passes. A round is planned from the shares alone and not from what images have taken,
which is less where steps are rounded or a part has nothing to do: so a plan does not depend on the images. The marks of a
convergence curve stand where a part would end if all parts so far had taken what they may: there the curves of seeds meet.
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


def plan(norm: str, number: int, passes: int, *, gradients: bool, nearer: bool) -> Plan:
    """Return the plan of a norm's round `number`, which takes no more than so many `passes`.

    Walks get what their ends and bisections need, also beyond their share; then it comes off the climbs. With `nearer`, a
    part of the round goes to a nearer flip.
    """
    passes = max(0, passes)
    share = SHARES if gradients else BLIND_SHARES
    of_next = int(NEXT[norm] * passes) if nearer else 0
    descent, walk, climb = (int((passes - of_next) * share[part]) for part in ("descent", "walk", "climb"))
    left = passes - of_next - descent
    ends = 0 if not number and gradients else 2 if gradients else 4
    ends = min(ends, max(0, left // BISECTION - 1))
    settled = left >= BISECTION
    walk = min(walk, left)
    climb = min(climb, left - max(walk, (ends + settled) * BISECTION))
    return Plan(descent, ends, walk, settled, of_next, max(0, climb))


def worth_turns(passes: int) -> bool:
    """Tell whether a round of so many passes can pay for the gradients of the first signs that are nearest to turning."""
    return passes >= TURNED * 2 * UNITS


def inherited(balls: int, passes: int) -> list[int]:
    """Return the numbers of the l2 balls whose finds a linf round of so many passes tries: all, or some evenly spaced."""
    some = min(balls, max(0, (int(INHERITED * passes) - 1) // 2))
    return sorted({round(k * (balls - 1) / max(1, some - 1)) for k in range(some)})
