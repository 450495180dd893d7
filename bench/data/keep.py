"""What a source keeps of each image that it meets: the image, decoded, or the place where it lies.

A source reads folders and archives in one way, and gives each image's file to what is to be made of it.
"""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Protocol

import numpy as np

from lcrbench.bench.data.arrays import Images, Labels, Split
from lcrbench.bench.data.files import Files, Place, digest_of, table_of
from lcrbench.bench.data.members import Member
from lcrbench.errors import UserError
from lcrbench.images import decode

Kept = Images | Place


class Keep(Protocol):
    """Makes of each file what is kept of it, and of these a split."""

    def one(self, member: Member, content: bytes, where: str, source: Path) -> Kept:
        """Return what is kept of an image of `source`, by its file's content; `where` names it in errors."""
        ...

    def split(self, kept: list[Kept], labels: Labels) -> Split:
        """Return the split of what was kept."""
        ...


class Decoded:
    """Keeps the images, fitted to size x size pixels."""

    def __init__(self, size: int) -> None:
        self.size = size

    def one(self, member: Member, content: bytes, where: str, source: Path) -> Kept:
        """Return the image (size, size, 3)."""
        return decode(content, where, self.size)

    def split(self, kept: list[Kept], labels: Labels) -> Split:
        """Return the images as one array."""
        stacked = np.empty((len(kept), self.size, self.size, 3), np.uint8)
        for i, image in enumerate(kept):
            stacked[i] = image
        return Split(stacked, labels)


class Located:
    """Keeps where the images lie in `sources`, which are folders or plain tars, and the hash of each file."""

    def __init__(self, size: int, sources: tuple[Path, ...]) -> None:
        self.size, self.sources = size, sources
        self.numbers = {source: k for k, source in enumerate(sources)}

    def one(self, member: Member, content: bytes, where: str, source: Path) -> Kept:
        """Return the place of an image. Raises `UserError` in a compressed archive, which cannot be read from the middle."""
        if member.offset is None:
            raise UserError(
                f"{source} is compressed, and its images are to be read where they lie: unpack it, or make it a plain .tar"
            )
        # The file's own name: a folder and an archive of it are one data set.
        digest = digest_of(unicodedata.normalize("NFC", member.path.rpartition("/")[2]), content)
        return Place(self.numbers[source], member.path, member.offset, len(content), digest)

    def split(self, kept: list[Kept], labels: Labels) -> Split:
        """Return the images as a table of their files."""
        rows, text = table_of(place for place in kept if isinstance(place, Place))
        return Split(Files(rows, text, self.sources, self.size), labels)
