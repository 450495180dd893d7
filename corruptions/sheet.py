"""Draws every corruption at every severity of one image, as one picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from lcrbench import disk, untrusted
from lcrbench.corruption_names import SEVERITIES, names
from lcrbench.corruptions.engine import constants_for, corrupt
from lcrbench.errors import UserError
from lcrbench.images import decode

TILE = 96  # pixels; a smaller image is magnified by a whole number, a larger one is reduced
GAP, LABEL, MARGIN, TITLE = 4, 128, 16, 44
INK, PALE = (30, 30, 36), (120, 120, 130)


def draw(
    image: NDArray[np.uint8],
    chosen: Sequence[str] | None = None,
    *,
    seed: int = 0,
    constants: str | None = None,
    frost_pictures: str | Path | None = None,
    title: str = "",
) -> NDArray[np.uint8]:
    """Return the sheet of an (H, W, 3) or (H, W) image as (h, w, 3) uint8: a row a corruption, severity 1 to 5 across.

    The rows stand in two columns; the clean image is at the top left. `chosen` are the corruptions, by default all
    nineteen; the four that mCE does not average are marked as extra.
    """
    if image.ndim not in (2, 3):
        raise UserError(f"the sheet takes one image, (H, W, 3) or (H, W), not an array of the shape {image.shape}")
    rows = list(names("all") if chosen is None else chosen)
    extra = names("extra")
    half = -(-(len(rows) + 1) // 2) if len(rows) > 6 else len(rows) + 1
    columns = -(-(len(rows) + 1) // half)
    across = LABEL + len(SEVERITIES) * (TILE + GAP)
    sheet = Image.new(
        "RGB",
        (2 * MARGIN + columns * across + (columns - 1) * 2 * MARGIN, MARGIN + TITLE + half * (TILE + GAP) + MARGIN),
        "white",
    )
    pen = ImageDraw.Draw(sheet)
    used = constants or constants_for(*image.shape[:2])
    heading = title or f"Corruptions of a {image.shape[1]} x {image.shape[0]} image"
    pen.text((MARGIN, MARGIN - 4), heading, INK, _font(17))
    note = "; extra: not among the 15 that mCE averages" if {*rows} & {*extra} else ""
    pen.text((MARGIN, MARGIN + 18), f"{used} constants, severity 1 to 5 from left to right{note}", PALE, _font(13))
    for place, name in enumerate(["clean", *rows]):
        column, row = divmod(place, half)
        x = MARGIN + column * (across + 2 * MARGIN)
        y = MARGIN + TITLE + row * (TILE + GAP)
        label = name.replace(":", ":\n").replace("_", "\n", 1)
        lines = label.count("\n") + 1
        pen.multiline_text((x, y + TILE // 2 - 9 * lines), label, INK, _font(15), spacing=3)
        if name in extra:
            pen.text((x, y + TILE // 2 + 9 * lines + 3), "(extra)", PALE, _font(13))
        if name == "clean":
            sheet.paste(_tile(image), (x + LABEL, y))
            continue
        for k, severity in enumerate(SEVERITIES):
            options: dict[str, Any] = {"pictures": frost_pictures} if name == "frost" else {}
            result = corrupt(image[None], name, severity, seed=seed, constants=constants, **options)[0]
            sheet.paste(_tile(result), (x + LABEL + k * (TILE + GAP), y))
    return np.asarray(sheet)


def save(path: str | Path, sheet: NDArray[np.uint8]) -> None:
    """Write a sheet as PNG. Raises `UserError` if the file cannot be written."""
    try:
        with disk.replacing(untrusted.place(path)) as draft:
            Image.fromarray(sheet).save(draft, "PNG", optimize=True)
    except OSError as error:
        raise UserError(f"cannot write '{path}': {error.strerror or error}") from error


def read(path: str | Path, side: int | None = None) -> NDArray[np.uint8]:
    """Read an image file as (H, W, 3) uint8; with `side`, its centre square resized to side x side."""
    image = Image.fromarray(decode(untrusted.small_file(untrusted.place(path), "image"), f"'{path}'"))
    if side is not None:
        side, edge = untrusted.whole(side, "the side in pixels", 1, 1024), min(image.size)
        left, top = (image.width - edge) // 2, (image.height - edge) // 2
        image = image.crop((left, top, left + edge, top + edge)).resize((side, side), Image.Resampling.BOX)
    return np.asarray(image)


def _tile(image: NDArray[np.uint8]) -> Image.Image:
    picture = Image.fromarray(image).convert("RGB")
    longest = max(picture.size)
    if longest <= TILE:
        factor = TILE // longest
        picture = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    else:
        size = (max(1, picture.width * TILE // longest), max(1, picture.height * TILE // longest))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    tile = Image.new("RGB", (TILE, TILE), "white")
    tile.paste(picture, ((TILE - picture.width) // 2, (TILE - picture.height) // 2))
    return tile


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
