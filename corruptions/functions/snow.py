"""Snow: falling flakes over a whitened picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lcrbench.corruptions import exact, filters, streak, sums
from lcrbench.corruptions.draws import Draws
from lcrbench.corruptions.kernel import kernel
from lcrbench.corruptions.philox import F32, U8, fill, normal_table, normals, padded
from lcrbench.corruptions.zoom import axis as zoom_axis
from lcrbench.vectors import address


@kernel
def _snow(
    x: U8,
    out: U8,
    key: np.uint64,
    indices: NDArray[np.int64],
    quantile: tuple[F32, F32],
    law: tuple[float, float, float],
    rows: tuple[NDArray[np.int64], F32],
    columns: tuple[NDArray[np.int64], F32],
    weight: F32,
    cosine: NDArray[np.float64],
    sine: NDArray[np.float64],
    kept: float,
    wide: F32,
    spare: U8,
) -> None:
    count, height, width, channels = x.shape
    row_before, row_fraction = rows
    column_before, column_fraction = columns
    # Only the part of the layer that the magnification shows is drawn.
    first_row, first_column = row_before.min(), column_before.min()
    crop_height, crop_width = row_before.max() + 2 - first_row, column_before.max() + 2 - first_column
    words = np.empty(padded(crop_height * crop_width), np.uint32)
    flakes = np.empty(crop_height * crop_width, np.float32)
    line = np.empty(crop_width, np.float32)
    by = len(weight)
    layer = np.empty((height, width, 1), np.uint8)
    dy, dx, places = np.empty(by, np.int64), np.empty(by, np.int64), np.empty(by, np.int64)
    streaked = np.empty(height * width, np.uint8)
    whites, falls = np.empty(width * channels, np.float32), np.empty(width * channels, np.float32)
    loc, scale, threshold = np.float32(law[0] * 255.0), np.float32(law[1] * 255.0), np.float32(law[2] * 255.0)
    image_weight, rest = np.float32(kept), np.float32(1.0 - kept)
    for i in range(count):
        fill(words, key, 1, indices[i])
        normals(words, quantile[0], quantile[1], flakes)
        for y in range(height):
            r = (row_before[y] - first_row) * crop_width
            upper, lower = flakes[r : r + crop_width], flakes[r + crop_width : r + 2 * crop_width]
            f = row_fraction[y]
            for j in range(crop_width):
                line[j] = loc + scale * (upper[j] + f * (lower[j] - upper[j]))
            for j in range(width):
                c = column_before[j] - first_column
                v = line[c] + column_fraction[j] * (line[c + 1] - line[c])
                v = v if v >= threshold else np.float32(0)
                layer[y, j, 0] = np.uint8(min(max(v, np.float32(0)), np.float32(255)))
        room = streak.margins(layer, cosine[i], sine[i], by, dy, dx)
        pitch = streak.pad_edges(layer, room, wide)
        start, shape, to = room[0] * pitch + room[2], (height, width, 1), address(streaked)
        streak.smear(address(wide), pitch, start, shape, weight, (dy, dx), places, to, spare)
        for y in range(height):
            fresh, turned = streaked[y * width :], streaked[(height - 1 - y) * width :]
            source, target = x[i, y].reshape(-1), out[i, y].reshape(-1)
            step, end = np.uint64(channels), np.uint64(width - 1)
            for j in range(np.uint64(width)):
                fallen = np.float32(fresh[j]) + np.float32(turned[end - j])
                gray = np.float32(source[j * step])
                if channels == 3:
                    green, blue = source[j * step + np.uint64(1)], source[j * step + np.uint64(2)]
                    gray = np.float32(0.299) * gray + np.float32(0.587) * np.float32(green)
                    gray += np.float32(0.114) * np.float32(blue)
                white = gray * np.float32(1.5) + np.float32(127.5)
                # A value for each sub-pixel, so that the last loop goes to vector registers.
                whites[j * step], falls[j * step] = white, fallen
                if channels == 3:
                    whites[j * step + np.uint64(1)], falls[j * step + np.uint64(1)] = white, fallen
                    whites[j * step + np.uint64(2)], falls[j * step + np.uint64(2)] = white, fallen
            for j in range(len(source)):
                v = np.float32(source[j])
                v = image_weight * v + rest * max(v, whites[j]) + falls[j]
                target[j] = np.uint8(np.int32(min(v + np.float32(filters.SLACK), np.float32(255))))
    places[0] = 0  # numba frees an array after its last use, and an address is none


def into(
    x: U8,
    out: U8,
    draws: Draws,
    loc: float,
    scale: float,
    zoom: float,
    threshold: float,
    radius: float,
    sigma: float,
    image_weight: float,
) -> None:
    """w x + (1 - w) max(x, 1.5 gray(x) + 0.5) + flakes + flakes turned by 180 degrees.

    flakes: a field of N(loc, scale^2), magnified by `zoom`, set to 0 below the threshold, made uint8, and
    motion-blurred at an angle from U(-135, -45) degrees.
    """
    height, width = x.shape[1:3]
    radians = streak.random_angles(draws, -135.0, -45.0, slot=0) * (np.pi / 180.0)
    weight = streak.weights(radius, sigma).astype(np.float32)
    _snow(
        x,
        out,
        draws.key,
        draws.indices,
        normal_table(),
        (loc, scale, threshold),
        zoom_axis(height, zoom),
        zoom_axis(width, zoom),
        weight,
        exact.cos(radians),
        exact.sin(radians),
        image_weight,
        streak.room_for(x, len(weight), 1),
        np.empty(sums.LANES, np.uint8),
    )
