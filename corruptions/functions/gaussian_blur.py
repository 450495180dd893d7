"""Gaussian blur."""

from __future__ import annotations

from lcrbench.corruptions import exact, filters
from lcrbench.corruptions.draws import Draws
from lcrbench.corruptions.philox import U8


def into(x: U8, out: U8, draws: Draws, sigma: float) -> None:
    """Gaussian blur cut at four sigma; the edge pixel is repeated outside."""
    filters.separable(x, out, exact.gaussian_weights(sigma, truncate=4.0))
