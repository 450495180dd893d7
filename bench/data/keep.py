"""What a source keeps of each image that it meets: the image, decoded, or the place where it lies.

A source reads folders and archives in one way, and gives each image's file to what is to be made of it.
"""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Protocol

import numpy as np

from lcrbench.bench.data.arrays import Images, Labels, Split
from lcrbench.bench.data.copies import Copies
from lcrbench.bench.data.files import Files, Place, digest_of, table_of
from lcrbench.bench.data.members import Member
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
    """Keeps where the images lie in `sources`, which are folders or archives, and the hash of each file.

    Files that lie in a compressed archive, or in a table, are copied (`copies.py`). All are kept before a split is made.
    """

    def __init__(self, size: int, sources: tuple[Path, ...], layout: str) -> None:
        self.size, self.sources, self.layout = size, sources, layout
        self.numbers = {source: k for k, source in enumerate(sources)}
        self.copies: Copies | None = None

    def one(self, member: Member, content: bytes, where: str, source: Path) -> Kept:
        """Return the place of an image. Raises `UserError` where it is to be copied and cannot be."""
        number, offset = self.numbers[source], member.offset
        if offset is None:
            self.copies = self.copies or Copies(self.sources, self.layout)
            number, offset = len(self.sources), self.copies.add(content)
        # The file's own name: a folder and an archive of it are one data set.
        digest = digest_of(unicodedata.normalize("NFC", member.path.rpartition("/")[2]), content)
        return Place(number, member.path, offset, len(content), digest)

    def split(self, kept: list[Kept], labels: Labels) -> Split:
        """Return the images as a table of their files."""
        rows, text = table_of(place for place in kept if isinstance(place, Place))
        sources = self.sources
        if self.copies:
            self.copies.finish()
            sources = (*sources, self.copies.path)
        return Split(Files(rows, text, sources, self.size), labels)
