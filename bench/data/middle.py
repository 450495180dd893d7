"""The middle of each image, of arrays and of images that stay in their files."""

from __future__ import annotations

import hashlib
from typing import Any, Final

from numpy.typing import NDArray

from lcrbench.bench.data.arrays import Images, Split, Streamed
from lcrbench.errors import UserError

DIGEST: Final = 32


def check_cut(resize: int, size: int) -> None:
    """Raise `UserError` unless `size` px can be cut out of `resize` px as they would be out of the whole photograph.

    The middle of the middle square: margins are rounded to even, which an even number of pixels more does not change.
    """
    if resize < size or (resize - size) % 4:
        raise UserError(
            f"{resize}/{size} px: {size} px cannot be cut out of the middle of {resize} px: resize to {size}, {size + 4},"
            f" {size + 8} ..."
        )


def middle(split: Split, size: int) -> Split:
    """Return a split with the middle size x size pixels of each image; images that are streamed stay in their files.

    The images are square, and by an even number of pixels larger, so that the middle is the same on all sides.
    """
    images = split.images
    if isinstance(images, Streamed):
        return Split(Middle(images, size), split.labels)
    edge = (images.shape[1] - size) // 2
    return Split(images[:, edge : edge + size, edge : edge + size], split.labels)


class Middle(Streamed):
    """The middle size x size pixels of other streamed images."""

    def __init__(self, images: Streamed, size: int) -> None:
        self.images, self.size = images, size

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: Any, /) -> Images:
        edge = (self.images.size - self.size) // 2
        return self.images[key][..., edge : edge + self.size, edge : edge + self.size, :]

    def original(self, number: int) -> Images:
        """Return one image as its file has it, (H, W, 3)."""
        return self.images.original(number)

    def content(self, number: int) -> bytes:
        """Return the bytes of one image's file."""
        return self.images.content(number)

    def part(self, where: NDArray[Any]) -> Middle:
        """Return some of the images, by their numbers or a boolean mask, without reading any."""
        return Middle(self.images.part(where), self.size)

    def manifest(self) -> bytes:
        """Return 32 bytes for each image: the hash of its digest, and of the sizes that it is fitted and cut to."""
        whole, cut = self.images.manifest(), f"middle {self.size} of {self.images.size}".encode()
        parts = (whole[k : k + DIGEST] for k in range(0, len(whole), DIGEST))
        return b"".join(hashlib.sha256(part + cut).digest() for part in parts)
