"""What a subject is shown: test images, by hash, clean and in cells of corruptions and severities."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from pydantic import Field

from lcrbench.bench.records.budget import Frozen
from lcrbench.bench.records.ids import content_id

HashKind = Literal["pixels", "manifest"]
"""What the hash of a data set is of: decoded images, or names, sizes and hashes of files that are read where they lie."""


class Cell(NamedTuple):
    """The test images as they are, or under one corruption at one severity."""

    corruption: str = ""
    severity: int = 0

    def __str__(self) -> str:
        return f"{self.corruption}/{self.severity}" if self.corruption else "clean"


CLEAN = Cell()


class TestSet(Frozen):
    """The test images: the whole split of a data set by hash, and how many of them are used.

    `chosen` images are a class-balanced subset, part of every larger one. Corruptions draw by the position in the whole
    split, so that an image looks alike in every subset.
    """

    __test__ = False  # not a test class

    name: str = Field(description="what people call it; identifies nothing")
    sha256: str = Field(description="of training and test images together: the stream of the corruptions' randomness")
    size: int = Field(description="side of the square images in pixels")
    classes: tuple[str, ...] = Field(description="names of the classes, in the order of the labels")
    images: int = Field(description="in the whole test split")
    chosen: int | None = Field(None, description="size of the class-balanced subset that is shown; null: all images")
    benchmark: str = Field("", description="whose files were shown in the cells, such as ImageNet-C; empty: made here")
    benchmark_sha256: str = Field("", description="of these files; empty: the cells were made here")
    published: bool | None = Field(
        None, description="whether the files are those that were published, by their hashes; null: no hashes are known"
    )
    hash_kind: HashKind = Field("pixels", description="what `sha256` is of: decoded images, or the list of their files")
    columns: tuple[int, ...] = Field(
        (), description="of the network's classes those that an answer is chosen from; empty: all"
    )
    clean: bool = Field(True, description="whether the clean images that a benchmark was made of are among those shown")

    @property
    def count(self) -> int:
        """Return how many images are used."""
        return self.images if self.chosen is None else self.chosen


class Preprocessing(Frozen):
    """How a test image becomes one of `crop` x `crop` pixels: ImageNet's is 256/224, torchvision's later one 232/224."""

    resize: int = Field(gt=0, description="pixels of the shorter side after the resizing")
    crop: int = Field(gt=0, description="pixels of the side of the square that is cut out of the middle")
    interpolation: Literal["bilinear"] = Field("bilinear", description="antialiased, with torchvision's rounding")

    @property
    def text(self) -> str:
        """Return it in short: `256/224 bilinear`."""
        return f"{self.resize}/{self.crop} {self.interpolation}"


class Protocol(Frozen):
    """What a subject is shown: test images, clean and in each cell of corruptions x severities; the block and the seed."""

    test: TestSet = Field(description="the test images")
    corruptions: tuple[str, ...] = Field(description="names of the corruptions that are shown")
    severities: tuple[int, ...] = Field(description="of each corruption, from 1 to 5")
    seed: int = Field(0, description="of the corruptions' randomness")
    block: int = Field(100, description="images a forward pass, padded to this number")
    stream: str = Field(
        "", description="name of the corruptions' randomness; empty: the first 16 digits of the test set's sha256"
    )
    jpeg: int | None = Field(
        None,
        ge=1,
        le=100,
        description="quality of the JPEG that corrupted images go through; null: they go through none",
    )
    preprocessing: Preprocessing | None = Field(
        None, description="how images were fitted; null: the shorter side is resized to the size that is cut out"
    )

    @property
    def noise(self) -> str:
        """Return the name of the corruptions' randomness."""
        return self.stream or self.test.sha256[:16]

    @property
    def look(self) -> dict[str, Any]:
        """Return what a prediction depends on besides subject, cell and image; with the same look they are shared."""
        own = {
            "benchmark": self.test.benchmark_sha256,
            "columns": self.test.columns,
            "stream": self.stream,
            "jpeg": self.jpeg,
            "preprocessing": self.preprocessing.text if self.preprocessing else "",
        }
        facts = {"test": self.test.sha256, "size": self.test.size, "seed": self.seed, "block": self.block}
        return facts | {key: value for key, value in own.items() if value}

    @property
    def protocol_id(self) -> str:
        """Return the protocol's address."""
        facts = {"corruptions": sorted(self.corruptions), "severities": self.severities, "chosen": self.test.chosen}
        return content_id("protocol", self.look | facts)

    @property
    def cells(self) -> list[Cell]:
        """Return the cells, clean images first where there are some."""
        clean = [CLEAN] if self.test.clean else []
        return [*clean, *(Cell(c, s) for c in self.corruptions for s in self.severities)]

    def covers(self, other: Protocol) -> bool:
        """Tell whether this protocol shows all that another one of the same look shows, on as many images."""
        return set(other.cells) <= set(self.cells) and self.test.count == other.test.count
