"""JPEG compression."""

from __future__ import annotations

from lcrbench.corruptions import codec
from lcrbench.corruptions.draws import Draws
from lcrbench.corruptions.philox import U8


def into(x: U8, out: U8, draws: Draws, quality: int) -> None:
    """Through JPEG of the given quality, 4:2:0, as Pillow writes and reads it; no codec takes part, see codec.py."""
    codec.round_trip(x, out, codec.quantisers(quality))
