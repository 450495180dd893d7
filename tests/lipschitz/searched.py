"""The one place where the tests of what a search finds meet the search: what it reports, by image, in the images' order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from torch import nn

from lcrbench.bench.evaluation.subject import Subject
from lcrbench.bench.lipschitz import search
from lcrbench.bench.lipschitz.options import Options

from .nets import subject


class Searched(NamedTuple):
    """Flip radii (n) in pixel units, infinite where no flip was found; omega and kappa (radii, n); passes an image."""

    radii: np.ndarray
    omega: np.ndarray
    kappa: np.ndarray
    passes: float


def searched(
    network: nn.Module, images: np.ndarray, labels: np.ndarray | None, norm: str, radii: Sequence[float]
) -> Searched:
    """Search at the default effort: images (n, H, W, 3) in [0, 1], ascending radii in pixel units."""
    return searched_on(subject(network, images, labels, block=min(100, len(images))), norm, radii)


def searched_on(s: Subject, norm: str, radii: Sequence[float]) -> Searched:
    """Search around all images of a subject at the default effort; ascending radii in pixel units."""
    n, before = len(s.test.images), s.passes
    result = search.modulus(
        s, Options(**{"l2": (), "linf": (), norm: tuple(255 * r for r in radii)}, images=n, effort="default")
    )
    back = np.argsort(result.start.indices)
    found = result.of(norm)
    return Searched(
        result.looks[-1].radius[norm][back],
        np.stack([f.omega[back] for f in found]),
        np.stack([f.kappa[back] for f in found]),
        (s.passes - before) / n,
    )
