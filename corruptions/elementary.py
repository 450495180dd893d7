"""Elementary functions for kernels, made of +, -, * and / alone, so that their last bit is the same on every machine.

`exact` does the same for tables. Each is accurate to about 1e-15, relative to 1 or to the result, over the range that it
states: an argument is reduced by constants in parts whose products are exact, and the rest is a Taylor series.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from lcrbench.corruptions.kernel import inline

# pi / 2 and log 2 in parts: all but the last have trailing zero bits, so that small whole multiples are exact.
_HALF_PI = (1.5707963267341256, 6.077100506303966e-11, 2.0222662487959506e-21)
_LOG_2 = (0.6931471803691238, 1.9082149292705877e-10)
_SIN = tuple((-1.0) ** k / math.factorial(2 * k + 1) for k in range(10))
_COS = tuple((-1.0) ** k / math.factorial(2 * k) for k in range(10))
_EXP = tuple(1.0 / math.factorial(k) for k in range(15))
_ATAN = tuple((-1.0) ** k / (2 * k + 1) for k in range(22))
_LOG = tuple(2.0 / (2 * k + 1) for k in range(13))
_EIGHTH = 0.41421356237309503  # tan(pi / 8)


@inline
def _series(x: Any, terms: Any) -> Any:
    total = 0.0
    for k in range(len(terms)):
        total = total * x + terms[len(terms) - 1 - k]
    return total


@inline
def _quarter(x: Any, turn: Any) -> Any:
    """Return the sine of x + turn * pi / 2."""
    n = math.floor(x * (2.0 / math.pi) + 0.5)
    r = ((x - n * _HALF_PI[0]) - n * _HALF_PI[1]) - n * _HALF_PI[2]
    place = (np.int64(n) + turn) & 3
    value = r * _series(r * r, _SIN) if place & 1 == 0 else _series(r * r, _COS)
    return -value if place & 2 else value


@inline
def sine(x: Any) -> Any:
    """Return the sine of x radians, |x| < 1e5."""
    return _quarter(x, 0)


@inline
def cosine(x: Any) -> Any:
    """Return the cosine of x radians, |x| < 1e5."""
    return _quarter(x, 1)


@inline
def angle(y: Any, x: Any) -> Any:
    """Return the angle of the point (x, y) in [-pi, pi]; 0 for the origin."""
    a, b = abs(y), abs(x)
    least, most = min(a, b), max(a, b)
    if most == 0.0:
        return 0.0
    t = least / most
    turned = t > _EIGHTH
    if turned:
        t = (t - 1.0) / (t + 1.0)
    value = t * _series(t * t, _ATAN)
    if turned:
        value += math.pi / 4
    if a > b:
        value = math.pi / 2 - value
    if x < 0.0:
        value = math.pi - value
    return -value if y < 0.0 else value


@inline
def _log(x: Any) -> Any:
    bits = np.float64(x).view(np.int64)
    exponent = (bits >> 52) - 1023
    m = np.int64((bits & np.int64(0xFFFFFFFFFFFFF)) | np.int64(0x3FF0000000000000)).view(np.float64)
    if m > 1.4142135623730951:
        m *= 0.5
        exponent += 1
    s = (m - 1.0) / (m + 1.0)
    return exponent * _LOG_2[0] + (exponent * _LOG_2[1] + s * _series(s * s, _LOG))


@inline
def power(x: Any, exponent: Any) -> Any:
    """Return x ** exponent for a normal x > 0, 0 for x = 0, and 0 or the largest power of two beyond 2**-1000 .. 2**1000."""
    if x <= 0.0:
        return 0.0
    y = exponent * _log(x)
    n = min(max(math.floor(y * (1.0 / (_LOG_2[0] + _LOG_2[1])) + 0.5), -1000.0), 1000.0)
    r = min(max((y - n * _LOG_2[0]) - n * _LOG_2[1], -0.5), 0.5)
    scale = np.int64((np.int64(n) + 1023) << 52).view(np.float64)
    return _series(r, _EXP) * scale


@inline
def to_byte(v: Any) -> Any:
    """Return a gray level: clipped to 0..255 and truncated, as the official scripts cast."""
    return np.uint8(np.int32(min(max(v, 0.0), 255.0)))


@inline
def bilinear(picture: Any, y: Any, x: Any, channel: Any) -> Any:
    """Return a picture (H, W, C) at the real place (y, x); what lies outside is black.

    The order of the operations is that of the official script: where a sum of weights falls short of 1 by a rounding, the
    truncation that follows loses a level there, too.
    """
    height, width = picture.shape[:2]
    top, left = math.floor(y), math.floor(x)
    i, j = np.int64(top), np.int64(left)
    a = b = c = d = 0.0
    if 0 <= i < height:
        if 0 <= j < width:
            a = np.float64(picture[i, j, channel])
        if 0 <= j + 1 < width:
            b = np.float64(picture[i, j + 1, channel])
    if 0 <= i + 1 < height:
        if 0 <= j < width:
            c = np.float64(picture[i + 1, j, channel])
        if 0 <= j + 1 < width:
            d = np.float64(picture[i + 1, j + 1, channel])
    upper = a * (1.0 - x + left) + b * (1.0 - (left + 1.0) + x)
    lower = c * (1.0 - x + left) + d * (1.0 - (left + 1.0) + x)
    return upper * (1.0 - y + top) + lower * (1.0 - (top + 1.0) + y)
