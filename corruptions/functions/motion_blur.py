"""Motion blur: a one-sided streak at a random angle."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lcrbench.corruptions import streak
from lcrbench.corruptions.draws import Draws
from lcrbench.corruptions.philox import U8


def into(
    x: U8, out: U8, draws: Draws, radius: float, sigma: float, *, angle: NDArray[np.float64] | None = None
) -> None:
    """A one-sided Gaussian streak at an angle drawn from U(-45, 45) degrees, as ImageMagick's motion blur draws it.

    Tap k = 0..2 ceil(radius) has the weight exp(-k^2 / (2 sigma^2)), normalised, and reads the pixel at the distance k,
    its coordinates rounded to whole pixels; the edge pixel is repeated outside.
    """
    degrees = streak.random_angles(draws, -45.0, 45.0) if angle is None else angle
    streak.blur(x, out, radius, sigma, degrees)
