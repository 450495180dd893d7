"""The weathers: snow, frost, fog, brightness."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lcrbench.corruptions import exact, filters
from lcrbench.corruptions.engine import frost_sha256
from lcrbench.corruptions.kernel import inline, kernel
from lcrbench.corruptions.philox import F32, U8, U32, Draws, below, fill, first_words, normal_table, normals, padded
from lcrbench.errors import UserError


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
    wide = np.empty((height + 2 * by, width + 2 * by), np.float32)
    streaked = np.empty((height, width), np.float32)
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
        filters.pad(layer, by, filters.NEAREST, wide)
        for y in range(height):
            filters.smear(wide, by, 1, weight, cosine[i], sine[i], y, streaked[y])
            for j in range(width):
                streaked[y, j] = np.floor(streaked[y, j] + np.float32(filters.QUANTUM))
        for y in range(height):
            fresh, turned = streaked[y], streaked[height - 1 - y]
            for j in range(width):
                fallen = fresh[j] + turned[width - 1 - j]
                if channels == 3:
                    red, green, blue = np.float32(x[i, y, j, 0]), np.float32(x[i, y, j, 1]), np.float32(x[i, y, j, 2])
                    gray = np.float32(0.299) * red + np.float32(0.587) * green + np.float32(0.114) * blue
                else:
                    gray = np.float32(x[i, y, j, 0])
                white = gray * np.float32(1.5) + np.float32(127.5)
                for c in range(channels):
                    v = np.float32(x[i, y, j, c])
                    v = image_weight * v + rest * max(v, white) + fallen
                    out[i, y, j, c] = np.uint8(min(v + np.float32(filters.SLACK), np.float32(255)))


def snow(
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

    flakes: a field of N(loc, scale^2), magnified by `zoom`, set to 0 below the threshold, made uint8, and motion-blurred at an angle
    from U(-135, -45) degrees.
    """
    height, width = x.shape[1:3]
    radians = filters.random_angles(draws, -135.0, -45.0, slot=0) * (np.pi / 180.0)
    _snow(
        x,
        out,
        draws.key,
        draws.indices,
        normal_table(),
        (loc, scale, threshold),
        filters.zoom_axis(height, zoom),
        filters.zoom_axis(width, zoom),
        filters.streak_weights(radius, sigma).astype(np.float32),
        exact.cos(radians),
        exact.sin(radians),
        image_weight,
    )


FROST_FILES = ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg")  # frost6.jpg is never drawn


