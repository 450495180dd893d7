"""Compares a `corrupt` function with outputs of the official scripts; for the tests and for their planted mutants."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

VARIANTS = ("cifar", "tiny", "imagenet")
NOISES = ("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise")
DRAWN = ("glass_blur", "motion_blur", "snow", "frost", "fog", "elastic_transform", "spatter")
# The largest share of values that may be one gray level off.
SHARE_OFF = {
    "contrast": 0.0, "pixelate": 0.0, "jpeg_compression": 0.0, "defocus_blur": 0.10, "zoom_blur": 0.10, "gaussian_blur":
    0.10, "brightness": 0.25, "saturate": 0.25, "motion_blur": 0.02,
}  # fmt: skip
ALPHA = 0.01  # of all the tests of a family together, by Holm's method
Corrupt = Callable[..., NDArray[np.uint8]]


@lru_cache(maxsize=1)
def golden() -> dict[str, NDArray[Any]]:
    """Return the reduced golden data; see the NOTICE beside it."""
    with np.load(Path(__file__).with_name("golden.npz")) as loaded:
        return {key: loaded[key] for key in loaded.files}


class Off(NamedTuple):
    """How far an output is from the golden one."""

    largest: int
    share: float

    def within(self, name: str) -> bool:
        return self.largest <= (1 if SHARE_OFF[name] else 0) and self.share <= SHARE_OFF[name]


def deviation(corrupt: Corrupt, variant: str, name: str, severity: int) -> Off:
    """Compare a corruption without randomness (motion blur at given angles) with its golden output."""
    data = golden()
    images = data[f"{variant}/det_inputs"]
    if name == "motion_blur":
        wanted = data[f"{variant}/motion_blur_at_angle"][severity - 1]
        angles = data[f"{variant}/motion_blur_angles"][severity - 1]
        found = corrupt(images, name, severity, constants=variant, angle=angles)
    else:
        wanted = data[f"{variant}/det/{name}"][severity - 1]
        found = corrupt(images, name, severity, constants=variant)
    difference = np.abs(found[:, : wanted.shape[1]].astype(int) - wanted)
    return Off(int(difference.max()), float((difference > 0).mean()))


def noise_p_values(corrupt: Corrupt, variant: str, name: str, severity: int) -> list[float]:
    """Return a two-sample chi-square p-value for each input level: do output levels follow the golden counts?"""
    data = golden()
    out = []
    for k, level in enumerate(data[f"{variant}/noise_levels"]):
        wanted = data[f"{variant}/noise_counts/{name}"][severity - 1, k].astype(float)
        images = np.full((40, 32, 32, 3), level, np.uint8)
        found = corrupt(images, name, severity, constants=variant, stream=f"level {level}")
        counts = np.bincount(found.ravel(), minlength=256).astype(float)
        out.append(_two_sample(counts, wanted))
    return out


def _two_sample(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    # Neighbouring levels are joined until 20 counts are expected in each cell.
    share = min(a.sum(), b.sum()) / (a.sum() + b.sum())
    cells, open_cell = [], np.zeros(2)
    for pair in np.stack([a, b], 1)[(a + b) > 0]:
        open_cell = open_cell + pair
        if open_cell.sum() * share >= 20:
            cells.append(open_cell)
            open_cell = np.zeros(2)
    if not cells:
        return 1.0
    cells[-1] = cells[-1] + open_cell
    if len(cells) == 1:
        return 1.0
    return float(stats.chi2_contingency(np.array(cells), correction=False).pvalue)


def law_p_values(corrupt: Corrupt, variant: str, name: str, severity: int) -> dict[str, float]:
    """Return p-values that compare per-image RMSE and bias with independent official draws.

    `mean`: is the mean the same, image by image? `law`: Kolmogorov-Smirnov on all values.
    """
    data = golden()
    images = data[f"{variant}/sto_inputs"]
    m = len(images)
    repeats = {"cifar": 8, "tiny": 8, "imagenet": 6}[variant]
    found: dict[str, list[NDArray[np.float64]]] = {"rmse": [], "bias": []}
    for turn in range(repeats):
        result = corrupt(images, name, severity, constants=variant, indices=np.arange(m) + m * turn)
        difference = result.astype(np.float64) - images
        found["rmse"].append(np.sqrt((difference**2).mean((1, 2, 3))))
        found["bias"].append(difference.mean((1, 2, 3)))
    out = {}
    for what, values in found.items():
        ours = np.array(values)
        wanted = data[f"{variant}/{what}/{name}"][severity - 1].astype(np.float64).reshape(-1, m)
        spread = ours.var(0, ddof=1)
        error = np.sqrt((spread * (1 / len(ours) + 1 / len(wanted))).sum())
        z = (ours.mean(0) - wanted.mean(0)).sum() / error if error > 0 else 0.0
        out[f"{what} mean"] = float(2 * stats.norm.sf(abs(z)))
        out[f"{what} law"] = float(stats.ks_2samp(ours.ravel(), wanted.ravel()).pvalue)
    return out


def rejected(p_values: dict[str, float], alpha: float = ALPHA) -> dict[str, float]:
    """Return the p-values that Holm's method rejects over the whole family."""
    out = {}
    for rank, (key, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        if p > alpha / (len(p_values) - rank):
            break
        out[key] = p
    return out
