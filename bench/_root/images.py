"""One decoder of image files and one order of file names, shared by data sources and corruption archives."""

from __future__ import annotations

import importlib
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
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

# Endings of image files that the decoder does not read.
_OTHER_IMAGES: Final = {".jfif", ".jpe", ".gif", ".heic", ".avif", ".jp2", ".jxl", ".svg"}

FORMATS: Final = ("PNG", "JPEG", "BMP", "WEBP", "PPM", "TIFF")

# A photograph of this many pixels is rare; a file of a few kB that unpacks to more is an attack or a mistake. A small file
# may hold fewer: an even surface packs well, and a bomb packs better.
_MAX_PIXELS: Final = 1 << 26
_FREE_PIXELS: Final = 1 << 24
_PIXELS_A_BYTE: Final = 256

# The longest side. Pillow keeps a pointer for each row, so that a column of pixels takes many times the memory of a square.
_MAX_SIDE: Final = (1 << 16) - 1

# A scan begins so. Encoders make ten; in what else a JPEG holds (a small picture, a profile) the bytes stand by chance.
_SCAN: Final = b"\xff\xda"
_MAX_SCANS: Final = 40
_SCAN_BYTES: Final = 1 << 14

# Pillow reads headers piece by piece, in Python. An encoder's pieces are far larger than 256 bytes, but for some thousand.
_FREE_READS: Final = 10_000
_BYTES_A_READ: Final = 256
_READS_OF_RUNS: Final = 1 << 22  # the runs of a packed BMP are read byte by byte
_MAX_SEGMENTS: Final = 10_000

# What a JPEG ends with.
_END: Final = b"\xff\xd9"

_DIGITS: Final = re.compile("([0-9]+)")


def decode(content: bytes, where: str, size: int | None = None) -> NDArray[np.uint8]:
    """Return the image in a file as 8-bit RGB, (H, W, 3); with `size`, fitted to (size, size, 3) by `fit`.

    Transparency is dropped, EXIF rotation is not applied, and only the first of several frames is read. `where` names the
    file in errors. Raises `UserError` if the file is damaged, of a format outside `FORMATS`, of more than 8 bits a
    channel, or too large.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        _check_scans(content)
        if (plain := _plain_jpeg(content)) is not None:
            _check_whole(content, plain)
            if size is None or plain.shape[:2] == (size, size):
                return plain
            return np.asarray(fit(Image.fromarray(plain), size))
        file = _Bounded(content)
        with _unwarned(), Image.open(file, formats=FORMATS) as image:
            _check_pixels(image.height, image.width, len(content))
            if image.format == "BMP":
                file.left = _READS_OF_RUNS
            if image.mode.startswith(("I", "F")):
                raise UserError("it has more than 8 bits a channel: convert it")
            rgb = image.convert("RGB")
            if image.format == "JPEG":
                _check_whole(content, np.asarray(rgb))
            return np.asarray(rgb if size is None else fit(rgb, size))
    except UnidentifiedImageError as error:
        raise UserError(f"{where} is damaged: it is none of {', '.join(FORMATS)}; get it again") from error
    except UserError as error:
        raise UserError(f"{where} cannot be used: {error}") from error
    except Exception as error:  # each of Pillow's decoders fails in its own way
        raise UserError(f"{where} is damaged ({error}): get it again") from error


def size_of(content: bytes, where: str) -> tuple[int, int]:
    """Return the height and width of the image in a file, whose pixels are not decoded.

    `where` names the file in errors. Raises `UserError` if it is damaged, or of a format outside `FORMATS`.
    """
    from PIL import Image

    try:
        with _unwarned(), Image.open(_Bounded(content), formats=FORMATS) as image:
            return image.height, image.width
    except Exception as error:  # each of Pillow's decoders fails in its own way
        raise UserError(f"{where} is damaged ({error}): get it again") from error


class _Bounded(io.BytesIO):
    """A file's bytes, which are read in as many pieces as are `left`: only headers without end have more."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.left = _FREE_READS + len(content) // _BYTES_A_READ

    def read(self, size: int | None = -1, /) -> bytes:
        self.left -= 1
        if self.left < 0:
            raise UserError("it is read in too many small pieces: save it as PNG")
        return super().read(size)


