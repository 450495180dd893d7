"""One decoder of image files and one order of file names, shared by data sources and corruption archives."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from lcrbench.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES: Final = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff"}
FORMATS: Final = ("PNG", "JPEG", "BMP", "WEBP", "PPM", "TIFF")

# A photograph of this many pixels is rare; a file of a few kB that unpacks to more is an attack or a mistake.
_MAX_PIXELS: Final = 1 << 26

_DIGITS: Final = re.compile("([0-9]+)")


def decode(content: bytes, where: str, size: int | None = None) -> NDArray[np.uint8]:
    """Return the image in a file as 8-bit RGB, (H, W, 3); with `size`, fitted to (size, size, 3) by `fit`.

    Transparency is dropped, EXIF rotation is not applied, and only the first of several frames is read. `where` names the
    file in errors. Raises `UserError` if the file is damaged, of a format outside `FORMATS`, of more than 8 bits a
    channel, or too large.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height > _MAX_PIXELS:
                raise UserError(f"it is {image.width} x {image.height} px, more than {_MAX_PIXELS:,} in all")
            if image.mode.startswith(("I", "F")):
                raise UserError("it has more than 8 bits a channel: convert it")
            rgb = image.convert("RGB")
            return np.asarray(rgb if size is None else fit(rgb, size))
    except UnidentifiedImageError as error:
        raise UserError(f"{where} is damaged: it is none of {', '.join(FORMATS)}; get it again") from error
    except UserError as error:
        raise UserError(f"{where} cannot be used: {error}") from error
    except Exception as error:  # each of Pillow's decoders fails in its own way
        raise UserError(f"{where} is damaged ({error}): get it again") from error


def fit(image: Image.Image, size: int) -> Image.Image:
    """Return the image with its shorter side resized to `size` (bilinear, antialiased), and the centre cropped.

    The rounding is that of torchvision's `Resize` and `CenterCrop`. Raises `UserError` if the image is so oblong that the
    resized one would be too large.
    """
    from PIL import Image

    width, height = image.size
    if (width, height) == (size, size):
        return image
    short = min(width, height)
    # torchvision's rounding: Resize truncates the longer side, CenterCrop rounds its margins half to even.
    wide, high = (size, size * height // width) if width == short else (size * width // height, size)
    if wide * high > _MAX_PIXELS:
        raise UserError(f"it is {width} x {height} px, too oblong to resize")
    left, top = round((wide - size) / 2), round((high - size) / 2)
    resized = image.resize((wide, high), Image.Resampling.BILINEAR)
    return resized.crop((left, top, left + size, top + size))


def natural(path: tuple[str, ...]) -> tuple[object, ...]:
    """Return the sorting key of a path: folder by folder, runs of digits by their value, ties ("1", "01") by the text.

    It is the order of classes and of the files within a class.

    >>> sorted([("10",), ("9",), ("b",), ("09",)], key=natural)
    [('09',), ('9',), ('10',), ('b',)]
    """
    return tuple(tuple(_run(text) for text in _DIGITS.split(part) if text) for part in path), path


def _run(text: str) -> tuple[bool, int, str]:
    """Return the key of digits or of other text; digits sort first, and as (length, digits) may be of any length."""
    digits = text.lstrip("0")
    return (False, len(digits), digits) if _DIGITS.match(text) else (True, 0, text)
