"""The one place where the tests of what a search finds meet the search: what it reports, by image, in the images' order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

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
    s = subject(network, images, labels, block=min(100, len(images)))
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


class AtOnce(NamedTuple):
    """What one search for the radii of all norms finds: flip radii (n) in pixel units, and passes an image, by norm."""

    radii: dict[str, np.ndarray]
    passes: dict[str, int]


def at_once(s: Subject, radii: Mapping[str, Sequence[float]], effort: str = "default", seed: int = 0) -> AtOnce:
    """Search around all images of a subject for the radii of all norms, in pixel units, which share its passes."""
    asked: Any = {norm: tuple(255 * r for r in each) for norm, each in radii.items()}
    found = search.modulus(s, Options(**asked, images=len(s.test.images), effort=effort, seed=seed))
    back = np.argsort(found.start.indices)
    return AtOnce(
        {norm: found.looks[-1].radius[norm][back] for norm in radii},
        {norm: found.curves[norm][-1].passes for norm in radii},
    )
