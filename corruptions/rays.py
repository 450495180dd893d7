"""Stars with rays of random lengths, as C-bar draws them: how much of a star covers each pixel."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcrbench.corruptions.drawn import normal
from lcrbench.corruptions.draws import Draws
from lcrbench.corruptions.elementary import angle, power
from lcrbench.corruptions.kernel import inline

F64 = NDArray[np.float64]
RANDOMNESS = 0.25  # of a ray's length


def lengths(draws: Draws, k: int, slot: int, rays: int, radius: float) -> F64:
    """Return the lengths (rays,) of a star's rays: radius (1 + z / 4), z ~ N(0, 1)."""
    return radius + RANDOMNESS * radius * normal(draws, k, slot, rays)


@inline
def cover(y: Any, x: Any, length: F64, exponent: Any) -> Any:
    """Return clip((1 - (f - 1/2)^2) (l^2 / (d^2 + 1e-4))^exponent) at the offset (y, x) from a star's centre.

    The angle counts in rays; f is its fraction, and l the length between the rays before and after it.
    """
    rays = len(length)
    turn = (angle(x, y) + math.pi) / (2.0 * math.pi) * rays
    i = np.int64(turn)
    f = turn - i
    here, there = length[i % rays], length[(i + 1) % rays]
    l = here + f * (there - here)  # noqa: E741
    g = l * l / (y * y + x * x + 1e-4)
    if exponent != 1.0:
        g = power(g, exponent)
    f -= 0.5
    return min(max((1.0 - f * f) * g, 0.0), 1.0)
