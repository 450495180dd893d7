"""The weathers: snow, frost, fog, brightness."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
from pathlib import Path
from typing import Any

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
    dy, dx = np.empty(by, np.int64), np.empty(by, np.int64)
    wide = np.empty((height + 2 * by) * (width + 2 * by), np.float32)
    streaked = np.empty(height * (width + 2 * by), np.float32)
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
        room = filters.streak_room(layer, cosine[i], sine[i], by, dy, dx)
        pitch = filters.pad_edges(layer, room, wide)
        strip = streaked[: (height - 1) * pitch + width]
        filters.smear(wide, pitch, room[0] * pitch + room[2], 1, weight, dy, dx, strip)
        for j in range(len(strip)):
            strip[j] = np.float32(np.int32(strip[j] + np.float32(filters.QUANTUM)))
        for y in range(height):
            fresh, turned = streaked[y * pitch :], streaked[(height - 1 - y) * pitch :]
            source, target = x[i, y].reshape(-1), out[i, y].reshape(-1)
            step, end = np.uint64(channels), np.uint64(width - 1)
            for j in range(np.uint64(width)):
                fallen = fresh[j] + turned[end - j]
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

    flakes: a field of N(loc, scale^2), magnified by `zoom`, set to 0 below the threshold, made uint8, and
    motion-blurred at an angle from U(-135, -45) degrees.
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

    By default it is the one inside the installed `imagecorruptions` distribution (or its fork
    `imagecorruptions-imaug`), which is found but not imported. Raises `UserError` where pictures are missing or differ.
    """
    if pictures is None:
        spec = importlib.util.find_spec("imagecorruptions")
        places = [Path(p) for p in (spec.submodule_search_locations or ())] if spec else []
        if not places:
            raise UserError(
                "frost needs the official frost pictures: pip install imagecorruptions-imaug, or name a folder with "
                f"{FROST_FILES[0]} ... {FROST_FILES[-1]} by the option 'pictures'"
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
        if picture is None:
            raise UserError(f"frost picture '{folder / name}' cannot be decoded")
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
    folder = _checked_folder(None if pictures is None else Path(pictures))
    flat, places = _frost_pictures(folder, frost_scale, *x.shape[1:])
    _frost(x, out, first_words(draws.key, 0, draws.indices), flat, places, image_weight, frost_weight)


@inline
def _plasma(words: U32, side: int, decay: float, coarse: F32, fine: F32, centres: F32) -> Any:
    """Fill the flat map (side, side) by diamond-square on a torus, from side**2 words; return the buffer that holds it.

    Each round doubles the map: between the points of the coarse map come the centres of its squares, the middles of its
    rows and the middles of its columns, each the mean of its four neighbours plus U(-w^2, w^2), w = 100 at first and
    divided by `decay` a round.
    """
    coarse[0] = 0.0
    size = 1
    wibble = 100.0
    while size < side:
        # uint32 to (-w^2, w^2), through int32
        scale = np.float32(wibble * wibble * 2.0**-31)
        quarter = np.float32(0.25)
        count = size * size
        for y in range(size):
            here = coarse[y * size : (y + 1) * size]
            under = coarse[(y + 1) % size * size :][:size]
            row = centres[y * size : (y + 1) * size]
            word = words[count + y * size :][:size]
            for x in range(size - 1):
                total = here[x] + here[x + 1] + under[x] + under[x + 1]
                row[x] = total * quarter + np.float32(np.int32(word[x])) * scale
            total = here[size - 1] + here[0] + under[size - 1] + under[0]
            row[size - 1] = total * quarter + np.float32(np.int32(word[size - 1])) * scale
        for y in range(size):
            here = coarse[y * size : (y + 1) * size]
            under = coarse[(y + 1) % size * size :][:size]
            centre = centres[y * size : (y + 1) * size]
            above = centres[(y - 1 + size) % size * size :][:size]
            word, other = words[2 * count + y * size :][:size], words[3 * count + y * size :][:size]
            upper, lower = fine[4 * y * size :][: 2 * size], fine[(4 * y + 2) * size :][: 2 * size]
            for x in range(np.uint64(size)):
                after = x + np.uint64(1) if x + np.uint64(1) < np.uint64(size) else np.uint64(0)
                before = x - np.uint64(1) if x > np.uint64(0) else np.uint64(size - 1)
                upper[x + x] = here[x]
                total = here[x] + here[after] + above[x] + centre[x]
                upper[x + x + np.uint64(1)] = total * quarter + np.float32(np.int32(word[x])) * scale
                total = here[x] + under[x] + centre[before] + centre[x]
                lower[x + x] = total * quarter + np.float32(np.int32(other[x])) * scale
                lower[x + x + np.uint64(1)] = centre[x]
        coarse, fine = fine, coarse
        size *= 2
        wibble /= decay
    return coarse


@kernel
def _fog(x: U8, out: U8, key: np.uint64, index: NDArray[np.int64], side: int, strength: float, decay: float) -> None:
    count, rows, columns, channels = x.shape
    words = np.empty(side * side, np.uint32)
    one, two = np.empty(side * side, np.float32), np.empty(side * side, np.float32)
    centres = np.empty(max(side * side // 4, 1), np.float32)
    lowest, highest = np.empty(side, np.float32), np.empty(side, np.float32)
    mist = np.empty(columns * channels, np.float32)
    for i in range(count):
        fill(words, key, 0, index[i])
        height = _plasma(words, side, decay, one, two, centres)
        lowest[:], highest[:] = height[:side], height[:side]
        for y in range(1, side):  # column by column, so that the loop runs in vector registers
            row = height[y * side :][:side]
            for j in range(side):
                lowest[j] = row[j] if row[j] < lowest[j] else lowest[j]
                highest[j] = row[j] if row[j] > highest[j] else highest[j]
        low, high = lowest.min(), highest.max()
        brightest = np.uint8(0)
        flat = x[i].reshape(-1)
        for j in range(len(flat)):
            brightest = max(brightest, flat[j])
        # In gray levels: (v + 255 * strength * plasma) * m / (m + 255 * strength), m the brightest level.
        gain = np.float32(brightest / (brightest + 255.0 * strength))
        scale = np.float32(255.0 * strength / (high - low))
        for y in range(rows):
            row = height[y * side :][:columns]
            step = np.uint64(channels)
            for j in range(np.uint64(columns)):
                value = (row[j] - low) * scale
                mist[j * step] = value
                if channels == 3:
                    mist[j * step + np.uint64(1)] = value
                    mist[j * step + np.uint64(2)] = value
            source, target = x[i, y].reshape(-1), out[i, y].reshape(-1)
            for j in range(len(mist)):
                value = (np.float32(source[j]) + mist[j]) * gain
                target[j] = np.uint8(np.int32(min(max(value, np.float32(0)), np.float32(255))))


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
