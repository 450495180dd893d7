"""Ordinary JPEGs are decoded by OpenCV to the bits of Pillow; all others are left to Pillow."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lcrbench import images
from lcrbench.errors import UserError


def photograph(seed: int, width: int, height: int) -> Image.Image:
    """Smooth colours with noise."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    noisy = np.asarray(small).astype(int) + rng.integers(-9, 10, (height, width, 3))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def jpeg(image: Image.Image, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", **options)
    return out.getvalue()


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 30}, {"quality": 100, "optimize": True}])
@pytest.mark.parametrize("side", [(32, 32), (33, 17), (1, 1), (64, 48), (500, 375)])
def test_equal_bits(side: tuple[int, int], options: dict[str, object], subsampling: int) -> None:
    for k, image in enumerate((photograph(1, *side), photograph(2, *side).convert("L"))):
        content = jpeg(image, subsampling=subsampling, **options) if not k else jpeg(image, **options)
        plain = images._plain_jpeg(content)
        assert plain is not None
        assert np.array_equal(plain, np.asarray(Image.open(io.BytesIO(content)).convert("RGB")))


def test_what_is_left_to_pillow() -> None:
    image = photograph(1, 40, 30)
    whole = jpeg(image)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees: not applied
    turned = jpeg(image, exif=exif)
    out = io.BytesIO()
    image.save(out, "PNG")
    for content in (jpeg(image.convert("CMYK")), out.getvalue(), jpeg(image, keep_rgb=True), turned):
        assert images.decode(content, "x").shape == (30, 40, 3)
        assert np.array_equal(images.decode(content, "x"), np.asarray(Image.open(io.BytesIO(content)).convert("RGB")))
    for end in (1, 3, 100, len(whole) // 2, len(whole) - 3):
        assert images._plain_jpeg(whole[:end]) is None
        with pytest.raises(UserError, match="damaged"):
            images.decode(whole[:end], "x")


def test_a_header_that_states_gigabytes() -> None:
    whole = bytearray(jpeg(photograph(1, 40, 30)))
    place = whole.index(b"\xff\xc0")
    whole[place + 5 : place + 9] = b"\xff\xff\xff\xff"
    with pytest.raises(UserError):
        images.decode(bytes(whole), "x")


def test_golden_hash() -> None:
    """Another version of libjpeg-turbo, in either decoder, would make other data sets of the same files."""
    import hashlib

    file = Path(__file__).with_name("golden.jpg")
    assert (
        hashlib.sha256(images.decode(file.read_bytes(), "golden.jpg").tobytes()).hexdigest()[:16] == "1b4515fb5628b38f"
    )
