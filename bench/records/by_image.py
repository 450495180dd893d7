"""Figures of single images: what each is of, of which images, and how a file keeps them beside an evaluation's record."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from lcrbench.bench.data.arrays import Streamed
from lcrbench.bench.records.budget import Frozen
from lcrbench.bench.records.files import pack as packed
from lcrbench.bench.records.measurement import in_255


class Effort(Frozen):
    """How hard a search looks: the passes that it spends on an image, in all its norms together.

    Searches of before budgets in passes have `random` and `steps` in their place, for an image and radius.
    """

    passes: int | None = Field(None, description="passes an image, forward and backward counted")
    gradients: bool = Field(True, description="whether the search followed gradients, besides the logits alone")
    random: int | None = Field(None, description="random candidates")
    steps: int | None = Field(None, description="steps of each of the two chains")
    searches: int = Field(1, description="searches with seeds of their own, of which the best counts")


class ImageKey(Frozen):
    """What a figure of each image is: of which metric, by which effort of a search, and in which ball."""

    metric: str = Field(description="name of the metric")
    effort: Effort | None = Field(None, description="of the search; null: it searches nothing")
    norm: str = Field("", description="of the ball; empty: none")
    radius_255: float | None = Field(None, description="in 1/255 pixel units, to nine digits")

    @classmethod
    def at(cls, metric: str, effort: Effort | None, norm: str, eps: float) -> ImageKey:
        """Return the key of a radius in pixel units.

        >>> ImageKey.at("lipschitz_kappa", Effort(random=5, steps=5), "l2", 8 / 255).radius_255
        8.0
        """
        return cls(metric=metric, effort=effort, norm=norm, radius_255=in_255(eps))


class ImageFigure(Frozen):
    """One array of a file of figures: what it is, and which of the file's sets of images it is of."""

    key: ImageKey = Field(description="what the figures are of")
    images: int = Field(ge=0, description="number of the file's set of images that they are of")


class Images(NamedTuple):
    """Images of a test set: their indices (n), and a hash of what they show.

    Figures of images of another data set or size do not compare.
    """

    indices: NDArray[np.integer]
    pixels: bytes

    @classmethod
    def of(cls, images: NDArray[np.uint8] | Streamed, indices: NDArray[np.integer]) -> Images:
        """Return the images of a test set (N, H, W, C) at some indices."""
        chosen = np.ascontiguousarray(images[indices])
        return cls(indices, hashlib.sha256(f"{chosen.shape} {chosen.dtype}".encode() + chosen.tobytes()).digest())

    @property
    def identity(self) -> bytes:
        """Return bytes that are equal where the images are."""
        return np.asarray(self.indices, np.int64).tobytes() + self.pixels


class Kept(NamedTuple):
    """A figure of each image (n), float32, and which images they are of."""

    values: NDArray[np.float32]
    images: Images


ByImage = dict[ImageKey, Kept]


def pack(figures: Mapping[ImageKey, Kept]) -> tuple[tuple[ImageFigure, ...], bytes]:
    """Return figures as the entries that a record lists, in the order of the file's arrays, and the file."""
    sets: dict[bytes, tuple[int, Images]] = {}
    entries, arrays = [], {}
    for k, (key, kept) in enumerate(figures.items()):
        number, _ = sets.setdefault(kept.images.identity, (len(sets), kept.images))
        entries.append(ImageFigure(key=key, images=number))
        arrays[f"figure {k}"] = kept.values
    for number, images in sets.values():
        arrays[f"images {number}"] = np.asarray(images.indices)
        arrays[f"pixels {number}"] = np.frombuffer(images.pixels, np.uint8)
    return tuple(entries), packed(arrays)


def unpack(entries: Sequence[ImageFigure], arrays: Mapping[str, NDArray[np.generic]]) -> ByImage:
    """Return the figures that a record lists from the arrays of its file.

    Raises `KeyError` where one is missing, and `ValueError` where one is not of its images.
    """
    found: ByImage = {}
    for k, entry in enumerate(entries):
        images = Images(arrays[f"images {entry.images}"], arrays[f"pixels {entry.images}"].tobytes())  # type: ignore[arg-type]
        found[entry.key] = kept(arrays[f"figure {k}"], images)
    return found


def kept(values: NDArray[np.generic], images: Images) -> Kept:
    """Return a figure of images, as a file has them; raises `ValueError` where the one is not of the others."""
    numbers = np.asarray(values, np.float32)
    if images.indices.dtype.kind not in "iu" or images.indices.ndim != 1 or numbers.shape != images.indices.shape:
        raise ValueError("the figures are not those of the images")
    return Kept(numbers, images)
