"""The four extra corruptions, meant for validation: speckle noise, Gaussian blur, spatter, saturate."""

from __future__ import annotations

from lcrbench.corruptions import exact, filters, noise
from lcrbench.corruptions.philox import U8, Draws


def speckle_noise(x: U8, out: U8, draws: Draws, scale: float) -> None:
    """255 * clip(x / 255 + x / 255 * scale * z), z ~ N(0, 1) for each sub-pixel."""
    noise.sample(x, out, draws, noise.speckle_table(scale))


def gaussian_blur(x: U8, out: U8, draws: Draws, sigma: float) -> None:
    """Gaussian blur cut at four sigma; the edge pixel is repeated outside."""
    filters.separable(x, out, exact.gaussian_weights(sigma, truncate=4.0))
