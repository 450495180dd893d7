"""Largest finite-difference secant of the deployed network over sampled directions: a lower bound.

For an image x in [0, 1]^d and a radius r, with directions u_1 ... u_K uniform on the l2 sphere,

    x_k  = clip(x + r u_k, 0, 1),      gain(x, r) = max_k ||f(x_k) - f(x)||_2 / ||x_k - x||_2,

f the logits of the network as deployed (signs, evaluation mode, normalization inside), distances in pixel units. A sign
network jumps, so its Lipschitz constant is infinite and the gain grows without bound as r shrinks: read it as a curve over
r. It is a lower bound of the local Lipschitz number at that radius, found by sampling alone, and its unit is that of the
logits, which have no natural scale: networks are not ranked by it.

Reported are quantiles over images with distribution-free intervals, and the maximum without one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lcrbench.bench import stats
from lcrbench.bench.evaluate import Subject
from lcrbench.bench.schema import Measurement, MetricInfo, Phase
from lcrbench.bench.seeds import generator

INFO = MetricInfo(
    unit="logits per pixel unit",
    higher_is_better=None,
    bound="lower",
    summary=__doc__.partition("\n")[0] if __doc__ else "",
)
PHASE: Phase = "lipschitz"


@dataclass(frozen=True)
class Options:
    """`radii` in 1/255 pixel units, number of test `images`, `directions` an image and radius, and the `seed`."""

    radii: tuple[int, ...] = (2, 8, 32, 128)
    images: int = 100
    directions: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.radii or min(self.radii) <= 0 or self.images < 1 or self.directions < 1:
            raise ValueError("needs radii > 0, images >= 1 and directions >= 1")


def measure(subject: Subject, options: Options) -> Iterator[Measurement]:
    """Yield the median, the 95 % quantile and the maximum over images of the gain, at each radius."""
    n = min(options.images, len(subject.test.labels))
    # Evenly spaced in an order by class: every class has its share, whatever the order of the data set.
    chosen = np.argsort(subject.test.labels, kind="stable")[np.linspace(0, len(subject.test.labels) - 1, n).astype(int)]
    clean = subject.test.images[chosen].astype(np.float32) / 255
    start = subject.logits(clean).astype(np.float64)
    for radius in options.radii:
        gains = np.zeros(n)
        for k in range(options.directions):
            moved = np.stack(
                [_step(x, radius / 255, options.seed, int(i), radius, k) for x, i in zip(clean, chosen, strict=True)]
            )
            change = np.linalg.norm(subject.logits(moved) - start, axis=1)
            distance = np.linalg.norm((moved.astype(np.float64) - clean).reshape(n, -1), axis=1)
            gains = np.maximum(gains, change / np.maximum(distance, 1e-12))
        for statistic, i in {
            "q50": stats.quantile(gains, 0.5),
            "q95": stats.quantile(gains, 0.95),
            "max": stats.Interval(float(gains.max()), None, None, n, ""),
        }.items():
            yield Measurement.of(
                "lipschitz_secant",
                i,
                statistic=statistic,
                norm="l2",
                radius=radius / 255,
            )


def _step(x: np.ndarray, r: float, seed: int, *axes: int) -> np.ndarray:
    direction = generator(seed, "lipschitz_secant", *axes).standard_normal(x.shape)
    moved: np.ndarray = np.clip(x + (r / np.linalg.norm(direction)) * direction, 0, 1)
    return moved.astype(np.float32)
