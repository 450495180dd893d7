"""Streaks: one-sided motion blurs at an angle, as ImageMagick draws them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcrbench.corruptions import exact, sums
from lcrbench.corruptions.draws import Draws
from lcrbench.corruptions.filters import QUANTUM, copy
from lcrbench.corruptions.kernel import forced, inline, kernel
from lcrbench.corruptions.philox import F32, U8, first_words
from lcrbench.vectors import address


@inline
def margins(picture: U8, cosine: Any, sine: Any, taps: Any, dy: NDArray[np.int64], dx: NDArray[np.int64]) -> Any:
    """Fill dy and dx with the offsets of a blur's taps; return what it reads beyond the top, bottom, left and right."""
    for k in range(taps):
        # ImageMagick rounds halves down: ceil(d - 1/2).
        dx[k] = math.ceil(k * cosine - 0.5)
        dy[k] = math.ceil(k * sine - 0.5)
    return max(0, -dy.min()), max(0, dy.max()), max(0, -dx.min()), max(0, dx.max())


@inline
def pad_edges(picture: U8, room: Any, flat: F32) -> Any:
    """Copy (H, W, C) into rows of `flat` with the edges repeated as far as `room` tells; return the rows' distance."""
    height, width, channels = picture.shape
    top, bottom, left, right = room
    pitch = (left + width + right) * channels
    for y in range(height):
        row = picture[y].reshape(-1)
        line = flat[(top + y) * pitch : (top + y + 1) * pitch]
        inner = line[left * channels :]
        for j in range(len(row)):
            inner[j] = np.float32(row[j])
        for c in range(channels):
            first, last = inner[c], inner[(width - 1) * channels + c]
            for j in range(left):
                line[j * channels + c] = first
            for j in range(left + width, left + width + right):
                line[j * channels + c] = last
    for y in range(top):
        copy(flat[top * pitch : (top + 1) * pitch], flat[y * pitch :])
    for y in range(top + height, top + height + bottom):
        copy(flat[(top + height - 1) * pitch : (top + height) * pitch], flat[y * pitch :])
    return pitch


@forced
def smear(
    flat: Any,
    pitch: Any,
    start: Any,
    shape: Any,
    weight: F32,
    offsets: Any,
    places: NDArray[np.int64],
    out: Any,
    spare: U8,
) -> None:
    """Write the blur of a padded picture at the address `flat`, whose first pixel is at the place `start`, to `out`.

    Each gray level is the sum of weight[k] times the one at tap k, truncated.
    """
    height, width, channels = shape
    dy, dx = offsets
    for k in range(len(weight)):
        places[k] = start + dy[k] * pitch + dx[k] * channels
    tap, factors, rest, length = address(places), address(weight), address(spare), width * channels
    for y in range(height):
        sums.weigh(flat + 4 * y * pitch, tap, factors, len(weight), QUANTUM, out + y * length, length, rest)


def weights(radius: float, sigma: float) -> NDArray[np.float64]:
    """Return the one-sided Gaussian of ImageMagick's motion blur, without the taps that fall below 1e-7."""
    k = np.arange(2 * math.ceil(radius) + 1, dtype=np.float64)
    weights = exact.normalised(exact.exp(np.maximum(-0.5 * k * k / (sigma * sigma), -700.0)))
    return weights[weights > 1e-7]


def random_angles(draws: Draws, low: float, high: float, slot: int = 0) -> NDArray[np.float64]:
    """Return one angle a picture, uniform between low and high."""
    word = first_words(draws.key, slot, draws.indices)[:, 0]
    return low + (high - low) * ((word.astype(np.float64) + 0.5) * 2.0**-32)


@kernel
def _blur(
    x: U8, out: U8, weight: F32, cosine: NDArray[np.float64], sine: NDArray[np.float64], flat: F32, spare: U8
) -> None:
    count, height, width, channels = x.shape
    taps = len(weight)
    dy, dx, places = np.empty(taps, np.int64), np.empty(taps, np.int64), np.empty(taps, np.int64)
    for i in range(count):
        room = margins(x[i], cosine[i], sine[i], taps, dy, dx)
        pitch = pad_edges(x[i], room, flat)
        start = room[0] * pitch + room[2] * channels
        smear(address(flat), pitch, start, (height, width, channels), weight, (dy, dx), places, address(out[i]), spare)
    places[0] = 0  # numba frees an array after its last use, and an address is none


def blur(x: U8, out: U8, radius: float, sigma: float, degrees: NDArray[np.float64]) -> None:
    """Motion-blur each picture along its own angle."""
    radians = np.remainder(degrees, 360.0) * (math.pi / 180.0)
    weight = weights(radius, sigma).astype(np.float32)
    flat, spare = room_for(x, len(weight)), np.empty(sums.LANES, np.uint8)
    _blur(x, out, weight, exact.cos(radians), exact.sin(radians), flat, spare)


def room_for(x: U8, taps: int, channels: int | None = None) -> F32:
    """Return room for one padded picture of (n, H, W, C), at any angle."""
    return sums.room((x.shape[1] + 2 * taps) * (x.shape[2] + 2 * taps) * (channels or x.shape[3]))
