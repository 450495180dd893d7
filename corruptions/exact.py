"""Elementary functions made of +, -, * and / alone, so that their last bit is the same on every machine.

IEEE 754 fixes the result of the four operations and of the square root, but not of exp, sin or erf: those differ
between C libraries and between the SIMD paths of numpy. Tables of noise laws, blur weights and angles are therefore
computed with the functions below. They are accurate to about 1e-13, which is far more than a uint8 pixel needs.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]


def exp(x: F64 | float) -> F64:
    """Return e**x for -700 <= x <= 700: a Taylor series at x / 1024, squared ten times."""
    y = np.asarray(x, np.float64) / 1024.0
    total = np.ones_like(y)
    for n in range(14, 0, -1):
        total = 1.0 + total * y / n
    for _ in range(10):
        total = total * total
    return total


def sin(x: F64 | float) -> F64:
    """Return the sine of x radians, |x| <= 2 pi, by its Taylor series."""
    y = np.asarray(x, np.float64)
    total = np.ones_like(y)
    for n in range(41, 1, -2):
        total = 1.0 - total * (y * y) / (n * (n - 1.0))
    return y * total


def cos(x: F64 | float) -> F64:
    """Return the cosine of x radians, |x| <= 2 pi, by its Taylor series."""
    y = np.asarray(x, np.float64)
    total = np.ones_like(y)
    for n in range(42, 0, -2):
        total = 1.0 - total * (y * y) / (n * (n - 1.0))
    return total


def normal_density(x: F64 | float) -> F64:
    """Return the standard normal density exp(-x^2 / 2) / sqrt(2 pi)."""
    y = np.asarray(x, np.float64)
    return exp(-0.5 * y * y) * 0.3989422804014327


def normal_cdf(x: F64 | float) -> F64:
    """Return the standard normal distribution function for |x| <= 9, to about 1e-14.

    Phi(x) = 1/2 + phi(x) * (x + x^3/3 + x^5/(3*5) + x^7/(3*5*7) + ...); all terms have one sign, so nothing cancels.
    """
    y = np.asarray(x, np.float64)
    term = y.copy()
    total = y.copy()
    for n in range(3, 401, 2):
        term = term * (y * y) / n
        total = total + term
    return 0.5 + normal_density(y) * total


def normal_quantile(p: F64) -> F64:
    """Return the x with normal_cdf(x) = p, for 1e-12 < p <= 1/2, by bisection followed by Newton's steps."""
    low = np.full_like(p, -8.0)
    high = np.zeros_like(p)
    for _ in range(20):
        middle = 0.5 * (low + high)
        below = normal_cdf(middle) < p
        low = np.where(below, middle, low)
        high = np.where(below, high, middle)
    x = 0.5 * (low + high)
    for _ in range(3):
        x = x - (normal_cdf(x) - p) / normal_density(x)
    return x


def normalised(weights: F64) -> F64:
    """Return the weights divided by their sum, which is taken from left to right."""
    flat = np.ravel(weights)
    return weights / np.float64(np.cumsum(flat)[-1])


def gaussian_weights(sigma: float, truncate: float) -> F64:
    """Return the weights exp(-j^2 / (2 sigma^2)), |j| <= int(truncate * sigma + 1/2), normalised, as scipy.ndimage does."""
    radius = int(truncate * sigma + 0.5)
    j = np.arange(-radius, radius + 1, dtype=np.float64)
    return normalised(exp(-0.5 * j * j / (sigma * sigma))) if radius else np.ones(1)
