"""What a search found of one network, image by image, and what of it is ranked."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lcrbench.reports.comparison import Key
from lcrbench.reports.words import norm_text

FIGURES = ("kappa", "relative_gain", "flip_radius")
SEARCHED = (
    "lipschitz_kappa",
    "lipschitz_relative_gain",
    "lipschitz_flip_radius",
    "lipschitz_modulus",
    "lipschitz_slope",
    "lipschitz_shell",
)
"""The metrics that share one search."""


class Figure(NamedTuple):
    """What is ranked: a figure of each image, in a norm, at a radius (a flip radius: searched up to that one)."""

    name: str
    norm: str
    radius_255: float

    @property
    def sign(self) -> int:
        """Return 1 where less is better, -1 where more is."""
        return -1 if self.name == "flip_radius" else 1

    @property
    def words(self) -> str:
        """Return the figure as a table names it."""
        name = {"kappa": "kappa", "relative_gain": "relative gain", "flip_radius": "flip radius"}[self.name]
        where = (
            norm_text(self.norm) if self.name == "flip_radius" else f"{norm_text(self.norm)} {self.radius_255:g}/255"
        )
        return f"{name}, {where}"


FIGURES = ("kappa", "relative_gain", "flip_radius")


class Span(NamedTuple):
    """Two neighbouring radii between which a slope is taken, in 1/255 pixel units, as the record writes them."""

    low: str
    high: str

    @classmethod
    def of(cls, key: Key) -> Span:
        """Return the span of a slope's cell, whose statistic is "LOW-HIGH"."""
        low, _, high = key.statistic.partition("-")
        return cls(low, high)

    @property
    def middle(self) -> float:
        """Return the geometric mean of the two radii."""
        return math.sqrt(float(self.low) * float(self.high))


@dataclass(frozen=True)
class Search:
    """What a search found in one network for each image, by effort and figure (n), and of which images (`search.keep`)."""

    images: bytes
    n: int
    figures: dict[tuple[str, Figure], np.ndarray]

    @classmethod
    def of(cls, by_image: dict[str, np.ndarray]) -> Search:
        """Return the searches among the arrays of a run's file, none if it holds none.

        An array's name is "lipschitz/EFFORT/FIGURE/NORM/RADIUS in 1/255"; only this function takes such names apart.
        """
        figures = {}
        for key, values in by_image.items():
            parts = key.split("/")
            if len(parts) == 5 and parts[0] == "lipschitz" and parts[2] in FIGURES:
                figures[parts[1], Figure(parts[2], parts[3], float(parts[4]))] = values
        images = [by_image[k] for k in ("lipschitz/images", "lipschitz/pixels") if k in by_image]
        return cls(b"".join(i.tobytes() for i in images), len(images[0]) if images else 0, figures)

    def compared(self, figure: Figure) -> dict[str, np.ndarray]:
        """Return a figure by effort with what is infinite cut off: an image without a flip has the largest radius."""
        most = figure.radius_255 / 255 if figure.name == "flip_radius" else 1e9
        return {effort: np.minimum(v, most) for (effort, f), v in self.figures.items() if f == figure}
