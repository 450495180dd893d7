"""Shows a network the images that it lacks, and keeps its answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

import numpy as np
from torch import nn

from lcrbench.bench.data.arrays import Split, Streamed
from lcrbench.bench.evaluation.cells import Cells
from lcrbench.bench.evaluation.shares import Showing, tell
from lcrbench.bench.metrics import Need
from lcrbench.bench.records.predictions import Predictions
from lcrbench.bench.records.spec import CLEAN, Cell, Protocol
from lcrbench.bench.together import Group

MOST_BYTES = 1 << 28
"""Of the images that are shown at once: a cell of more is shown in parts."""


def missing_images(
    kept: Predictions, protocol: Protocol, indices: np.ndarray, needs: frozenset[Need], shows: bool
) -> dict[Cell, np.ndarray]:
    """Return the images that a network must be shown, by cell; the cells alone that lack some."""
    exact = Need.CLASSES in needs
    images = {cell: kept.missing(cell, indices, exact=exact) if shows else indices[:0] for cell in protocol.cells}
    if Need.LOGITS in needs and protocol.test.clean:
        images[CLEAN] = np.union1d(images[CLEAN], _without_logits(kept, indices))
    return {cell: some for cell, some in images.items() if len(some)}


def show_images(
    showing: Showing,
    network: nn.Module,
    protocol: Protocol,
    todo: Mapping[Cell, np.ndarray],
    kept: Predictions,
    wants_logits: bool,
    watch: Callable[[str, int, int], None],
    helpers: Callable[[], AbstractContextManager[Group]],
) -> None:
    """Show a network the images of each cell in `todo`, and keep what it answers."""
    if not todo:
        return
    parts = [(cell, part) for cell in todo for part in _parts(todo[cell], showing.test, protocol.block)]
    if isinstance(showing.test.images, Streamed) and isinstance(showing.cells, Cells):
        # All cells of some images, then of the next ones: they are decoded once.
        parts.sort(key=lambda one: int(one[1][0]))
    with helpers() as group:
        tell(group, network, parts, {"block": protocol.block, "seed": protocol.seed, "stream": protocol.noise})
        for k, (cell, some) in enumerate(parts):
            watch("evaluation", k * len(todo) // len(parts), len(todo))
            found = showing.logits(cell, some, group)
            columns = kept.at(some)
            kept.classes[kept.cells.index(cell), columns] = answers(found, protocol.test.columns)
            if cell == CLEAN and wants_logits:
                _keep_logits(kept, columns, found)
    watch("evaluation", len(todo), len(todo))


def answers(found: np.ndarray, columns: tuple[int, ...]) -> np.ndarray:
    """Return the class of the largest logit (N,), among the classes `columns` where there are some."""
    if not columns:
        best: np.ndarray = found.argmax(1)
        return best
    chosen = np.array(columns)
    answers: np.ndarray = chosen[found[:, chosen].argmax(1)]
    return answers


def _without_logits(kept: Predictions, indices: np.ndarray) -> np.ndarray:
    if kept.logits is None:
        return indices
    lacking: np.ndarray = indices[np.isnan(kept.logits[kept.at(indices), 0])]
    return lacking


def _keep_logits(kept: Predictions, columns: np.ndarray, found: np.ndarray) -> None:
    if kept.logits is None:
        kept.logits = np.full((len(kept.indices), found.shape[1]), np.nan, np.float32)
    kept.logits[columns] = found


def _parts(lacking: np.ndarray, test: Split, block: int) -> list[np.ndarray]:
    """Return the images of a cell in parts of whole blocks, each of so many bytes at most, or of one block."""
    image = math.prod(test.images.shape[1:])
    size = max(1, MOST_BYTES // (image * block)) * block
    return [lacking[start : start + size] for start in range(0, len(lacking), size)]
