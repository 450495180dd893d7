"""What a search starts from and what it finds: arrays with one row an image, and the figures of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from lcrbench.bench import stats
from lcrbench.bench.lipschitz.ball import Ball
from lcrbench.bench.records.by_image import Effort
from lcrbench.bench.records.measurement import Detail, Kind, Measurement, Scale
from lcrbench.bench.records.statistics import Finder, Statistic

FOUND_BY = ("nobody", *Finder)
"""The part of the search that found a point; the number in `Found` is the place in this list."""

FOUND = Kind(unit="fraction of images", bound="exact", scale=Scale.SHARE)
"""What the numbers are that `finders` yields."""

OF_TIES = "so many images are themselves ties that a quantile is infinite"
"""Why a quantile of kappa is left out."""


def finders(metric: str, ball: Ball, by: np.ndarray) -> Iterator[Measurement]:
    """Yield for each part of the search the share of images whose largest figure it found, from a `Found`'s (n)."""
    for k, part in enumerate(Finder, 1):
        share = stats.proportion(int((by == k).sum()), len(by))
        yield Measurement.of(
            metric, share, statistic=Statistic.FOUND, norm=ball.norm, radius=ball.eps, detail=Detail(form=part)
        )


@dataclass(frozen=True)
class Found:
    """What was found for n images in one ball. All arrays have n rows; points are images (n, H, W, 3) float32."""

    ball: Ball
    omega: np.ndarray
    """||f(y) - f(x)||_2 at `omega_points`, in logits"""
    kappa: np.ndarray
    """largest margin change over margin at `kappa_points`; at an image that is itself a tie at least 1, infinite if moved"""
    omega_points: np.ndarray
    kappa_points: np.ndarray
    omega_by: np.ndarray
    kappa_by: np.ndarray

    @property
    def gain(self) -> np.ndarray:
        """Return omega / eps, in logits per pixel unit."""
        return self.omega / self.ball.eps

    @property
    def flipped(self) -> np.ndarray:
        """Tell for which images another class was found to draw level: kappa >= 1."""
        return self.kappa >= 1


@dataclass(frozen=True)
class Start:
    """The images of a measurement before anything moves: indices (n), logits (n, classes), and the points x."""

    indices: np.ndarray
    logits: np.ndarray
    x: Tensor

    @property
    def margins(self) -> np.ndarray:
        """Return f_c - max_{j != c} f_j (n), in logits; c the predicted class."""
        top = np.sort(self.logits, axis=1)
        return np.asarray(top[:, -1] - top[:, -2])

    @property
    def scale(self) -> float:
        """Return the root mean square over images of the logits, each row centred: the natural unit of these logits."""
        centred = self.logits - self.logits.mean(1, keepdims=True)
        return float(np.sqrt(np.square(centred).sum(1).mean()))


@dataclass(frozen=True)
class Mark:
    """A point of a norm's convergence curve: passes an image, and in each ball flips and median kappa.

    Flips are a share of the images; the median is infinite where so many are ties.
    """

    passes: int
    flips: tuple[float, ...]
    kappa: tuple[float, ...]


@dataclass(frozen=True)
class Look:
    """What a search had found when a round ended: in each ball, in the order of `Options.balls`, and the nearest flips.

    `radius` has by norm the distance of the nearest flip (n), in pixel units, infinite without one.
    """

    effort: Effort
    found: tuple[Found, ...]
    radius: dict[str, np.ndarray]

    def of(self, norm: str) -> list[Found]:
        """Return what was found in the balls of one norm, by increasing radius."""
        return [f for f in self.found if f.ball.norm == norm]


@dataclass(frozen=True)
class Modulus:
    """A whole measurement: the start, what was found at a quarter and at the whole of the budget, and curves by norm.

    `blind` tells that the network gives no gradient, so that the search used its logits alone.
    """

    start: Start
    looks: tuple[Look, ...]
    curves: dict[str, tuple[Mark, ...]]
    blind: bool = False
    not_finite: int = 0
    """points that were tried and gave logits that are not finite"""

    @property
    def found(self) -> tuple[Found, ...]:
        """Return what the whole budget found in each ball."""
        return self.looks[-1].found

    def of(self, norm: str) -> list[Found]:
        """Return what the whole budget found in the balls of one norm, by increasing radius."""
        return self.looks[-1].of(norm)


def not_finite(logits: np.ndarray) -> np.ndarray:
    """Tell which points have a logit that is infinite or no number (n): such points are worth nothing."""
    return np.asarray(~np.isfinite(logits).all(1))


def omega_of(start: Start, logits: np.ndarray) -> np.ndarray:
    """Return ||f(y) - f(x)||_2 (n); 0 where logits are not finite."""
    return np.asarray(np.linalg.norm(_finite(start, logits) - start.logits, axis=1))


def kappas_of(start: Start, logits: np.ndarray) -> np.ndarray:
    """Return change_j / margin_j for each class (n, classes); -inf for the predicted class, and where logits are not finite.

    It is written 1 + (f_j - f_c)(y) / margin_j, which is the same, and at least 1 exactly where f_j draws level: so it is 1
    where the image itself is a tie that has not moved.
    """
    n, given = np.arange(len(logits)), logits
    logits = _finite(start, logits)
    c = start.logits.argmax(1)
    margin = start.logits[n, c][:, None] - start.logits
    lead = logits - logits[n, c][:, None]
    tie = np.where(lead > 0, np.inf, np.where(lead < 0, -np.inf, 1.0))
    ratio = np.where(margin > 0, 1 + lead / np.where(margin > 0, margin, 1), tie)
    ratio[n, c] = -np.inf
    if logits is not given:
        ratio[not_finite(given)] = -np.inf
    return np.asarray(ratio)


def _finite(start: Start, logits: np.ndarray) -> np.ndarray:
    """Return the logits, with the image's own in place of those that are not finite; nearly always they are as given."""
    if np.isfinite(logits).all():
        return logits
    return np.where(not_finite(logits)[:, None], start.logits, logits)


def images_of(points: Tensor) -> np.ndarray:
    """Return points (n, 3, H, W) as images (n, H, W, 3), contiguous, a copy."""
    return points.permute(0, 2, 3, 1).numpy().copy(order="C")
