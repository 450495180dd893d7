"""Lines: gray, anti-aliased straight lines across the picture."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcrbench.corruptions.drawn import uniform
from lcrbench.corruptions.draws import Draws
from lcrbench.corruptions.elementary import cosine, sine
from lcrbench.corruptions.kernel import inline, kernel
from lcrbench.corruptions.philox import U8


def into(x: U8, out: U8, draws: Draws, level: float) -> None:
    """(1 - a) x + 128 a for one line after the other, floor(0.1 level side) of them, a how much of a pixel one covers.

    A line reaches a side's length either way from a random point, at the angle t + 2 pi v (u - 1/2); t ~ U(0, 2 pi) and
    v ~ U(0.1, 1) are the picture's, u ~ U(0, 1) the line's.
    """
    height, width = x.shape[1:3]
    side = max(height, width)
    for k in range(len(x)):
        first = uniform(draws, k, 0, 2)
        each = uniform(draws, k, 1, 3 * int(level / 10 * side)).reshape(-1, 3)
        turns = 2 * np.pi * (first[0] + (0.1 + 0.9 * first[1]) * (each[:, 2] - 0.5))
        render(x[k], out[k], each[:, :2] * (height, width), turns, float(side))


@kernel
def render(x: U8, out: U8, points: NDArray[np.float64], angles: NDArray[np.float64], reach: float) -> None:
    """Draw lines through points (n, 2), rows first, at angles (n,) to the axis of the rows."""
    out[:] = x
    before = np.empty_like(x)
    for n in range(len(points)):
        down, across = cosine(angles[n]) * reach, sine(angles[n]) * reach
        y, t = points[n, 0], points[n, 1]
        before[:] = out
        _line(before, out, np.int64(y - down), np.int64(t - across), np.int64(y + down), np.int64(t + across))


@inline
def _line(before: U8, out: U8, top: Any, left: Any, bottom: Any, right: Any) -> None:
    """Draw a line by Bresenham's error: a pixel's share of gray is 1 minus its distance to the line, if that is below 1."""
    dy, dx = abs(bottom - top), abs(right - left)
    step_y, step_x = (1 if top < bottom else -1), (1 if left < right else -1)
    length = np.sqrt(np.float64(dy * dy + dx * dx)) if dy + dx else 1.0
    error = dx - dy
    y, x = top, left
    while True:
        _mix(before, out, y, x, abs(error - dx + dy) / length)
        now, column = error, x
        if 2 * now >= -dx:
            if x == right:
                break
            if now + dy < length:
                _mix(before, out, y + step_y, x, abs(now + dy) / length)
            error -= dy
            x += step_x
        if 2 * now <= dy:
            if y == bottom:
                break
            if dx - now < length:
                _mix(before, out, y, column + step_x, abs(dx - now) / length)
            error += dx
            y += step_y


@inline
def _mix(before: U8, out: U8, y: Any, x: Any, distance: Any) -> None:
    if 0 <= y < out.shape[0] and 0 <= x < out.shape[1]:
        share = 1.0 - distance
        for c in range(out.shape[2]):
            value = (1.0 - share) * np.float64(before[y, x, c]) + share * 128.0
            out[y, x, c] = np.uint8(np.int32(value))
