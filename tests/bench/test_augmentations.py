"""Augmentations: each image's result follows from (seed, epoch, index); laws and operations as torchvision's."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
import torch
from torch.nn import functional
from torchvision.transforms import RandomResizedCrop, v2

from lcrbench.bench.records.budget import Recipe
from lcrbench.bench.seeds import generator
from lcrbench.bench.training import parts
from lcrbench.bench.training.transforms import _based, randaugment
from lcrbench.errors import UserError

NAMES = ["random-resized-crop", "colour-jitter", "cutout", "randaugment", "augmix"]


def load(text: str):  # type: ignore[no-untyped-def]
    return parts.load(Recipe(augmentation=text)).augmentation


def pictures(n: int = 6, size: int = 32) -> torch.Tensor:
    rng = np.random.default_rng(0)
    smooth = rng.integers(0, 256, (n, 4, 4, 3)).repeat(size // 4, 1).repeat(size // 4, 2)
    return torch.from_numpy((smooth * 3 // 4 + rng.integers(0, 64, smooth.shape)).astype(np.uint8))


@pytest.mark.parametrize("name", NAMES)
def test_draws_of_an_image_do_not_depend_on_the_others(name: str) -> None:
    """Nor on how many there are: a part of the data can be drawn alone."""
    part = load(name)
    more, less = (part.draw(generator(3, "augmentation", 1), n, 32) for n in (9, 4))
    assert np.array_equal(more[:4], less)
    images = pictures()
    draws = torch.from_numpy(part.draw(generator(3, "augmentation", 1), 6, 32))
    out = part.apply(images, draws, 32)
    assert out.shape == (6, 32, 32, 3)
    assert torch.equal(out[4:5], part.apply(images[4:5], draws[4:5], 32))
    other = part.apply(images, torch.from_numpy(part.draw(generator(3, "augmentation", 2), 6, 32)), 32)
    assert not torch.equal(out, other)


def test_crop_flip_is_what_it_was() -> None:
    part = load("crop-flip")
    draws = part.draw(generator(0, "augmentation", 0), 6, 32)
    out = part.apply(pictures(), torch.from_numpy(draws), 32)
    assert hashlib.sha256(out.contiguous().numpy().tobytes()).hexdigest()[:16] == "0bdbddabcfdd6b8f"


def test_the_crop_is_torchvisions() -> None:
    """Same law of area and ratio, and for the same place the same pixels."""
    scale, ratio = (0.08, 1.0), (3 / 4, 4 / 3)
    rows = _based.units(torch.from_numpy(_based.uniforms(np.random.default_rng(0), 4000, _based.CROP)))
    ours = np.array([_based._place(40, 60, u, scale, ratio) for u in rows])
    torch.manual_seed(0)
    theirs = np.array(
        [RandomResizedCrop.get_params(torch.zeros(3, 40, 60), list(scale), list(ratio)) for _ in range(4000)]
    )
    for k in range(4):
        spread = math.sqrt(ours[:, k].var() / 4000 + theirs[:, k].var() / 4000)
        assert abs(ours[:, k].mean() - theirs[:, k].mean()) < 5 * spread
        assert abs(ours[:, k].std() / theirs[:, k].std() - 1) < 0.08
    assert (ours[:, 0] + ours[:, 2]).max() <= 40
    assert (ours[:, 1] + ours[:, 3]).max() <= 60
    image = pictures(1, 64)[0].permute(2, 0, 1)
    u = [*rows[0][:-1], 0.9]
    top, left, h, w = _based._place(64, 64, u, scale, ratio)
    cut = image[:, top : top + h, left : left + w]
    expected = functional.interpolate(cut[None], (32, 32), mode="bilinear", antialias=True)[0]
    # Before torchvision 0.22 it rounds what was resized as floats.
    assert (expected.int() - v2.functional.resize(cut, [32, 32], antialias=True).int()).abs().max() <= 1
    assert torch.equal(_based.resized_crop(image, u, 32, scale, ratio), expected)
    assert torch.equal(_based.resized_crop(image, [*u[:-1], 0.1], 32, scale, ratio), expected.flip(-1))


def test_an_oblong_image_falls_back_to_the_centre() -> None:
    u = [0.5] * _based.CROP
    assert _based._place(4, 400, u, (0.9, 1.0), (3 / 4, 4 / 3)) == (0, 197, 4, 5)


def test_randaugments_operations_are_torchvisions() -> None:
    theirs = v2.RandAugment()
    names = {
        "identity": "Identity", "shear-x": "ShearX", "shear-y": "ShearY", "translate-x": "TranslateX",
        "translate-y": "TranslateY", "rotate": "Rotate", "brightness": "Brightness", "colour": "Color",
        "contrast": "Contrast", "sharpness": "Sharpness", "posterize": "Posterize", "solarize": "Solarize",
        "autocontrast": "AutoContrast", "equalize": "Equalize",
    }  # fmt: skip
    assert sorted(names) == sorted(randaugment.OPERATIONS)
    assert set(names.values()) == set(theirs._AUGMENTATION_SPACE)
    image = pictures(1)[0].permute(2, 0, 1)
    for ours, name in names.items():
        magnitudes, signed = theirs._AUGMENTATION_SPACE[name]
        table = magnitudes(31, 32, 32)
        for level in (0, 9, 30):
            for sign in (1, -1) if signed else (1,):
                strength = sign * float(table[level]) if table is not None else 0.0
                expected = theirs._apply_image_or_video_transform(
                    image, name, strength, interpolation=v2.InterpolationMode.NEAREST, fill={}
                )
                # Their strengths are rounded to float32: some colours then fall one level to the other side.
                apart = (randaugment._operate(ours, image, level / 30, sign).int() - expected.int()).abs()
                assert apart.max() <= 1, (ours, level, sign)
                assert (apart > 0).float().mean() < 0.01, (ours, level, sign)


def test_colour_jitter_without_strength_is_the_base() -> None:
    images = pictures()
    plain, none = load("colour-jitter:base=none,brightness=0,contrast=0,saturation=0,hue=0"), load("cutout:base=none")
    draws = torch.from_numpy(plain.draw(generator(0, "a", 0), 6, 32))
    assert torch.equal(plain.apply(images, draws, 32), images)
    draws = torch.from_numpy(none.draw(generator(0, "a", 0), 6, 32))
    holes = (none.apply(images, draws, 32) != images).any(-1).sum((1, 2))
    assert (holes <= 256).all()
    assert (holes >= 49).all()


def test_colour_jitters_factors() -> None:
    images = pictures(1)
    part = load("colour-jitter:base=none,contrast=0,saturation=0,hue=0,brightness=0.5")
    draws = torch.from_numpy(part.draw(generator(0, "a", 0), 1, 32))
    factor = 0.5 + float(draws[0, _based.CROP]) / 2**53
    expected = v2.functional.adjust_brightness(images[0].permute(2, 0, 1), factor)
    assert torch.equal(part.apply(images, draws, 32)[0].permute(2, 0, 1), expected)


def test_augmix_is_a_mixture() -> None:
    """A grey image stays grey where operations can only move it; strengths grow with the severity."""
    images = pictures(40)
    far = []
    for severity in (1, 5, 10):
        part = load(f"augmix:base=none,severity={severity}")
        draws = torch.from_numpy(part.draw(generator(0, "a", 0), 40, 32))
        far.append(float((part.apply(images, draws, 32).float() - images.float()).abs().mean()))
    assert far[0] < far[1] < far[2]


@pytest.mark.parametrize(
    "text",
    ["cutout:share=0", "cutout:base=x", "augmix:severity=11", "randaugment:magnitude=31", "randaugment:operations=9",
     "random-resized-crop:scale=(0,1)", "colour-jitter:hue=1"],
)  # fmt: skip
def test_wrong_options(text: str) -> None:
    with pytest.raises(UserError, match=r"recipe\.augmentation"):
        load(text)
