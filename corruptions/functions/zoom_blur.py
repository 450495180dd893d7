"""Zoom blur: the mean of the picture and of its magnifications."""

from __future__ import annotations

from lcrbench.corruptions import zoom
from lcrbench.corruptions.draws import Draws
from lcrbench.corruptions.philox import U8


def into(x: U8, out: U8, draws: Draws, *zoom_factors: float) -> None:
    """Mean of the picture and of its magnifications about the centre by each factor, bilinear as scipy.ndimage.zoom."""
    zoom.mean(x, out, zoom_factors)
