"""The loops in vector registers, bit for bit against their formulas in NumPy; and none writes beyond its pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from lcrbench.corruptions import codec, constants_for, exact, filters, names, parameters, streak, zoom
from lcrbench.corruptions.draws import Draws, derive_key
from lcrbench.corruptions.functions import brightness, contrast, defocus_blur, pixelate
from lcrbench.corruptions.registered import find

F = np.float32
SHAPES = [(2, 32, 32, 3), (2, 9, 17, 3), (1, 33, 70, 3), (3, 13, 8, 1)]  # whole sixes of vectors, tails, gray
PAD = {filters.REFLECT_101: "reflect", filters.NEAREST: "edge", filters.REFLECT: "symmetric"}


def pictures(shape: tuple[int, ...]) -> np.ndarray:
    images = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    images[0, :5] = 0
    images[-1, :, :4] = 255
    return images


def levels(values: np.ndarray, slack: float = filters.SLACK) -> np.ndarray:
    return np.clip(values + F(slack), F(0), F(255)).astype(np.uint8)


def extended(images: np.ndarray, by: int, rule: int) -> np.ndarray:
    return np.pad(images, [(0, 0), (by, by), (by, by), (0, 0)], mode=PAD[rule]).astype(F)  # type: ignore[call-overload]


def shifted(wide: np.ndarray, shape: tuple[int, ...], y: int, x: int) -> np.ndarray:
    return wide[:, y : y + shape[1], x : x + shape[2]]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rule", list(PAD))
def test_taps_are_added_in_their_order(shape: tuple[int, ...], rule: int) -> None:
    x, weights = pictures(shape), np.random.default_rng(1).uniform(0, 0.1, (5, 5))
    weights[1, 2] = 0
    out = np.empty_like(x)
    filters.taps(x, out, weights, rule)
    wide, total = extended(x, 2, rule), np.zeros(shape, F)
    for dy, dx in zip(*np.nonzero(weights), strict=True):
        total += F(weights[dy, dx]) * shifted(wide, shape, dy, dx)
    assert (out == levels(total)).all()


def pairs(wide: np.ndarray, half: np.ndarray, axis: int) -> np.ndarray:
    by, n = len(half) - 1, wide.shape[axis] - 2 * (len(half) - 1)
    at = [np.take(wide, np.arange(by + t, by + t + n), axis) for t in range(-by, by + 1)]
    total = half[0] * at[by]
    for t in range(1, by + 1):
        total += half[t] * (at[by - t] + at[by + t])
    return total


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("sigma", [0.05, 0.7, 1.5])
def test_symmetric_weights_are_added_in_pairs(shape: tuple[int, ...], sigma: float) -> None:
    x, weights = pictures(shape), exact.gaussian_weights(sigma, truncate=4.0)
    out, half = np.empty_like(x), weights[len(weights) // 2 :].astype(F)
    filters.separable(x, out, weights)
    wide = extended(x, len(half) - 1, filters.NEAREST)
    assert (out == levels(pairs(pairs(wide, half, 1), half, 2))).all()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("degrees", [0.0, 37.0, -90.0, 180.0])
def test_a_streak_is_its_taps(shape: tuple[int, ...], degrees: float) -> None:
    x, weight = pictures(shape), streak.weights(4, 2.0).astype(F)
    out, by = np.empty_like(x), len(weight)
    streak.blur(x, out, 4, 2.0, np.full(len(x), degrees))
    radians = np.remainder(degrees, 360.0) * (np.pi / 180.0)
    wide, total = extended(x, by, filters.NEAREST), np.zeros(shape, F)
    for k in range(by):
        dx, dy = np.ceil(k * exact.cos(np.array(radians)) - 0.5), np.ceil(k * exact.sin(np.array(radians)) - 0.5)
        total += weight[k] * shifted(wide, shape, by + int(dy), by + int(dx))
    assert (out == levels(total, filters.QUANTUM)).all()


@pytest.mark.parametrize("radius", [6, 10])
def test_a_disk_is_summed_in_whole_numbers(radius: int) -> None:
    x = pictures((2, 33, 40, 3))
    out = np.empty_like(x)
    defocus_blur.into(x, out, Draws(np.uint64(0), np.arange(2)), radius, 0.5)
    half, widths, dy, dx, left = defocus_blur._disk_plan(radius, 0.5)
    side, by = len(half) - 1, len(half) - 1 + radius
    wide, size = extended(x, by, filters.REFLECT_101), int((2 * widths + 1).sum())
    unit = F(1)
    while float(unit) * 2 * size * 256 < 2**31:
        unit *= F(2)
    smooth = pairs(pairs(wide, half, 1), half, 2)
    whole = np.pad((smooth * unit + F(0.5)).astype(np.int64), [(0, 0), (side, side), (side, side), (0, 0)])
    inside = sum(
        shifted(whole, x.shape, by - radius + row, by + k).astype(np.int64)
        for row, w in enumerate(widths)
        for k in range(-w, w + 1)
    )
    total = np.asarray(inside).astype(F) * F(1.0 / (float(unit) * size))
    for y, k, w in zip(dy, dx, left, strict=True):
        total += w * shifted(wide, x.shape, by + y, by + k)
    assert (out == levels(total)).all()


def test_magnifications_are_added_one_by_one() -> None:
    x, factors = (
        pictures((17, 66, 65, 3)),
        (1.02, 1.11, 1.26),
    )  # more pictures than lanes, more pixels than the operator
    out = np.empty_like(x)
    zoom.mean(x, out, factors)
    total, values = x.astype(F), x.astype(F)
    for z in factors:
        (top, f), (left, g) = zoom.axis(66, z), zoom.axis(65, z)
        line = values[:, top] + f[:, None, None] * (values[:, top + 1] - values[:, top])
        total += line[:, :, left] + g[:, None] * (line[:, :, left + 1] - line[:, :, left])
    assert (out == levels(total * F(1.0 / (len(factors) + 1)))).all()


@pytest.mark.parametrize("factor", [0.05, 0.4, 0.75])
def test_contrast_of_every_level(factor: float) -> None:
    # Means of many kinds: of some, float32 gives another level than float64, and the table of levels is used.
    ramp = np.tile(np.arange(256, dtype=np.uint8), 3).reshape(1, 24, 32, 1)
    x = np.concatenate([np.minimum(ramp, k) for k in range(1, 256)])
    out = np.empty_like(x)
    contrast.into(x, out, Draws(np.uint64(0), np.arange(len(x))), factor)
    mean = x.sum((1, 2), dtype=np.int64, keepdims=True) / (255.0 * 24 * 32)
    value = ((x / 255.0 - mean) * factor + mean) * 255.0
    assert (out == np.clip(value, 0.0, 255.0).astype(np.uint8)).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_brightness_scales_by_the_largest_channel(shape: tuple[int, ...]) -> None:
    x = pictures(shape)
    out = np.empty_like(x)
    brightness.into(x, out, Draws(np.uint64(0), np.arange(len(x))), 0.3)
    value = x.max(3, keepdims=True)
    scaled = np.minimum(x * brightness._value_gain(0.3)[value] + F(filters.SLACK), F(255)).astype(np.uint8)
    assert (out == np.where(value > 0, scaled, np.uint8(0.3 * 255))).all()


@pytest.mark.parametrize("shape", [(1, 32, 32, 3), (1, 33, 70, 3), (1, 61, 64, 3), (1, 13, 8, 1)])
@pytest.mark.parametrize("factor", [0.95, 0.6, 0.4, 0.25])
def test_pixelate_is_pillows(shape: tuple[int, ...], factor: float) -> None:
    x = pictures(shape)
    out = np.empty_like(x)
    pixelate.into(x, out, Draws(np.uint64(0), np.arange(1)), factor)
    image = Image.fromarray(x[0] if shape[3] == 3 else x[0, ..., 0])
    small = image.resize((max(int(shape[2] * factor), 1), max(int(shape[1] * factor), 1)), Image.Resampling.BOX)
    again = np.asarray(small.resize((shape[2], shape[1]), Image.Resampling.BOX))
    assert (out[0] == again.reshape(shape[1:])).all()


@pytest.mark.parametrize("table", [0, 1])
@pytest.mark.parametrize("quality", [1, 7, 40, 90, 100])
def test_coefficients_are_quantised_as_whole_numbers(quality: int, table: int) -> None:
    """`_quantised` multiplies by a reciprocal: for each step and each coefficient that there can be, that divides."""
    for step in np.unique(codec.quantisers(quality)[table]):
        m = np.arange(0, 8 * 8 * 255 + 4 * step, dtype=np.int64)
        share = F(1) / F(step * 8)
        assert (((m.astype(F) + F(0.5)) * share).astype(np.int64) == m // (8 * step)).all()


@pytest.mark.parametrize("name", names("all"))
@pytest.mark.parametrize("shape", [(3, 9, 17, 3), (3, 11, 8, 1)])
def test_nothing_is_written_beside_the_pictures(name: str, shape: tuple[int, ...]) -> None:
    """The first and the last picture of the output, which other threads may be writing, stay as they are."""
    x = pictures(shape)
    entry: Any = find(name)
    for severity in (1, 5):
        row = parameters(name, severity, constants_for(32, 32))
        arguments = row["zoom_factors"] if name == "zoom_blur" else list(row.values())
        out = np.full(shape, 77, np.uint8)
        draws = Draws(derive_key(0, "", name, severity), np.arange(1))
        entry.module.into(x[1:2], out[1:2], draws, *arguments)
        assert (out[0] == 77).all()
        assert (out[2] == 77).all()
        assert (x == pictures(shape)).all()