def frost_folder(pictures: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder with the official frost pictures, after a check of their hashes.

    By default it is the one inside the installed `imagecorruptions` distribution (or its fork `imagecorruptions-imaug`), which is found
    but not imported. Raises `UserError` where pictures are missing or differ.
    """
    if pictures is None:
        spec = importlib.util.find_spec("imagecorruptions")
        places = [Path(p) for p in (spec.submodule_search_locations or ())] if spec else []
        if not places:
            raise UserError(
                "frost needs the official frost pictures: pip install imagecorruptions-imaug, or name a folder that holds "
                f"{FROST_FILES[0]} ... {FROST_FILES[-1]} with the option 'pictures'"
            )
        folder = places[0] / "frost"
    else:
        folder = Path(pictures)
    for name, digest in frost_sha256().items():
        if not (folder / name).is_file():
            raise UserError(
                f"frost picture '{folder / name}' is missing: the folder must hold {', '.join(FROST_FILES)}"
            )
        if hashlib.sha256((folder / name).read_bytes()).hexdigest() != digest:
            raise UserError(f"frost picture '{folder / name}' is not the official one: its sha256 is not {digest}")
    return folder


_checked_folder = functools.lru_cache(maxsize=8)(frost_folder)


@functools.lru_cache(maxsize=8)
def _frost_pictures(folder: Path, scale: float, height: int, width: int, channels: int) -> tuple[U8, NDArray[np.int64]]:
    """Return all frost pictures one after the other, and (offset, height, width) of each."""
    import cv2

    flat, places = [], []
    start = 0
    for name in FROST_FILES:
        picture = cv2.imread(str(folder / name), cv2.IMREAD_COLOR)
        # The official scripts never meet a picture larger than the frost; one that is must be covered.
        factor = max(scale, (height + 1) / picture.shape[0], (width + 1) / picture.shape[1])
        if factor != 1.0:
            picture = cv2.resize(picture, (0, 0), fx=factor, fy=factor)
        picture = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB if channels == 3 else cv2.COLOR_BGR2GRAY)
        places.append((start, *picture.shape[:2]))
        flat.append(picture.reshape(-1))
        start += picture.size
    return np.concatenate(flat), np.array(places, np.int64)


@kernel
def _frost(
    x: U8, out: U8, words: U32, flat: U8, places: NDArray[np.int64], image_weight: float, frost_weight: float
) -> None:
    count, height, width, channels = x.shape
    for i in range(count):
        start, rows, columns = places[below(words[i, 0], len(places))]
        top, left = below(words[i, 1], rows - height), below(words[i, 2], columns - width)
        for y in range(height):
            source, target = x[i, y].reshape(-1), out[i, y].reshape(-1)
            first = start + ((top + y) * columns + left) * channels
            ice = flat[first : first + width * channels]
            for j in range(len(source)):
                target[j] = np.uint8(np.int32(min(image_weight * source[j] + frost_weight * ice[j], 255.0)))


def frost(
    x: U8,
    out: U8,
    draws: Draws,
    image_weight: float,
    frost_weight: float,
    frost_scale: float,
    *,
    pictures: str | os.PathLike[str] | None = None,
) -> None:
    """clip(image_weight * x + frost_weight * ice), ice a random crop of one of five frost pictures shrunk by frost_scale.

    The second and the third picture have the same pixels, so that one of four comes twice as often.
    """
    flat, places = _frost_pictures(_checked_folder(pictures), frost_scale, *x.shape[1:])
    _frost(x, out, first_words(draws.key, 0, draws.indices), flat, places, image_weight, frost_weight)


@inline
def _plasma(words: NDArray[np.uint32], side: int, decay: float, height: NDArray[np.float32]) -> None:
    """Diamond-square on a torus: `height` (side, side) from side**2 words."""
    height[0, 0] = 0.0
    step = side
    wibble = 100.0
    used = 1
    while step >= 2:
        half = step // 2
        scale = np.float32(wibble * wibble * 2.0**-31)
        offset = np.float32(wibble * wibble)
        for y in range(0, side, step):
            for x in range(0, side, step):
                y2, x2 = (y + step) % side, (x + step) % side
                total = height[y, x] + height[y2, x] + height[y, x2] + height[y2, x2]
                height[y + half, x + half] = total * np.float32(0.25) + (np.float32(words[used]) * scale - offset)
                used += 1
        for y in range(0, side, step):
            for x in range(0, side, step):
                above, left = (y + half - step) % side, (x + half - step) % side
                y2, x2 = (y + step) % side, (x + step) % side
                total = height[y, x] + height[y, x2] + height[above, x + half] + height[y + half, x + half]
                height[y, x + half] = total * np.float32(0.25) + (np.float32(words[used]) * scale - offset)
                used += 1
                total = height[y, x] + height[y2, x] + height[y + half, left] + height[y + half, x + half]
                height[y + half, x] = total * np.float32(0.25) + (np.float32(words[used]) * scale - offset)
                used += 1
        step = half
        wibble /= decay


@kernel
def _fog(x: U8, out: U8, key: np.uint64, index: NDArray[np.int64], side: int, strength: float, decay: float) -> None:
    count, rows, columns, channels = x.shape
    words = np.empty(side * side, np.uint32)
    height = np.empty((side, side), np.float32)
    for i in range(count):
        fill(words, key, 0, index[i])
        _plasma(words, side, decay, height)
        low = high = height[0, 0]
        for y in range(side):
            row = height[y]
            for j in range(side):
                low = min(low, row[j])
                high = max(high, row[j])
        brightest = np.uint8(0)
        flat = x[i].reshape(-1)
        for j in range(len(flat)):
            brightest = max(brightest, flat[j])
        # In gray levels: (v + 255 * strength * plasma) * m / (m + 255 * strength), m the brightest level.
        gain = np.float32(brightest / (brightest + 255.0 * strength))
        scale = np.float32(255.0 * strength / (high - low))
        for y in range(rows):
            for j in range(columns):
                mist = (height[y, j] - low) * scale
                for c in range(channels):
                    value = (np.float32(x[i, y, j, c]) + mist) * gain
                    out[i, y, j, c] = np.uint8(min(max(value, np.float32(0)), np.float32(255)))


def fog(x: U8, out: U8, draws: Draws, strength: float, decay: float) -> None:
    """clip((x + strength * plasma) * max(x) / (max(x) + strength)), plasma a diamond-square fractal in [0, 1].

    The map's side is the power of two that covers the picture; its range is taken over the whole map.
    """
    side = 1 << (max(x.shape[1:3]) - 1).bit_length()
    _fog(x, out, draws.key, draws.indices, side, strength, decay)


@functools.lru_cache(maxsize=32)
def _value_gain(shift: float) -> F32:
    """Return V' / V of each level V, where V' = min(V + shift, 1)."""
    v = np.arange(256) / 255.0
    gain = np.ones(256)
    gain[1:] = np.minimum(v[1:] + shift, 1.0) / v[1:]
    return gain.astype(np.float32)


@kernel
def _brightness(x: U8, out: U8, gain: F32, black: np.uint8) -> None:
    pixels, channels = x.shape
    for p in range(pixels):
        value = x[p, 0]
        for c in range(1, channels):
            value = max(value, x[p, c])
        g = gain[value]
        for c in range(channels):
            out[p, c] = np.uint8(np.float32(x[p, c]) * g + np.float32(filters.SLACK)) if value else black


def brightness(x: U8, out: U8, draws: Draws, value_shift: float) -> None:
    """V + value_shift in HSV, clipped: each channel is scaled by V' / V, and a black pixel becomes gray."""
    channels = x.shape[3]
    _brightness(
        x.reshape(-1, channels), out.reshape(-1, channels), _value_gain(value_shift), np.uint8(value_shift * 255)
    )
