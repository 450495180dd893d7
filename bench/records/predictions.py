"""Predictions: the class that a network gave to each test image in each cell, from which outcomes and accuracies follow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcrbench.bench.records import before_5
from lcrbench.bench.records.files import pack, unpack
from lcrbench.bench.records.spec import Cell, TestSet

FILE = "predictions.npz"
_NOWHERE = np.empty(0, np.int64)
MISSING, RIGHT, WRONG = -1, -2, -3
"""In place of a class: not evaluated yet; and in records of schema 3, which kept one bit an image, right or wrong."""


@dataclass
class Predictions:
    """Predicted classes (C, N), int16, of the cells in `cells` (C) for the images in `indices` (N).

    `indices` are positions in the whole test split, ascending; `labels` (N) are the true classes, MISSING in what was taken
    over from schema 3. `logits` (N, K), float32, are those of the clean images, NaN where they were not kept; None without
    any. `subsets` has the positions of the chosen images, by their number, which is also how many positions there are.
    """

    indices: NDArray[np.int64]
    labels: NDArray[np.int16]
    cells: list[Cell]
    classes: NDArray[np.int16]
    logits: NDArray[np.float32] | None = None
    subsets: dict[int, NDArray[np.int64]] = field(default_factory=dict)

    @classmethod
    def none(cls) -> Predictions:
        """Return predictions of nothing."""
        return cls(np.empty(0, np.int64), np.empty(0, np.int16), [], np.empty((0, 0), np.int16))

    def widen(self, indices: NDArray[np.int64], labels: NDArray[np.integer], cells: Sequence[Cell]) -> Predictions:
        """Return the same predictions with room for more images and cells; what is not known yet is MISSING."""
        every = np.union1d(self.indices, indices)
        known = [*self.cells, *(c for c in cells if c not in self.cells)]
        out = np.full((len(known), len(every)), MISSING, np.int16)
        mine = np.searchsorted(every, self.indices)
        out[: len(self.cells), mine] = self.classes
        told = np.full(len(every), MISSING, np.int16)
        told[mine] = self.labels
        told[np.searchsorted(every, indices)] = labels
        logits = None
        if self.logits is not None:
            logits = np.full((len(every), self.logits.shape[1]), np.nan, np.float32)
            logits[mine] = self.logits
        return Predictions(every, told, known, out, logits, dict(self.subsets))

    def at(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the columns of images; raises `KeyError` for one that is not there."""
        columns = np.searchsorted(self.indices, indices)
        if len(columns) and (columns.max() >= len(self.indices) or (self.indices[columns] != indices).any()):
            raise KeyError("an image has no predictions")
        return columns.astype(np.int64)

    def missing(self, cell: Cell, indices: NDArray[np.int64], *, exact: bool = False) -> NDArray[np.int64]:
        """Return the images without an outcome in a cell; with `exact`, those without a class."""
        if cell not in self.cells:
            return indices
        row = self.classes[self.cells.index(cell)]
        known = self.indices[(row >= 0) | (not exact and (row <= RIGHT))]
        return np.setdiff1d(indices, known, assume_unique=True)

    def right(self, cell: Cell, indices: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which images were classified right in a cell, (n,); raises `KeyError` where one was not evaluated."""
        return self.rights([cell], indices)[cell]

    def rights(self, cells: Iterable[Cell], indices: NDArray[np.int64]) -> dict[Cell, NDArray[np.bool_]]:
        """Return the same of several cells."""
        places, columns = {cell: k for k, cell in enumerate(self.cells)}, self.at(indices)
        labels, found = self.labels[columns], {}
        for cell in cells:
            if cell not in places:
                raise KeyError(f"{cell} was not evaluated")
            row = self.classes[places[cell]][columns]
            if (row == MISSING).any():
                raise KeyError(f"{cell} was not evaluated on every image")
            found[cell] = (row == RIGHT) | ((row >= 0) & (row == labels))
        return found

    def given(self, cell: Cell, indices: NDArray[np.int64]) -> NDArray[np.int16]:
        """Return the predicted classes of images in a cell, (n,); raises `KeyError` where one is not known."""
        if len(self.missing(cell, indices, exact=True)):
            raise KeyError(f"the classes of {cell} are not known")
        found: NDArray[np.int16] = self.classes[self.cells.index(cell)][self.at(indices)]
        return found

    def pack(self) -> bytes:
        """Return the arrays as the bytes of an .npz; the record holds the cells' names."""
        arrays: dict[str, NDArray[Any]] = {"indices": self.indices, "labels": self.labels, "classes": self.classes}
        chosen = [self.subsets[n] for n in sorted(self.subsets)]
        arrays |= {"chosen": np.array(sorted(self.subsets), np.int64), "positions": np.concatenate([_NOWHERE, *chosen])}
        return pack(arrays if self.logits is None else arrays | {"logits": self.logits})

    @classmethod
    def unpack(cls, content: bytes, cells: Sequence[Cell]) -> Predictions:
        """Return predictions from what `pack` wrote and the names of their cells."""
        a = unpack(content)
        if "chosen" not in a:
            a |= before_5.subsets(a)
        _check(a, len(cells))
        parts = np.split(a["positions"], np.cumsum(a["chosen"])[:-1])
        subsets = dict(zip(map(int, a["chosen"]), parts, strict=False))
        return cls(a["indices"], a["labels"], list(cells), a["classes"], a.get("logits"), subsets)

    def chosen(self, test: TestSet) -> NDArray[np.int64]:
        """Return the positions of a protocol's test images; raises `KeyError` for those that nothing is known of."""
        if test.chosen is not None:
            return self.subsets[test.chosen]
        if not 0 <= test.images <= len(self.indices):
            # A record may state any number.
            raise KeyError("an image has no predictions")
        return np.arange(test.images)


def _check(a: dict[str, NDArray[Any]], cells: int) -> None:
    """Raise `ValueError` for arrays that are not those of predictions, whatever their file holds."""
    axes = {"indices": 1, "labels": 1, "classes": 2, "chosen": 1, "positions": 1}
    if wrong := [k for k, n in axes.items() if a[k].ndim != n or (a[k].size and a[k].dtype.kind not in "iu")]:
        raise ValueError(f"{wrong[0]} are no whole numbers")
    n, logits = len(a["indices"]), a.get("logits")
    if a["classes"].shape != (cells, n) or len(a["labels"]) != n:
        raise ValueError("the predictions are not of the record's cells")
    if n and (a["indices"][0] < 0 or (np.diff(a["indices"]) <= 0).any()):
        raise ValueError("the images do not ascend")
    if (a["chosen"] < 0).any() or int(a["chosen"].sum()) != len(a["positions"]):
        raise ValueError("the chosen images are not those that are listed")
    if logits is not None and (logits.ndim != 2 or len(logits) != n or logits.dtype.kind != "f"):
        raise ValueError("the logits are not those of the images")
