"""One decoder of image files and one order of file names, shared by data sources and corruption archives."""

from __future__ import annotations

import importlib
import io
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from lcrbench.errors import UserError
from lcrbench.versions import installed

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
        if (plain := _plain_jpeg(content)) is not None:
            if size is None or plain.shape[:2] == (size, size):
                return plain
            return np.asarray(fit(Image.fromarray(plain), size))
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


def _plain_jpeg(content: bytes) -> NDArray[np.uint8] | None:
    """Return the image (H, W, 3) in an ordinary JPEG, by simplejpeg or OpenCV, which are faster; None for all else.

    All decode by libjpeg-turbo, to the same bits (tests/data/test_decoders.py). Left to Pillow are files that are cut
    off, of other colours than grey and YCbCr (told by Adobe's marker), of more than 8 bits, damaged, or too large.
    """
    shape = _jpeg_shape(content)
    if shape is None or shape[0] * shape[1] > _MAX_PIXELS:
        return None
    if (simple := _simplejpeg()) is not None:
        try:
            decoded: NDArray[np.uint8] = simple.decode_jpeg(content, "RGB")
        except ValueError:
            return None
        return decoded if decoded.shape[:2] == shape else None
    import cv2

    as_rgb = getattr(cv2, "IMREAD_COLOR_RGB", None)  # since OpenCV 4.11
    flag = cv2.IMREAD_COLOR if as_rgb is None else as_rgb
    try:
        found = cv2.imdecode(np.frombuffer(content, np.uint8), flag | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        return None
    if found is None or found.shape[:2] != shape:
        return None
    rgb: NDArray[np.uint8] = cv2.cvtColor(found, cv2.COLOR_BGR2RGB) if as_rgb is None else found
    return rgb


@cache
def _simplejpeg() -> Any:
    """Return the module, an extra; None where it is not installed."""
    try:
        return importlib.import_module("simplejpeg")
    except ImportError:
        return None


@cache
def decoders() -> dict[str, str]:
    """Return what decodes ordinary JPEG here and what all else, each with its version and that of its libjpeg-turbo."""
    from PIL import features

    return {
        "decoder of JPEG": _fast_decoder(),
        "decoder of other images": f"pillow {installed('pillow')} (libjpeg-turbo {features.version('libjpeg_turbo')})",
    }


def _fast_decoder() -> str:
    if (simple := _simplejpeg()) is not None:
        # The version stands in the library alone.
        library = Path(importlib.import_module("simplejpeg._jpeg").__file__ or "").read_bytes()
        found = re.search(rb"libjpeg-turbo version ([\d.]+)", library)
        return f"simplejpeg {simple.__version__} (libjpeg-turbo {found[1].decode() if found else 'unknown'})"
    import cv2

    told = re.search(r"JPEG:.*libjpeg-turbo \(ver ([\d.]+)", cv2.getBuildInformation())
    return f"opencv {cv2.__version__} (libjpeg-turbo {told[1] if told else 'unknown'})"


def _jpeg_shape(content: bytes) -> tuple[int, int] | None:
    """Return height and width of a whole JPEG of 8 bits, grey or of JFIF's three colours; None for any other content."""
    if not content.startswith(b"\xff\xd8\xff") or not content.endswith(b"\xff\xd9"):
        return None
    place, jfif = 2, False
    while place + 9 < len(content) and content[place] == 0xFF:
        marker, length = content[place + 1], int.from_bytes(content[place + 2 : place + 4], "big")
        if marker in (0xC0, 0xC1, 0xC2):
            bits, components = content[place + 4], content[place + 9]
            height, width = (int.from_bytes(content[place + k : place + k + 2], "big") for k in (5, 7))
            return (height, width) if bits == 8 and components in (1, 3) and jfif and height and width else None
        if marker == 0xEE or not 0xC4 <= marker <= 0xFE or length < 2:
            return None
        jfif |= marker == 0xE0 and content[place + 4 : place + 9] == b"JFIF\0"
        place += 2 + length
    return None


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
