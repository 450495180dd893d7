"""Names of the arrays in a run's by_image file: figures of single images, and which images they are of."""

from __future__ import annotations

from typing import NamedTuple

from lcrbench.bench.records.measurement import in_255

IMAGES = "lipschitz/images"
"""The indices of the images in the test set (n)."""

PIXELS = "lipschitz/pixels"
"""The sha256 of what the images show: figures of images of another data set or size do not compare."""

FAMILY = "lipschitz"


class ImageKey(NamedTuple):
    """A figure of each image by one effort of a search, in a ball: `norm` is "l2" or "linf", `radius_255` in 1/255.

    As text, "lipschitz/EFFORT/FIGURE/NORM/RADIUS".
    """

    effort: str
    figure: str
    norm: str
    radius_255: float

    @classmethod
    def at(cls, effort: str, figure: str, norm: str, eps: float) -> ImageKey:
        """Return the key of a radius in pixel units.

        >>> ImageKey.at("5 random candidates", "kappa", "l2", 8 / 255).write()
        'lipschitz/5 random candidates/kappa/l2/8'
        """
        return cls(effort, figure, norm, in_255(eps))

    def write(self) -> str:
        """Return the array's name."""
        return "/".join((FAMILY, self.effort, self.figure, self.norm, f"{self.radius_255:.9g}"))

    @classmethod
    def read(cls, text: str) -> ImageKey | None:
        """Return the key that an array's name is; None if the array is no such figure.

        >>> ImageKey.read("lipschitz/quick/kappa/l2/8")
        ImageKey(effort='quick', figure='kappa', norm='l2', radius_255=8.0)
        >>> ImageKey.read(IMAGES) is None
        True
        """
        parts = text.split("/")
        if len(parts) != 5 or parts[0] != FAMILY:
            return None
        return cls(parts[1], parts[2], parts[3], float(parts[4]))