@contextmanager
def _unwarned() -> Iterator[None]:
    """Leave out what Pillow warns of: thousands of lines for the tags of one file, which is read or refused."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _check_pixels(height: int, width: int, size: int) -> None:
    """Raise `UserError` for more pixels than a file of so many bytes may hold."""
    most = min(_MAX_PIXELS, _FREE_PIXELS + _PIXELS_A_BYTE * size)
    if height * width > most or max(height, width) > _MAX_SIDE:
        raise UserError(
            f"it is {width} x {height} px, more than {most:,} in all (of {size:,} bytes), or than {_MAX_SIDE:,} on a side"
        )


def _check_scans(content: bytes) -> None:
    """Raise `UserError` for a JPEG of more scans than any encoder makes: a decoder goes through the whole image for each."""
    if content.startswith(b"\xff\xd8") and content.count(_SCAN) > _MAX_SCANS + len(content) // _SCAN_BYTES:
        raise UserError(f"it is a JPEG of more than {_MAX_SCANS} scans")


def _check_whole(content: bytes, image: NDArray[np.uint8]) -> None:
    """Raise `UserError` if a JPEG states more rows than it holds: libjpeg fills the rest with mid-grey and says nothing.

    Where the last pixels are of that grey, the file is decoded again with other data behind its own, which only what is
    missing takes up.
    """
    # Of their brightness: colours of the row above may run into them.
    corner = image[-1:, -8:] @ np.array([0.299, 0.587, 0.114])
    if not content.endswith(_END) or np.abs(corner - 128).max() > 1:
        return
    import cv2

    more = content[: -len(_END)] + bytes(range(1, 255)) * 8 + _END
    again = cv2.imdecode(np.frombuffer(more, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    first = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if again is None or first is None or not np.array_equal(again, first):
        raise UserError("its header states more pixels than it holds")


def _plain_jpeg(content: bytes) -> NDArray[np.uint8] | None:
    """Return the image (H, W, 3) in an ordinary JPEG, by simplejpeg or OpenCV, which are faster; None for all else.

    All decode by libjpeg-turbo, to the same bits (tests/data/test_decoders.py). Left to Pillow are files that are cut
    off, of other colours than grey and YCbCr (told by Adobe's marker), of more than 8 bits, damaged, or too large.
    """
    shape = _jpeg_shape(content)
    if shape is None:
        return None
    _check_pixels(*shape, len(content))
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
    if not content.startswith(b"\xff\xd8\xff") or not content.endswith(_END):
        return None
    place, jfif = 2, False
    for _ in range(_MAX_SEGMENTS):
        if place + 9 >= len(content) or content[place] != 0xFF:
            return None
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


def why_passed(parts: tuple[str, ...]) -> str:
    """Return why the file at a path is passed over, in words that a number of files stands before; "" for an image.

    >>> why_passed(("cat", "1.jpg")), why_passed(("cat", "1.GIF")), why_passed(("cat", "._1.jpg")), why_passed((".git", "x"))
    ('', 'images ending in .gif', 'hidden', 'in hidden folders')
    """
    if "__MACOSX" in parts[:-1]:
        return "of macOS (__MACOSX)"
    if hides(parts[:-1]):
        return "in hidden folders"
    if parts[-1].startswith("."):
        return "hidden"
    dot = parts[-1].rfind(".")
    suffix = parts[-1][dot:].lower() if 0 < dot < len(parts[-1]) - 1 else ""
    if suffix in SUFFIXES:
        return ""
    if not suffix.isprintable() or len(suffix) > 12:
        return "with a strange ending"
    return (
        (f"images ending in {suffix}" if suffix in _OTHER_IMAGES else f"ending in {suffix}")
        if suffix
        else "without an ending"
    )


def hides(folders: tuple[str, ...]) -> bool:
    """Tell whether one of these folders is a hidden one, or of macOS."""
    return any(part.startswith(".") or part == "__MACOSX" for part in folders)


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
