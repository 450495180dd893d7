"""Frost: a random crop of a photograph of ice over the picture."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lcrbench import untrusted
from lcrbench.corruptions.draws import Draws
from lcrbench.corruptions.engine import frost_sha256
from lcrbench.corruptions.kernel import kernel
from lcrbench.corruptions.philox import U8, U32, below, first_words
from lcrbench.errors import UserError

FILES = ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg")  # frost6.jpg is never drawn


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
                f"{FILES[0]} ... {FILES[-1]} by the option 'pictures'"
            )
        folder = places[0] / "frost"
    else:
        folder = untrusted.place(pictures)
    for name, digest in frost_sha256().items():
        if not (folder / name).is_file():
            raise UserError(f"frost picture '{folder / name}' is missing: the folder must hold {', '.join(FILES)}")
        content = untrusted.small_file(folder / name, "frost picture")
        if hashlib.sha256(content).hexdigest() != digest:
            raise UserError(f"frost picture '{folder / name}' is not the official one: its sha256 is not {digest}")
    return folder


_checked_folder = functools.lru_cache(maxsize=8)(frost_folder)


@functools.lru_cache(maxsize=8)
def _pictures(folder: Path, scale: float, height: int, width: int, channels: int) -> tuple[U8, NDArray[np.int64]]:
    """Return all frost pictures one after the other, and (offset, height, width) of each."""
    import cv2

    flat, places = [], []
    start = 0
    for name in FILES:
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
def _mix(
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


def into(
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
    folder = _checked_folder(None if pictures is None else untrusted.place(pictures))
    flat, places = _pictures(folder, frost_scale, *x.shape[1:])
    _mix(x, out, first_words(draws.key, 0, draws.indices), flat, places, image_weight, frost_weight)
